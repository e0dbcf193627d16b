use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

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
    let sink = Sink::default();
    let copy = sink.clone();
    let subscriber = subscriber(level, format, move || copy.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, event);
    let bytes = sink.0.lock().clone();
    String::from_utf8(bytes).unwrap()
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
    assert!(matches!(
        subscriber("no=such=level", Format::Text, std::io::sink),
        Err(LogError::BadLevel(_))
    ));
}

#[test]
fn a_line_has_a_limit() {
    let text = logged("info", Format::Text, || tracing::info!("{}", "x".repeat(100_000)));
    assert!(text.len() < 20_000);
}
