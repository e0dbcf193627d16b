//! The devices of a run, and the parts that they share: made before the run, removed after it.

use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::random::SeededRandom;
use tokio::sync::Semaphore;

use super::limits;
use super::plan::Plan;
use super::run::{LoadError, Say, Told};
use crate::device::api::DeviceApi;
use crate::device::life::{Device, World};
use crate::fleet::{Kind, Yard};
use crate::operator::{segment, tenant_path};
use crate::report::Tally;

/// Everything that a run needs.
pub(super) struct Stage {
    pub(super) plan: Plan,
    pub(super) clock: SharedClock,
    pub(super) yard: Yard,
    pub(super) world: World,
    /// When the first device was to connect.
    pub(super) began: Duration,
}

impl Stage {
    pub(super) fn new(
        plan: Plan,
        clock: SharedClock,
        tally: Arc<Tally>,
    ) -> Result<Self, LoadError> {
        let api = DeviceApi::new(&plan.http).map_err(LoadError::Http)?;
        let yard = Yard {
            api: api.clone(),
            operator: plan.operator.clone(),
            clock: Arc::clone(&clock),
            random: Arc::new(SeededRandom::predictable(plan.seed)),
        };
        let gangway = Arc::new(Semaphore::new(limits::CONNECTING));
        let world = World { broker: plan.broker.clone(), api, tally, gangway };
        let began = clock.monotonic();
        Ok(Self { plan, clock, yard, world, began })
    }

    /// Makes the role and enrols the devices.
    pub(super) async fn enrol(&mut self, say: Say<'_>) -> Result<Vec<Device>, LoadError> {
        let plan = &self.plan;
        let role = match &plan.role {
            Some(role) => role.clone(),
            None => {
                let role = plan.own_role();
                let path = tenant_path(plan.tenant.as_str(), &format!("roles/{}", segment(&role)));
                let made = plan.operator.put(&path, &plan.role_body()).await;
                made.map_err(|error| LoadError::Role(role.clone(), error))?;
                role
            }
        };
        let kind = Kind {
            tenant: plan.tenant.clone(),
            role,
            prefix: plan.prefix.clone(),
            count: plan.count,
            skewed: false,
            both_versions: false,
            group: None,
            habits: plan.habits(),
        };
        let devices = self.yard.enrol_named(&kind, &plan.ids(), &self.world.tally).await;
        let devices = devices.map_err(LoadError::Fleet)?;
        let text = format!("enrolled {} of {} devices", devices.len(), plan.count);
        say(Told::Note(&text));
        if devices.is_empty() && plan.count > 0 {
            return Err(LoadError::NoDevices(self.world.tally.failures_by_code()));
        }
        self.began = self.clock.monotonic();
        Ok(devices)
    }

    /// Time since the first device was to connect.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.began)
    }

    /// The world of the device of this place, with another tally.
    pub(super) fn world_of(&self, at: usize, tally: &Arc<Tally>) -> World {
        let (broker, tally) = (self.plan.broker_of(at), Arc::clone(tally));
        World { broker, tally, ..self.world.clone() }
    }
}
