//! Settings of the engine. The defaults need no tuning.

use hashbrown::HashMap;

use super::limits;

/// How alerts of a tenant or of a group are treated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// False alarms for each 1,000 device-days that are accepted. Twice as many find a little more.
    pub budget: f32,
    /// Whether alerts are only for the record: they say so, and no answer follows.
    pub shadow: bool,
    /// Messages in ten seconds that a device without habits may send; a service may send [`SERVICE_FACTOR`] times as many.
    pub ceiling_messages: u32,
    /// Bytes in five minutes that a device without habits may send.
    pub ceiling_bytes: u32,
}

/// A service acts for many devices.
pub const SERVICE_FACTOR: u32 = 40;

impl Default for Policy {
    fn default() -> Self {
        Self { budget: 1.0, shadow: false, ceiling_messages: 500, ceiling_bytes: 75 * 1024 * 1024 }
    }
}

/// Settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Profiles that are kept.
    pub most_devices: usize,
    /// A number that only this observer knows, and keeps over restarts: it keeps outsiders from choosing names whose
    /// marks meet.
    pub seed: u64,
    /// The policy of groups without one of their own.
    pub policy: Policy,
    /// Policies by tenant, and by tenant and group.
    pub(super) policies: HashMap<(String, Option<u64>), Policy>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            most_devices: limits::DEVICES,
            seed: 0,
            policy: Policy::default(),
            policies: HashMap::new(),
        }
    }
}

impl Config {
    /// Sets the policy of a tenant, or of one of its groups. Returns whether there was room for it.
    pub fn set_policy(&mut self, tenant: &str, group: Option<u64>, policy: Policy) -> bool {
        let key = (tenant.to_owned(), group);
        let has_room = self.policies.len() < limits::POLICIES || self.policies.contains_key(&key);
        if has_room {
            let budget = policy.budget.clamp(0.01, 100.0);
            self.policies.insert(key, Policy { budget, ..policy });
        }
        has_room
    }

    /// Settings in which groups without a policy of their own have this one.
    pub fn of(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// The policy of a group.
    pub fn policy(&self, tenant: &str, group: u64) -> Policy {
        let of = |group| self.policies.get(&(tenant.to_owned(), group)).copied();
        of(Some(group)).or_else(|| of(None)).unwrap_or(self.policy)
    }
}
