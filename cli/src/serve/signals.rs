//! Signals. The second request to end is obeyed at once.

use tokio::signal::unix::{signal, Signal, SignalKind};

use crate::fault::Fault;
use crate::out;

/// What was asked for.
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
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, Fault> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => Asked::End,
            _ = self.int.recv() => Asked::End,
            _ = self.hup.recv() => Asked::Reload,
        }
    }

    /// From now on a request to end ends the process at once.
    pub(super) fn impatient(mut self) {
        tokio::spawn(async move {
            while self.next().await != Asked::End {}
            out::complain("asked twice: ending at once");
            std::process::exit(130);
        });
    }
}
