//! The settings of behaviour tracking, as a settings file has them: the same for every server with a verifier.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::location::LocationFiles;
use serde::{Deserialize, Serialize};
use tessera_token::ids::TenantId;

use crate::behaviour::{BehaviourConfig, Policy};

const RECORD_MIB_MOST: u64 = 65_536;

/// A setting that cannot hold.
#[derive(Debug, PartialEq, Eq)]
pub struct WrongSetting {
    /// The setting, its value, and the values that can hold.
    pub words: String,
    /// More about it.
    pub hint: Option<&'static str>,
}

fn wrong(words: String, hint: Option<&'static str>) -> WrongSetting {
    WrongSetting { words, hint }
}

/// As a file has them.
#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct RawBehaviour {
    /// False alarms in 1,000 days of devices.
    pub budget: Option<f32>,
    /// Whether alerts only say what would have been.
    pub shadow: Option<bool>,
    /// Messages in ten seconds of a device without habits.
    pub ceiling_messages: Option<u32>,
    /// Bytes in five minutes of a device without habits.
    pub ceiling_bytes: Option<u32>,
    /// Profiles in memory.
    pub devices: Option<usize>,
    /// Files that tell where addresses are.
    pub location: RawLocation,
    /// MiB of observations that are kept in files; 0 for none.
    pub record_mib: Option<u64>,
    /// By `TENANT`, or by `TENANT/GROUP` with the number of the group.
    policies: BTreeMap<String, RawPolicy>,
}

/// The files of locations.
#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct RawLocation {
    /// Countries, and places when it has them.
    pub city: Option<PathBuf>,
    /// Autonomous systems.
    pub asn: Option<PathBuf>,
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
    /// The files of locations.
    pub fn location(&self) -> LocationFiles {
        let RawLocation { city, asn } = self.location.clone();
        LocationFiles { city, asn }
    }

    /// Bytes of observations that are kept in files.
    ///
    /// # Errors
    /// [`WrongSetting`].
    pub fn record_bytes(&self) -> Result<u64, WrongSetting> {
        let mib = self.record_mib.unwrap_or(0);
        match mib <= RECORD_MIB_MOST {
            true => Ok(mib * 1024 * 1024),
            false => Err(wrong(
                format!("behaviour.record_mib = {mib}: use at most {RECORD_MIB_MOST}"),
                Some("0 records nothing"),
            )),
        }
    }

    /// The settings that hold.
    ///
    /// # Errors
    /// [`WrongSetting`].
    pub fn validate(&self) -> Result<BehaviourConfig, WrongSetting> {
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
                return Err(wrong(words, Some("a device takes about 1 KiB of memory")));
            }
            config.most_devices = devices;
        }
        let mut tenants = BTreeMap::new();
        // Those of tenants come first, since `TENANT` sorts before `TENANT/GROUP`: groups begin from their tenant's.
        for (name, raw) in &self.policies {
            let key = format!("behaviour.policies.{name:?}");
            let (tenant, group) = named(name).ok_or_else(|| {
                let words = format!("{key}: no tenant, and no TENANT/NUMBER of a group");
                wrong(words, Some("`tessera group show GROUP` tells the number of a group"))
            })?;
            let policy = raw.over(&key, tenants.get(tenant).copied().unwrap_or(base))?;
            if group.is_none() {
                tenants.insert(tenant, policy);
            }
            if !config.set_policy(tenant, group, policy) {
                return Err(wrong(format!("{key}: too many policies"), None));
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
    fn over(&self, key: &str, base: Policy) -> Result<Policy, WrongSetting> {
        let budget = self.budget.unwrap_or(base.budget);
        if !(0.01..=100.0).contains(&budget) {
            let words = format!("{key}: budget = {budget}: use 0.01 to 100");
            let hint = "it is the number of false alarms in 1,000 days of devices";
            return Err(wrong(words, Some(hint)));
        }
        let ceilings = [
            ("ceiling_messages", self.ceiling_messages.unwrap_or(base.ceiling_messages)),
            ("ceiling_bytes", self.ceiling_bytes.unwrap_or(base.ceiling_bytes)),
        ];
        if let Some((name, _)) = ceilings.iter().find(|(_, ceiling)| *ceiling == 0) {
            return Err(wrong(format!("{key}: {name} = 0: use 1 or more"), None));
        }
        let [(_, ceiling_messages), (_, ceiling_bytes)] = ceilings;
        let shadow = self.shadow.unwrap_or(base.shadow);
        Ok(Policy { budget, shadow, ceiling_messages, ceiling_bytes })
    }
}
