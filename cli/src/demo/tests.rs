//! The board at fixed sizes.

use std::collections::BTreeMap;
use std::time::Duration;

use tessera_simulators::report::{Alert, Report, Tally};
use tessera_simulators::scenario::{Expectation, Guest, News, Outcome, Truth};

use super::board::{drawn, ending, Board, Row, Tone};
use super::by_hand::commands;
use crate::terminal::Size;

const SIZES: [Size; 4] = [
    Size { columns: 80, rows: 24 },
    Size { columns: 120, rows: 40 },
    Size { columns: 40, rows: 10 },
    Size { columns: 250, rows: 90 },
];

fn report() -> Report {
    let tally = Tally::default();
    for _ in 0..200 {
        tally.enrolled.one();
        tally.online.one();
        tally.connected.one();
    }
    for latency in [&tally.connect_latency, &tally.delivery_latency, &tally.enrol_latency] {
        latency.observe(Duration::from_micros(480));
    }
    tally.refresh_latency.observe(Duration::from_millis(7));
    tally.refusal("prober:publish:not_authorized");
    for signal in ["stolen_token", "stolen_token+replayed_proof"] {
        tally.alert(Alert {
            device: "victim".into(),
            signal: signal.into(),
            words: "another peer uses this device's token, and was refused 18 times".into(),
        });
    }
    tally.report(7, 200, Duration::from_millis(12_300))
}

fn guest() -> Guest {
    Guest {
        device: "mine".into(),
        clients: vec!["mine".into()],
        messages: 3,
        last: "21.5".into(),
        revoked: false,
    }
}

fn board(notes: usize) -> Board {
    let place = "http://127.0.0.1:8080   mqtt 127.0.0.1:1883   metrics 127.0.0.1:9464";
    let folder = std::path::Path::new("/tmp/tessera-demo-0123456789abcdef");
    let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut board = Board::new(place.into(), commands(folder, at(43_210), at(43_211)));
    for number in 0..notes {
        board.take(News::Note(&format!("note {number}, {}", "which is long ".repeat(9))));
    }
    board.take(News::Alert("d\u{1b}[2J\r\n"));
    board.take(News::Note(&format!("note {notes} is the last one")));
    board.take(News::Progress(&report()));
    board
}

fn text(rows: &[Row]) -> String {
    rows.iter().map(|row| format!("{}\n", row.text)).collect()
}

fn fits(rows: &[Row], size: Size) {
    assert!(rows.len() < size.rows, "{} rows of {size:?}", rows.len());
    for row in rows {
        assert!(row.text.chars().count() <= size.columns, "{size:?}: {}", row.text);
        assert!(!row.text.contains(char::is_control), "{size:?}: {:?}", row.text);
    }
}

#[test]
fn demo_shows_status_notes_and_commands_at_every_size() {
    for size in SIZES {
        for notes in [0, 1, 500] {
            let rows = board(notes).frame(size);
            fits(&rows, size);
            let text = text(&rows);
            assert!(text.contains("online 200 of 200"), "{size:?}:\n{text}");
            if notes == 500 {
                assert!(text.contains("note 500 is the last one"), "{size:?}:\n{text}");
                assert!(text.contains("alert: d?[2J??"), "{size:?}:\n{text}");
            }
            if size.rows >= 24 {
                // Whole: a command that is cut is of no use.
                for command in [
                    "cd /tmp/tessera-demo-0123456789abcdef\n",
                    "CLAIM=$(./tessera claim create --role sensor --plain --http 127.0.0.1:43210)\n",
                    "./tessera device enrol --device mine --claim $CLAIM --http 127.0.0.1:43210\n",
                    "./tessera device connect --dir mine --mqtt 127.0.0.1:43211",
                    "./tessera revoke device mine --http 127.0.0.1:43210",
                ] {
                    assert!(text.contains(command), "{size:?}: {command} is not in\n{text}");
                }
            }
        }
    }
}

#[test]
fn demo_names_a_device_of_the_reader_and_its_revocation() {
    let mut board = board(500);
    board.take(News::Guest("mine connected with proof"));
    board.take(News::Guests(&[guest()]));
    let rows = board.frame(SIZES[0]);
    let own: Vec<&str> =
        rows.iter().filter(|row| row.tone == Tone::Own).map(|row| &row.text[..]).collect();
    assert_eq!(
        own,
        [
            "yours: mine connected with proof",
            "yours: mine is connected as mine; 3 messages, the last one: 21.5"
        ]
    );
    board.take(News::Guests(&[Guest { revoked: true, clients: Vec::new(), ..guest() }]));
    let text = text(&board.frame(SIZES[0]));
    assert!(text.contains("yours: mine is REVOKED, not connected; 3 messages"), "{text}");
}

fn outcome() -> Outcome {
    let of = |what, held, saw: &str| Expectation { what, held, saw: saw.into() };
    let mut expectations = vec![of("no failure of an honest device", true, "none")];
    expectations.resize(13, of("every token refreshed at least once", false, &"x".repeat(200)));
    Outcome {
        report: report(),
        expectations,
        truth: Truth { seed: 7, tenant: "default".into(), cast: Vec::new() },
        guests: vec![guest()],
    }
}

#[test]
fn demo_ends_with_verdict_expectations_and_latencies_in_sight() {
    for size in SIZES {
        let rows = ending(&outcome(), "NOT every expectation held", size);
        fits(&rows, size);
        let text = text(&rows);
        assert!(text.starts_with("NOT every expectation held"), "{text}");
        if size.rows >= 24 {
            for part in
                ["FAIL every token", "yours: mine", "end to end", "480 µs", "tokens refreshed"]
            {
                assert!(text.contains(part), "{size:?}: {part} is not in\n{text}");
            }
        }
    }
}

#[test]
fn demo_has_no_debug_text() {
    let run = outcome();
    let all = text(&ending(&run, "x", SIZES[3])) + &text(&board(3).frame(SIZES[3]));
    for debug in ["{}", "[]", "NotAuthorized", "AdministrativeAction", "Some(", "\\u{"] {
        assert!(!all.contains(debug), "{debug} in\n{all}");
    }
    assert_eq!(run.report.failures_by_code, BTreeMap::new());
}

#[test]
fn demo_is_coloured_only_when_asked() {
    let rows = board(1).frame(SIZES[0]);
    assert!(drawn(&rows, true).contains("\x1b[32m"));
    let plain = drawn(&rows, false);
    let codes: Vec<&str> = plain.split("\x1b[").skip(1).map(|code| &code[..1]).collect();
    assert!(codes.iter().all(|code| ["H", "K", "J"].contains(code)), "{codes:?}");
}
