//! The settings of behaviour tracking.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tessera_agent::behaviour::{BehaviourConfig, Policy};
use tessera_token::ids::TenantId;

use crate::error::Fault;

const RECORD_MIB_MOST: u64 = 65_536;

/// As a file has them.
#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawBehaviour {
    pub(super) budget: Option<f32>,
    pub(super) shadow: Option<bool>,
    pub(super) ceiling_messages: Option<u32>,
    pub(super) ceiling_bytes: Option<u32>,
    pub(super) devices: Option<usize>,
    pub(super) record_mib: Option<u64>,
    /// By `TENANT`, or by `TENANT/GROUP` with the number of the group.
    policies: BTreeMap<String, RawPolicy>,
}

/// The settings of a tenant or a group that differ.
#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct RawPolicy {
    budget: Option<f32>,
    shadow: Option<bool>,
    ceiling_messages: Option<u32>,
    ceiling_bytes: Option<u32>,
}

impl RawBehaviour {
    /// Bytes of observations that are kept in files.
    pub(super) fn record_bytes(&self) -> Result<u64, Fault> {
        let mib = self.record_mib.unwrap_or(0);
        match mib <= RECORD_MIB_MOST {
            true => Ok(mib * 1024 * 1024),
            false => Err(Fault::new(format!(
                "behaviour.record_mib = {mib}: use at most {RECORD_MIB_MOST}, or 0 to record nothing"
            ))),
        }
    }

    pub(super) fn validate(&self) -> Result<BehaviourConfig, Fault> {
        let own = RawPolicy {
            budget: self.budget,
            shadow: self.shadow,
            ceiling_messages: self.ceiling_messages,
            ceiling_bytes: self.ceiling_bytes,
        };
        let base = own.over("behaviour", Policy::default())?;
        let mut config = BehaviourConfig::of(base);
        if let Some(devices) = self.devices {
            if !(100..=1_000_000).contains(&devices) {
                let words = format!("behaviour.devices = {devices}: use 100 to 1000000");
                return Err(Fault::new(words).hint("a device takes about 1 KiB of memory"));
            }
            config.most_devices = devices;
        }
        let mut tenants = BTreeMap::new();
        // Those of tenants come first, since `TENANT` sorts before `TENANT/GROUP`: groups begin from their tenant's.
        for (name, raw) in &self.policies {
            let key = format!("behaviour.policies.{name:?}");
            let (tenant, group) = named(name).ok_or_else(|| {
                Fault::new(format!("{key}: no tenant, and no TENANT/NUMBER of a group"))
                    .hint("`tessera group show GROUP` tells the number of a group")
            })?;
            let policy = raw.over(&key, tenants.get(tenant).copied().unwrap_or(base))?;
            if group.is_none() {
                tenants.insert(tenant, policy);
            }
            if !config.set_policy(tenant, group, policy) {
                return Err(Fault::new(format!("{key}: too many policies")));
            }
        }
        Ok(config)
    }
}

fn named(name: &str) -> Option<(&str, Option<u64>)> {
    let (tenant, group) = match name.split_once('/') {
        Some((tenant, number)) => (tenant, Some(number.parse().ok()?)),
        None => (name, None),
    };
    TenantId::parse(tenant).ok()?;
    Some((tenant, group))
}

impl RawPolicy {
    fn over(&self, key: &str, base: Policy) -> Result<Policy, Fault> {
        let budget = self.budget.unwrap_or(base.budget);
        if !(0.01..=100.0).contains(&budget) {
            return Err(Fault::new(format!("{key}: budget = {budget}: use 0.01 to 100"))
                .hint("it is the number of false alarms in 1,000 days of devices"));
        }
        let ceilings = [
            ("ceiling_messages", self.ceiling_messages.unwrap_or(base.ceiling_messages)),
            ("ceiling_bytes", self.ceiling_bytes.unwrap_or(base.ceiling_bytes)),
        ];
        if let Some((name, _)) = ceilings.iter().find(|(_, ceiling)| *ceiling == 0) {
            return Err(Fault::new(format!("{key}: {name} = 0: use 1 or more")));
        }
        let [(_, ceiling_messages), (_, ceiling_bytes)] = ceilings;
        let shadow = self.shadow.unwrap_or(base.shadow);
        Ok(Policy { budget, shadow, ceiling_messages, ceiling_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BehaviourConfig, String> {
        let raw: RawBehaviour = toml::from_str(text).map_err(|error| error.to_string())?;
        raw.validate().map_err(|fault| fault.to_string())
    }

    #[test]
    fn groups_begin_from_their_tenant_and_tenants_from_the_rest() {
        let config = read(
            "budget = 2.0\nshadow = true\n[policies.acme]\nbudget = 0.5\n[policies.\"acme/3\"]\nshadow = false",
        )
        .unwrap();
        let of = |tenant, group| {
            let policy = config.policy(tenant, group);
            (policy.budget, policy.shadow)
        };
        assert_eq!(of("other", 1), (2.0, true));
        assert_eq!(of("acme", 1), (0.5, true));
        assert_eq!(of("acme", 3), (0.5, false));
    }

    #[test]
    fn wrong_settings_are_refused_with_their_key() {
        for (text, word) in [
            ("budget = 0.0", "budget"),
            ("budget = nan", "budget"),
            ("devices = 1", "devices"),
            ("ceiling_messages = 0", "ceiling_messages"),
            ("[policies.\"acme/x\"]", "acme/x"),
            ("[policies.\"a b\"]", "a b"),
            ("[policies.acme]\nbudget = 101", "acme"),
            ("weight = 1", "weight"),
        ] {
            let error = read(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
