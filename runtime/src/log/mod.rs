//! Structured logs to stderr, as text or JSON. No control character of a logged value reaches a terminal or splits a
//! line. The lines of each cause are bounded; lines left out are counted and told in a closing line
//! ([`Bounds`], `docs/logs.md`).

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::thread;

use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{reload, Layer, Registry};

use crate::clock::SharedClock;
use crate::limits::LOG_LOOK;
use crate::metrics::{Metrics, MetricsError};
use bounds::Bounded;
use escape::Escaping;

pub use bounds::Bounds;

mod bounds;
mod escape;
mod table;
#[cfg(test)]
mod tests;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging was not set up.
#[derive(Debug)]
#[non_exhaustive]
pub enum LogError {
    /// The level text is not `level` or `target=level,…`.
    BadLevel(String),
    /// Another part of the process set logging up before.
    AlreadySet(SetGlobalDefaultError),
    /// The thread that writes closing lines could not be started.
    NoThread(io::Error),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadLevel(text) => write!(f, "log level {text:?}: use a level or target=level,…"),
            Self::AlreadySet(error) => write!(f, "logging: {error}"),
            Self::NoThread(error) => write!(f, "the thread that writes closing lines: {error}"),
        }
    }
}

impl std::error::Error for LogError {}

/// Changes the level of a running process.
#[derive(Clone)]
pub struct LogControl(reload::Handle<Targets, Registry>);

impl LogControl {
    /// Takes `level` from now on.
    ///
    /// # Errors
    /// [`LogError::BadLevel`]; the old level then stays.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let targets = targets(level)?;
        self.0.reload(targets).map_err(|_| LogError::BadLevel(level.to_owned()))
    }
}

/// Bounds of the lines of this process, once logging is set up.
static PROCESS: OnceLock<Bounds> = OnceLock::new();

/// Sends the logs of the whole process to stderr, with a handle by which the level can be changed later. `level` is
/// `info`, or `info,tessera_broker=debug`.
///
/// # Errors
/// [`LogError`].
pub fn init_adjustable(
    level: &str,
    format: Format,
    clock: SharedClock,
) -> Result<LogControl, LogError> {
    let (filter, handle) = reload::Layer::new(targets(level)?);
    let bounds = Bounds::new(clock);
    let filter = Bounded { inner: filter, bounds: bounds.clone() };
    let subscriber =
        Registry::default().with(layer::<Registry, _>(format, io::stderr).with_filter(filter));
    tracing::subscriber::set_global_default(subscriber).map_err(LogError::AlreadySet)?;
    keep_closing(bounds)?;
    Ok(LogControl(handle))
}

/// As [`init_adjustable`], for a process whose level stays.
///
/// # Errors
/// [`LogError`].
pub fn init(level: &str, format: Format, clock: SharedClock) -> Result<(), LogError> {
    let (subscriber, bounds) = subscriber(level, format, io::stderr, clock)?;
    tracing::subscriber::set_global_default(subscriber).map_err(LogError::AlreadySet)?;
    keep_closing(bounds)
}

/// The subscriber that [`init`] installs, writing elsewhere, and what bounds its lines: for tests and for tools with a
/// screen of their own. The caller asks for closing lines.
///
/// # Errors
/// [`LogError::BadLevel`].
pub fn subscriber<W>(
    level: &str,
    format: Format,
    writer: W,
    clock: SharedClock,
) -> Result<(impl tracing::Subscriber, Bounds), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let bounds = Bounds::new(clock);
    let filter = Bounded { inner: targets(level)?, bounds: bounds.clone() };
    Ok((Registry::default().with(layer::<Registry, _>(format, writer).with_filter(filter)), bounds))
}

/// Counts the lines of this process that are not written in `metrics` too; nothing while logging is not set up.
///
/// # Errors
/// The name of the metric is taken.
pub fn count_in(metrics: &Metrics) -> Result<(), MetricsError> {
    PROCESS.get().map_or(Ok(()), |bounds| bounds.count_in(metrics))
}

/// Writes all closing lines of this process: at its end.
pub fn close() {
    if let Some(bounds) = PROCESS.get() {
        bounds.close_all();
    }
}

fn targets(level: &str) -> Result<Targets, LogError> {
    level.parse().map_err(|_| LogError::BadLevel(level.to_owned()))
}

fn layer<S, W>(format: Format, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let base = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Escaping(writer));
    match format {
        Format::Text => base.boxed(),
        Format::Json => base.json().flatten_event(true).boxed(),
    }
}

/// Closing lines are written when their time has come, also after the last line of a flood.
fn keep_closing(bounds: Bounds) -> Result<(), LogError> {
    let closing = PROCESS.get_or_init(|| bounds).clone();
    let look = move || loop {
        thread::park_timeout(LOG_LOOK);
        closing.close_due();
    };
    let thread = thread::Builder::new().name("log".to_owned()).spawn(look);
    thread.map(drop).map_err(LogError::NoThread)
}
