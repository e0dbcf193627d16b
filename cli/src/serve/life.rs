//! The life of a server process after its start: reload when told, drain when told.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tessera_runtime::clock::SystemClock;
use tessera_runtime::log::LogControl;
use tessera_runtime::stop::Stop;
use tessera_runtime::{inherited, service_manager};

use super::signals::{Asked, Signals};
use crate::args::LogArgs;
use crate::config::{LogConfig, Raw};
use crate::error::{Fault, Outcome};
use crate::output;

/// How often the configuration file is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Number of looks after which the log says what is missing for `ready`.
const LOOKS_BEFORE_A_WORD: u32 = 4;

/// Parts that can be reloaded while running: the log level. Everything else needs a restart, and a bad file changes nothing.
pub(super) struct Reload {
    file: Option<PathBuf>,
    args: LogArgs,
    control: LogControl,
    log: LogConfig,
    seen: Option<SystemTime>,
}

impl Reload {
    /// Starts logging.
    pub(super) fn start(
        file: Option<&Path>,
        args: &LogArgs,
        log: &LogConfig,
    ) -> Result<Self, Fault> {
        let clock = SystemClock::shared();
        let control = tessera_runtime::log::init_adjustable(&log.level, log.format, clock)?;
        let mut reload = Self {
            file: file.map(Path::to_owned),
            args: args.clone(),
            control,
            log: log.clone(),
            seen: None,
        };
        reload.seen = reload.changed_at();
        Ok(reload)
    }

    fn changed_at(&self) -> Option<SystemTime> {
        std::fs::metadata(self.file.as_ref()?).ok()?.modified().ok()
    }

    /// Whether the file is another than the one last read.
    fn is_due(&self) -> bool {
        let now = self.changed_at();
        now.is_some() && now != self.seen
    }

    fn run(&mut self) {
        self.seen = self.changed_at();
        match self.read() {
            Ok(log) if log == self.log => {
                tracing::info!("configuration read again; the log level is as it was")
            }
            Ok(log) => {
                tracing::info!(level = %log.level, "configuration read again; new log level");
                self.log = log;
            }
            Err(fault) => {
                tracing::error!(%fault, "the new configuration is not used; the old one stays")
            }
        }
    }

    fn read(&self) -> Result<LogConfig, Fault> {
        let raw = Raw::read(self.file.as_deref())?.with_log(&self.args);
        let log = raw.validate(".")?.log;
        self.control.set_level(&log.level)?;
        Ok(log)
    }
}

/// Serves until a signal ends it. `ready` says when all is well; then the line `ready` is printed. `reload_more` is what
/// else SIGHUP means; it tells for itself how it went.
pub(super) async fn until_told(
    mut signals: Signals,
    mut reload: Reload,
    ready: impl Fn() -> bool,
    reload_more: impl Fn(),
) -> Signals {
    let mut look = tokio::time::interval(LOOK);
    let mut often = tokio::time::interval(Duration::from_millis(20));
    let watchdog = service_manager::watchdog();
    // Twice within its span: one that comes late is no reason for a restart.
    let mut alive = tokio::time::interval(watchdog.map_or(LOOK, |span| span / 2));
    let mut told = false;
    let mut looks = 0u32;
    // It serves from now on. Whether it is ready depends on other machines, and /readyz says so.
    inherited::close_the_rest();
    service_manager::serving("not ready yet: /readyz says why");
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::End => {
                    service_manager::stopping();
                    return signals;
                }
                Asked::Reload => {
                    reload.run();
                    reload_more();
                }
            },
            _ = look.tick() => {
                if reload.is_due() {
                    reload.run();
                }
                looks = looks.saturating_add(1);
                if !told && looks == LOOKS_BEFORE_A_WORD {
                    tracing::warn!("not ready yet, /readyz says why: is provisioning reachable, and the feed token right?");
                }
            }
            _ = alive.tick(), if watchdog.is_some() => service_manager::alive(),
            _ = often.tick(), if !told => if ready() {
                told = true;
                service_manager::status("ready");
                output::line(if reload.args.json { "{\"ready\":true}" } else { "ready" });
            },
        }
    }
}

/// Stops the parts in this order and says what did not stop.
pub(super) async fn drain(parts: &[&Stop], within: Duration) -> Vec<String> {
    let mut left = Vec::new();
    for stop in parts {
        left.extend(stop.finish(within).await);
    }
    left
}

/// The exit status after a drain.
pub(super) fn ended(left: &[String]) -> Outcome {
    tessera_runtime::log::close();
    if left.is_empty() {
        tracing::info!("drained");
        return Ok(0);
    }
    for name in left {
        output::complain(&format!("did not stop in time: {name}"));
    }
    Ok(0)
}
