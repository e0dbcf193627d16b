//! Signals. The second request to end is obeyed at once.

use std::future::Future;
use std::pin::pin;

use tessera_runtime::stop::Stop;
use tokio::signal::unix::{signal, Signal, SignalKind};

use crate::error::Fault;
use crate::output;

/// The request of a signal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGTERM or SIGINT.
    End,
    /// SIGHUP.
    Reload,
}

/// The signals of this process.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    /// Asked during the start, and not obeyed yet.
    end: bool,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, Fault> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            end: false,
        })
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Asked {
        if std::mem::take(&mut self.end) {
            return Asked::End;
        }
        tokio::select! {
            _ = self.term.recv() => Asked::End,
            _ = self.int.recv() => Asked::End,
            _ = self.hup.recv() => Asked::Reload,
        }
    }

    /// Waits for a start, which may itself wait for a clock that is not set. A request to end stops it by `stop`: `None`
    /// when it ended for that; when it came to its end all the same, the next signal is that request.
    pub(super) async fn during<T>(
        &mut self,
        stop: &Stop,
        start: impl Future<Output = Result<T, Fault>>,
    ) -> Result<Option<T>, Fault> {
        let mut start = pin!(start);
        let outcome = loop {
            tokio::select! {
                outcome = &mut start => break outcome,
                asked = self.next() => match asked {
                    Asked::End if stop.is_stopping() => at_once(),
                    Asked::End => stop.trigger(),
                    Asked::Reload => {}
                },
            }
        };
        self.end = stop.is_stopping();
        match outcome {
            Err(fault) if self.end => {
                tracing::info!(%fault, "told to stop during the start");
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }

    /// From now on a request to end ends the process at once.
    pub(super) fn impatient(mut self) {
        tokio::spawn(async move {
            while self.next().await != Asked::End {}
            at_once();
        });
    }
}

fn at_once() {
    output::complain("asked twice: ending at once");
    std::process::exit(130);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told_to_end() {
        let kill = format!("kill -TERM {}", std::process::id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// One test: a signal is for the whole process.
    #[tokio::test]
    async fn a_request_to_end_stops_a_start() {
        let mut signals = Signals::listen().unwrap();
        let stop = Stop::new();
        let start = async {
            told_to_end();
            stop.stopping().await;
            Err::<(), _>(Fault::new("the clock"))
        };
        let within = Duration::from_secs(20);
        let started = tokio::time::timeout(within, signals.during(&stop, start)).await.unwrap();
        assert!(matches!(started, Ok(None)));
        // One that gets done all the same, and is then told to end.
        let stop = Stop::new();
        signals.end = false;
        let start = async {
            told_to_end();
            stop.stopping().await;
            Ok(7)
        };
        let started = tokio::time::timeout(within, signals.during(&stop, start)).await.unwrap();
        assert!(matches!(started, Ok(Some(7))));
        assert_eq!(tokio::time::timeout(within, signals.next()).await.unwrap(), Asked::End);
        // One that fails for itself.
        let stop = Stop::new();
        let start = async { Err::<(), _>(Fault::new("no disk")) };
        assert!(signals.during(&stop, start).await.is_err());
    }
}
