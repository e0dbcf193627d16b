//! The lines of the process are bounded by their cause ([`super::table`]), for every writer and every peer behind it.

use std::fmt::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use super::table::{Closing, Place, Table};
use crate::clock::SharedClock;
use crate::limits::{LOG_KEY_BYTES, LOG_WORDS_BYTES};
use crate::metrics::{Counter, Metrics, MetricsError};

/// Where closing lines come from; they are not bounded themselves, and every level lets them through.
const CLOSING: &str = "tessera_runtime::log::closing";

/// Fields whose values tell causes of one place apart. All are short words of ours, but for `tenant` and `error`.
const KEYS: [&str; 8] = ["code", "reason", "rule", "action", "effect", "actor", "tenant", "error"];

/// Bounds of the lines of a subscriber.
#[derive(Clone)]
pub struct Bounds(Arc<Inner>);

struct Inner {
    clock: SharedClock,
    table: Mutex<Table>,
    counters: Mutex<Vec<Counter>>,
}

impl Bounds {
    pub(super) fn new(clock: SharedClock) -> Self {
        let (table, counters) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { clock, table, counters }))
    }

    /// Counts the lines that are not written, as `tessera_log_suppressed_total`.
    ///
    /// # Errors
    /// The name is taken in this registry.
    pub fn count_in(&self, metrics: &Metrics) -> Result<(), MetricsError> {
        let counter = metrics.counter(
            "tessera_log_suppressed_total",
            "Log lines not written because their cause had written enough, by module and cause",
            &["source", "cause"],
        )?;
        self.0.counters.lock().push(counter);
        Ok(())
    }

    /// Writes the closing lines whose time has come.
    pub fn close_due(&self) {
        let due = self.0.table.lock().due(self.0.clock.monotonic());
        due.iter().for_each(tell);
    }

    /// Writes all closing lines: at the end.
    pub fn close_all(&self) {
        let all = self.0.table.lock().all(self.0.clock.monotonic());
        all.iter().for_each(tell);
    }

    fn admit(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        let place = Place {
            id: std::ptr::from_ref(metadata).addr(),
            level: *metadata.level(),
            source: metadata.target(),
        };
        let mut key = Text::of(LOG_KEY_BYTES, |field| KEYS.contains(&field));
        event.record(&mut key);
        let words = || {
            let mut words = Text::of(LOG_WORDS_BYTES, |field| field == "message");
            event.record(&mut words);
            words.text
        };
        let now = self.0.clock.monotonic();
        let said = self.0.table.lock().admit(now, place, key.text, words);
        match said {
            Ok(()) => true,
            Err(cause) => {
                let counters = self.0.counters.lock();
                counters.iter().for_each(|counter| counter.inc(&[metadata.target(), &cause]));
                false
            }
        }
    }
}

/// A filter that also asks [`Bounds`].
pub(super) struct Bounded<F> {
    pub(super) inner: F,
    pub(super) bounds: Bounds,
}

fn is_closing(metadata: &Metadata<'_>) -> bool {
    metadata.target() == CLOSING
}

impl<S: Subscriber, F: Filter<S>> Filter<S> for Bounded<F> {
    fn enabled(&self, metadata: &Metadata<'_>, cx: &Context<'_, S>) -> bool {
        is_closing(metadata) || self.inner.enabled(metadata, cx)
    }

    /// For events never `always`: then [`Filter::enabled`] would not be asked before [`Filter::event_enabled`], whose refusal the
    /// registry takes for a fault of its own count (tracing-subscriber 0.3.23, `FilterState::event_enabled`).
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_span() {
            // rumqttd opens several for each message: they must cost no question.
            return self.inner.callsite_enabled(metadata);
        }
        let never = !is_closing(metadata) && self.inner.callsite_enabled(metadata).is_never();
        if never {
            Interest::never()
        } else {
            Interest::sometimes()
        }
    }

    fn event_enabled(&self, event: &Event<'_>, cx: &Context<'_, S>) -> bool {
        is_closing(event.metadata())
            || self.inner.event_enabled(event, cx) && self.bounds.admit(event)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.inner.max_level_hint()
    }
}

/// The wanted fields of an event as text, cut at a length.
struct Text {
    text: String,
    most: usize,
    wanted: fn(&str) -> bool,
}

impl Text {
    fn of(most: usize, wanted: fn(&str) -> bool) -> Self {
        Self { text: String::new(), most, wanted }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if (self.wanted)(field.name()) {
            let space = if self.text.is_empty() { "" } else { " " };
            // Text that does not fit is left out.
            let _ = write!(self, "{space}{value:?}");
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for character in part.chars() {
            if self.text.len() + character.len_utf8() > self.most {
                return Err(fmt::Error);
            }
            self.text.push(character);
        }
        Ok(())
    }
}

fn tell(closing: &Closing) {
    let Closing { level, source, key, words, suppressed, seconds } = closing;
    let many = thousands(*suppressed);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: CLOSING,
                source,
                cause = %key,
                suppressed,
                "and {many} more of the same in the last {seconds} s: {words}"
            )
        };
    }
    match *level {
        Level::ERROR => line!(error),
        Level::WARN => line!(warn),
        Level::INFO => line!(info),
        Level::DEBUG => line!(debug),
        Level::TRACE => line!(trace),
    }
}

/// `29412` as `29,412`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
