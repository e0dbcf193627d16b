//! One router and what its keeper knows of it.

use super::era::Era;
use super::pulse::{Finding, Patience, Pulse};
use super::router::{Router, RouterGone};
use crate::limits::{ROUTER_HUNG_TICKS, ROUTER_SILENT_TICKS};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

const PATIENCE: Patience = Patience { silent: ROUTER_SILENT_TICKS, hung: ROUTER_HUNG_TICKS };

/// One router, as the keeper holds it.
pub(super) struct Running {
    pub(super) router: Router,
    pub(super) era: Arc<Era>,
    pulse: Pulse,
    /// Links of readers.
    pub(super) readers: usize,
}

impl Running {
    pub(super) fn new(router: Router, number: u64) -> Self {
        router.ask();
        Self { router, era: Era::new(number), pulse: Pulse::new(PATIENCE), readers: 0 }
    }

    /// One step of watching it.
    pub(super) fn step(&mut self) -> Finding {
        let found = self.pulse.step(self.router.answers(), self.router.is_dead());
        self.router.ask();
        found
    }
}

/// On a thread that can be given up, and for as long as a router may be silent.
pub(super) async fn start_router(tick: Duration) -> Result<Router, RouterGone> {
    let mut starting = tokio::task::spawn_blocking(Router::start);
    for _ in 0..ROUTER_HUNG_TICKS {
        tokio::select! {
            biased;
            started = &mut starting => return started.unwrap_or(Err(RouterGone)),
            () = sleep(tick) => {}
        }
    }
    Err(RouterGone)
}
