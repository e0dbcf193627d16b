//! Devices that are held back: by the trust data, and by rules of this broker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_agent::trust::Restrained;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::time::UnixSeconds;
use tessera_token::trust::Step;

use super::clamp::Clamp;
use crate::limits::{RESTRAINTS_OF_RULES, RESTRAINT_OF_RULE};

/// How a device is held back now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hold {
    /// The step.
    pub(crate) step: Step,
    /// Since when: a fresh proof was made after it.
    pub(crate) at: UnixSeconds,
    /// The first second after it.
    pub(crate) until: UnixSeconds,
}

impl Hold {
    /// Whether the device is held back in this way now.
    pub(crate) fn is(&self, step: Step, now: UnixSeconds) -> bool {
        self.step == step && now < self.until
    }

    /// Whether it is held back so, or more, for most of the time of a rule.
    pub(super) fn lasts(&self, step: Step, now: UnixSeconds) -> bool {
        self.step >= step && self.until.since(now) > RESTRAINT_OF_RULE / 2
    }

    /// The stronger of two that may be over.
    fn stronger(self, other: Self, now: UnixSeconds) -> Self {
        let step = |hold: &Self| if now < hold.until { hold.step } else { Step::Released };
        match (step(&other), other.until) > (step(&self), self.until) {
            true => other,
            false => self,
        }
    }
}

impl From<Restrained> for Hold {
    fn from(Restrained { step, at, until }: Restrained) -> Self {
        Self { step, at, until }
    }
}

/// Devices that rules hold back on this broker: for a time, in memory alone.
#[derive(Default)]
pub(crate) struct Restraints {
    of: Mutex<HashMap<(TenantId, DeviceId), Hold>>,
    /// The rates of devices that are held down: one for all sessions of a device, also for its next one.
    clamps: Mutex<HashMap<(TenantId, DeviceId), Arc<Clamp>>>,
}

impl Restraints {
    /// Holds a device back from now on. False when there is no room for it.
    pub(crate) fn raise(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        step: Step,
        now: UnixSeconds,
    ) -> bool {
        let mut of = self.of.lock();
        let key = (tenant.clone(), device.clone());
        if of.len() >= RESTRAINTS_OF_RULES && !of.contains_key(&key) {
            of.retain(|_, hold| now < hold.until);
            if of.len() >= RESTRAINTS_OF_RULES {
                return false;
            }
        }
        let hold = Hold { step, at: now, until: now.plus(RESTRAINT_OF_RULE) };
        let known = of.entry(key).or_insert(hold);
        *known = hold.stronger(*known, now);
        true
    }

    /// How a device is held back, all in all. A word of the trust data that is newer than a rule's match ends it: an
    /// operator has released the device.
    pub(crate) fn of(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        told: Option<Restrained>,
        now: UnixSeconds,
    ) -> Hold {
        let told = told.map(Hold::from);
        let mut of = self.of.lock();
        if of.is_empty() {
            return told.unwrap_or_default();
        }
        let key = (tenant.clone(), device.clone());
        let own = of.get(&key).copied();
        if own.is_some_and(|own| now >= own.until) {
            of.remove(&key);
        }
        match (own, told) {
            (Some(own), Some(told)) if told.step == Step::Released && told.at >= own.at => told,
            (Some(own), Some(told)) => told.stronger(own, now),
            (Some(own), None) => own,
            (None, told) => told.unwrap_or_default(),
        }
    }

    /// The rate of a device that is held down. Past the bound each session has one of its own.
    pub(crate) fn clamp(&self, tenant: &TenantId, device: &DeviceId, at: Duration) -> Arc<Clamp> {
        let mut clamps = self.clamps.lock();
        if clamps.len() >= RESTRAINTS_OF_RULES {
            clamps.retain(|_, clamp| Arc::strong_count(clamp) > 1 || !clamp.is_idle(at));
        }
        let key = (tenant.clone(), device.clone());
        match clamps.len() < RESTRAINTS_OF_RULES || clamps.contains_key(&key) {
            true => Arc::clone(clamps.entry(key).or_default()),
            false => Arc::default(),
        }
    }

    /// How many devices rules hold back.
    pub(crate) fn count(&self, now: UnixSeconds) -> usize {
        self.of.lock().values().filter(|hold| now < hold.until).count()
    }
}
