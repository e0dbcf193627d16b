//! Structured logs to stderr, as text or JSON. No control character of a logged value reaches a terminal or splits a
//! line (LESSONS B8.4).

use std::fmt;
use std::io;

use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{reload, Layer, Registry};

use escape::Escaping;

mod escape;
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
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadLevel(text) => write!(f, "log level {text:?}: use a level or target=level,…"),
            Self::AlreadySet(error) => write!(f, "logging: {error}"),
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
        let bad = || LogError::BadLevel(level.to_owned());
        let targets: Targets = level.parse().map_err(|_| bad())?;
        self.0.reload(targets).map_err(|_| bad())
    }
}

/// As [`init`], with a handle by which the level can be changed later.
///
/// # Errors
/// [`LogError`].
pub fn init_adjustable(level: &str, format: Format) -> Result<LogControl, LogError> {
    let targets: Targets = level.parse().map_err(|_| LogError::BadLevel(level.to_owned()))?;
    let (filter, handle) = reload::Layer::new(targets);
    let base = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Escaping(io::stderr));
    let layer = match format {
        Format::Text => base.boxed(),
        Format::Json => base.json().flatten_event(true).boxed(),
    };
    let subscriber = Registry::default().with(layer.with_filter(filter));
    tracing::subscriber::set_global_default(subscriber).map_err(LogError::AlreadySet)?;
    Ok(LogControl(handle))
}

/// Sends the logs of the whole process to stderr. `level` is `info`, or `info,tessera_broker=debug`.
///
/// # Errors
/// [`LogError`].
pub fn init(level: &str, format: Format) -> Result<(), LogError> {
    let subscriber = subscriber(level, format, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(LogError::AlreadySet)
}

/// The subscriber that [`init`] installs, writing elsewhere: for tests and for tools with a screen of their own.
///
/// # Errors
/// [`LogError::BadLevel`].
pub fn subscriber<W>(
    level: &str,
    format: Format,
    writer: W,
) -> Result<impl tracing::Subscriber, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let targets: Targets = level.parse().map_err(|_| LogError::BadLevel(level.to_owned()))?;
    let base = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Escaping(writer));
    let layer = match format {
        Format::Text => base.boxed(),
        Format::Json => base.json().flatten_event(true).boxed(),
    };
    Ok(Registry::default().with(layer.with_filter(targets)))
}
