use std::path::PathBuf;

use super::*;

/// Few messages: the test is not optimised by the compiler.
const SCENARIO: &str = "devices = 60\ndays = 9\n[attacks]\nfrom_day = 7\nshare = 0.2\nclasses = [\"flood\", \"flap\"]\n\
    [personas.sensor]\nperiod_s = 300\n[personas.tracker]\nperiod_s = 100\n[personas.noisy]\nperiod_s = 300\n";

fn folder() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    std::fs::write(path.join("s.toml"), SCENARIO).unwrap();
    (folder, move |name: &str| path.join(name))
}

fn score_of(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn score_args() -> ScoreArgs {
    ScoreArgs {
        scenario: None,
        seeds: Vec::new(),
        input: None,
        truth: None,
        alerts: None,
        profile: None,
        json: None,
        markdown: None,
    }
}

/// A scenario that is written, replayed and scored gives what its direct score gives.
#[test]
fn files_and_the_direct_run_have_one_score() {
    let (_folder, at) = folder();
    let observed = ObserveArgs {
        default: false,
        scenario: Some(at("s.toml")),
        seed: Some(5),
        out: Some(at("o.ndjson")),
        truth: Some(at("t.ndjson")),
    };
    assert_eq!(observe(&observed).unwrap(), 0);
    let direct = ScoreArgs {
        scenario: Some(at("s.toml")),
        seeds: vec![5],
        json: Some(at("direct.json")),
        markdown: Some(at("page.md")),
        ..score_args()
    };
    assert_eq!(score(&direct).unwrap(), 0);
    let of_file = ScoreArgs {
        input: Some(at("o.ndjson")),
        truth: Some(at("t.ndjson")),
        json: Some(at("file.json")),
        ..score_args()
    };
    assert_eq!(score(&of_file).unwrap(), 0);
    let (direct, file) = (score_of(&at("direct.json")), score_of(&at("file.json")));
    assert_eq!(direct, file);
    assert_eq!(direct["detectors"].as_array().unwrap().len(), 19);
    let page = std::fs::read_to_string(at("page.md")).unwrap();
    for part in ["## Blind spots", "### Recall over false alarms", "| `period_s` |", "seeds 5."] {
        assert!(page.contains(part), "{part}");
    }

    let replayed = ReplayArgs { input: at("o.ndjson"), alerts: Some(at("a.ndjson")) };
    assert_eq!(replay(&replayed).unwrap(), 0);
    let of_alerts = ScoreArgs {
        truth: Some(at("t.ndjson")),
        alerts: Some(at("a.ndjson")),
        json: Some(at("alerts.json")),
        ..score_args()
    };
    assert_eq!(score(&of_alerts).unwrap(), 0);
    let alone = score_of(&at("alerts.json"));
    assert_eq!(alone["detectors"][0]["cells"], direct["detectors"][0]["cells"]);
    assert_eq!(alone["detectors"][0]["false_alarms"], direct["detectors"][0]["false_alarms"]);
}

#[test]
fn wrong_files_are_named_with_their_line() {
    let (_folder, at) = folder();
    std::fs::write(at("s.toml"), "devices = 60\nspeed = 3\n").unwrap();
    let args = ScoreArgs { scenario: Some(at("s.toml")), ..score_args() };
    let error = score(&args).unwrap_err().to_string();
    assert!(error.contains("s.toml") && error.contains("line 2"), "{error}");

    std::fs::write(
        at("o.ndjson"),
        "{\"t\":9,\"device\":\"d\",\"kind\":\"disconnect\"}\n{\"t\":8}\n",
    )
    .unwrap();
    let args = ReplayArgs { input: at("o.ndjson"), alerts: Some(at("a.ndjson")) };
    let error = replay(&args).unwrap_err().to_string();
    assert!(error.contains("o.ndjson, line 2"), "{error}");

    let args = ReplayArgs { input: at("none"), alerts: None };
    assert!(replay(&args).unwrap_err().to_string().contains("none"));
}

#[test]
fn a_log_is_converted_and_a_wrong_one_is_refused() {
    let (_folder, at) = folder();
    let log = "1765432101: New client connected from 192.0.2.7:53210 as d-17 (p2, c1, k60).\n\
        1765432103: Received PUBLISH from d-17 (d0, q1, r0, m5, 'd/d-17/a', ... (42 bytes))\n";
    std::fs::write(at("m.log"), log).unwrap();
    let mut args = ConvertArgs {
        from: Source::MosquittoLog,
        input: at("m.log"),
        out: at("o.ndjson"),
        tenant: "acme".into(),
        name_level: 1,
    };
    assert_eq!(convert(&args).unwrap(), 0);
    let made = std::fs::read_to_string(at("o.ndjson")).unwrap();
    assert_eq!(made.lines().count(), 3, "{made}");
    let mut seen = Vec::new();
    files::observations(&at("o.ndjson"), &mut |o| {
        seen.push((o.tenant.to_owned(), o.device.to_owned(), o.session));
        true
    })
    .unwrap();
    assert_eq!(seen, vec![("acme".to_owned(), "d-17".to_owned(), 1); 2]);
    args.from = Source::Tshark;
    let error = convert(&args).unwrap_err().to_string();
    assert!(error.contains("no line says anything"), "{error}");
}
