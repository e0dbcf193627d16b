//! The parts that all devices of a run share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tokio::sync::Semaphore;

use super::limits;
use super::plan::{Plan, PlayError};
use crate::device::api::DeviceApi;
use crate::device::life::World;
use crate::report::{Histogram, Tally};

/// See the module.
pub(super) struct Stage {
    pub(super) plan: Plan,
    pub(super) clock: SharedClock,
    /// Broker, provisioning, counters.
    pub(super) world: World,
    /// Room for acts that wait.
    pub(super) room: Arc<Semaphore>,
    /// Room for refused peers.
    pub(super) outsiders: Arc<Semaphore>,
    /// By how much acts were late.
    pub(super) late: Histogram,
    /// Sessions that the broker or a network had ended, opened again.
    pub(super) reopened: AtomicU64,
    /// Acts without a means: by the reason.
    pub(super) left_out: AtomicU64,
}

impl Stage {
    pub(super) fn new(
        plan: Plan,
        clock: SharedClock,
        tally: Arc<Tally>,
    ) -> Result<Arc<Self>, PlayError> {
        let api = DeviceApi::new(&plan.http).map_err(PlayError::Http)?;
        let gangway = Arc::new(Semaphore::new(limits::CONNECTING));
        let world = World { broker: plan.broker.clone(), api, tally, gangway };
        Ok(Arc::new(Self {
            plan,
            clock,
            world,
            room: Arc::new(Semaphore::new(limits::ACTS)),
            outsiders: Arc::new(Semaphore::new(limits::OUTSIDERS)),
            late: Histogram::default(),
            reopened: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }))
    }

    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.world.tally
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Counts an act that was not done.
    pub(super) fn leave_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }
}
