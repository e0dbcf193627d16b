use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;

use tessera_token::time::UnixSeconds;

use super::*;
use crate::clock::ManualClock;
use crate::limits::{LOG_BURST, LOG_CLOSING, LOG_KEYS, LOG_SHARED};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(level: &str, format: Format, event: impl FnOnce()) -> String {
    bounded(level, format, |_, _| event())
}

/// The written lines; `event` may move the clock and ask for closing lines.
fn bounded(level: &str, format: Format, event: impl FnOnce(&ManualClock, &Bounds)) -> String {
    let (sink, clock) = (Sink::default(), ManualClock::at(UnixSeconds::new(1_800_000_000)));
    let copy = sink.clone();
    let (subscriber, bounds) =
        subscriber(level, format, move || copy.clone(), clock.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || event(&clock, &bounds));
    let bytes = sink.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

fn refuse(code: &str, device: u64) {
    tracing::info!(code = %code, tenant = "acme", device, "connect refused");
}

#[test]
fn a_flood_of_refusals_is_a_burst_and_a_closing_line() {
    for format in [Format::Text, Format::Json] {
        let metrics = Metrics::new();
        let text = bounded("info", format, |clock, bounds| {
            bounds.count_in(&metrics).unwrap();
            for device in 0..10_000 {
                refuse("token_revoked", device);
            }
            refuse("token_expired", 7);
            bounds.close_due();
            clock.advance(LOG_CLOSING);
            bounds.close_due();
            bounds.close_due();
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), LOG_BURST as usize + 2, "{text}");
        assert!(lines[LOG_BURST as usize].contains("token_expired"), "{text}");
        let closing = lines[LOG_BURST as usize + 1];
        let words = "and 9,980 more of the same in the last 10 s: connect refused";
        for part in [words, "INFO", "token_revoked acme", "tessera_runtime::log::tests", "9980"] {
            assert!(closing.contains(part), "{part} in {closing}");
        }
        let counted = metrics.render();
        let series = r#"cause="token_revoked acme",source="tessera_runtime::log::tests"} 9980"#;
        assert!(counted.contains(series), "{counted}");
    }
}

#[test]
fn a_closing_line_passes_where_its_lines_pass_and_the_end_tells_all() {
    let text = bounded("error,tessera_runtime::log=warn", Format::Text, |_, bounds| {
        for _ in 0..LOG_BURST + 3 {
            tracing::warn!("disk");
            tracing::info!("not asked for");
        }
        bounds.close_all();
    });
    assert_eq!(text.lines().count(), LOG_BURST as usize + 1, "{text}");
    assert!(text.contains(" WARN ") && text.contains("and 3 more of the same"), "{text}");
    assert!(!text.contains("not asked for"), "{text}");
}

#[test]
fn keys_from_outside_do_not_grow_the_log() {
    let text = bounded("info", Format::Text, |clock, bounds| {
        for number in 0..100_000 {
            let error = format!("{number} {}", "x".repeat(1000));
            tracing::warn!(%error, "no answer");
        }
        clock.advance(LOG_CLOSING);
        bounds.close_due();
    });
    let most = LOG_KEYS + LOG_SHARED * (LOG_BURST as usize + 1);
    assert_eq!(text.lines().count(), most);
}

#[test]
fn control_characters_never_split_or_colour_a_line() {
    for format in [Format::Text, Format::Json] {
        let hostile = "a\u{1b}[31mred\r\nFAKE line\u{9b}0m\u{202e}x";
        let text = logged("info", format, || tracing::info!(device = %hostile, "hello {hostile}"));
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(text.contains("FAKE"));
        assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
        assert!(!text.contains('\u{202e}'));
    }
}

#[test]
fn levels_by_target() {
    let spec = "warn,tessera_runtime::log=debug";
    assert!(logged(spec, Format::Text, || tracing::debug!("near")).contains("near"));
    assert!(logged(spec, Format::Text, || tracing::info!(target: "far", "far")).is_empty());
    assert!(matches!(targets("no=such=level"), Err(LogError::BadLevel(_))));
}

#[test]
fn a_line_has_a_limit() {
    let text = logged("info", Format::Text, || tracing::info!("{}", "x".repeat(100_000)));
    assert!(text.len() < 20_000);
}
