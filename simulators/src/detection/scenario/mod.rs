//! A scenario: a fleet, its networks, the things that happen to it, and the attacks, read from a TOML file.
//!
//! A file says only what differs from `default.toml`. An unknown key, a number outside of its bounds and a name that is
//! not there are errors.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

mod attack;
mod number;
mod parts;
mod persona;
#[cfg(test)]
mod tests;

pub use attack::{Attacks, Class, From as ComesFrom, Spec};
pub use number::Span;
pub use parts::{Addresses, GroupPlan, NetworkPlan, Phase, PhaseKind};
pub use persona::{Number, Persona};

use attack::RawAttacks;
use number::{Real, Whole};
use parts::{RawGroup, RawNetwork, RawPhase};

/// The scenario that holds where a file says nothing.
pub const DEFAULT: &str = include_str!("default.toml");

/// Bytes of a scenario file.
pub const FILE_BYTES: usize = 1024 * 1024;

/// A fleet and everything that happens to it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, for reports.
    pub name: String,
    /// The seed, where the command line gives none.
    pub seed: u64,
    /// Devices of all tenants.
    pub devices: u64,
    /// Days.
    pub days: u64,
    /// Tenants, among which the devices are divided.
    pub tenants: u64,
    /// Refused CONNECTs without a signed token, for each tenant and hour.
    pub background_per_hour: f64,
    /// The personas that groups use, by name.
    pub personas: BTreeMap<String, Persona>,
    /// The networks, by name.
    pub networks: BTreeMap<String, NetworkPlan>,
    /// The groups of each tenant.
    pub groups: Vec<GroupPlan>,
    /// The phases.
    pub phases: Vec<Phase>,
    /// The attacks.
    pub attacks: Attacks,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Option<String>,
    seed: Option<Whole<0, { i64::MAX }>>,
    devices: Option<Whole<1, 1_000_000>>,
    days: Option<Whole<1, 365>>,
    tenants: Option<Whole<1, 10_000>>,
    background_per_hour: Option<Real<0, 1_000_000_000>>,
    personas: Option<BTreeMap<String, persona::Raw>>,
    networks: Option<BTreeMap<String, RawNetwork>>,
    groups: Option<Vec<RawGroup>>,
    phases: Option<Vec<RawPhase>>,
    attacks: Option<RawAttacks>,
}

/// Why a file is no scenario.
#[derive(Debug)]
pub struct ScenarioError(String);

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}

fn error<T>(words: String) -> Result<T, ScenarioError> {
    Err(ScenarioError(words))
}

fn parse(text: &str) -> Result<Raw, ScenarioError> {
    if text.len() > FILE_BYTES {
        return error(format!("the file has more than {FILE_BYTES} bytes"));
    }
    toml::from_str(text).map_err(|wrong| ScenarioError(wrong.to_string().trim().to_owned()))
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The words say the line or the key, and what is possible there.
    pub fn read(text: &str) -> Result<Self, ScenarioError> {
        let (base, given) = (parse(DEFAULT)?, parse(text)?);
        let personas = personas(&base, &given)?;
        let mut networks = BTreeMap::new();
        for (name, raw) in base.networks.iter().chain(&given.networks).flatten() {
            networks.insert(name.clone(), NetworkPlan::from(raw));
        }
        let groups = given.groups.as_ref().or(base.groups.as_ref());
        let groups: Vec<_> = groups.into_iter().flatten().map(GroupPlan::from).collect();
        let mut phases = Vec::new();
        let listed = given.phases.as_ref().or(base.phases.as_ref());
        for (place, raw) in listed.into_iter().flatten().enumerate() {
            let phase = raw.phase();
            let named = |words| ScenarioError(format!("[[phases]] number {}: {words}", place + 1));
            phases.push(phase.map_err(named)?);
        }
        let attacks = given.attacks.as_ref().or(base.attacks.as_ref());
        let attacks = attacks.map(RawAttacks::attacks);
        let Some(attacks) = attacks else { return error("no attacks are given".into()) };
        let number = |given: Option<u64>, base: Option<u64>| given.or(base).unwrap_or(1);
        let devices = number(given.devices.map(|n| n.0), base.devices.map(|n| n.0));
        let background = given.background_per_hour.or(base.background_per_hour);
        let scenario = Self {
            name: given.name.or(base.name).unwrap_or_default(),
            seed: number(given.seed.map(|n| n.0), base.seed.map(|n| n.0)),
            devices,
            days: number(given.days.map(|n| n.0), base.days.map(|n| n.0)),
            tenants: given.tenants.map_or((devices / 1_000).max(1), |n| n.0),
            background_per_hour: background.map_or(0.0, |n| n.0),
            personas,
            networks,
            groups,
            phases,
            attacks,
        };
        scenario.check()?;
        Ok(scenario)
    }

    /// The same fleet in one tenant, with this number of devices where one is given.
    ///
    /// # Errors
    /// The devices are fewer than the groups.
    pub fn in_one_tenant(mut self, devices: Option<u64>) -> Result<Self, ScenarioError> {
        self.tenants = 1;
        self.devices = devices.unwrap_or(self.devices);
        self.check()?;
        Ok(self)
    }

    /// Rules over several keys.
    fn check(&self) -> Result<(), ScenarioError> {
        if self.groups.is_empty() {
            return error(
                "there is no group: add [[groups]] with persona, share and network".into(),
            );
        }
        for group in &self.groups {
            let names = |map: Vec<&String>| {
                map.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
            };
            if !self.personas.contains_key(&group.persona) {
                let there = names(self.personas.keys().collect());
                return error(format!("persona `{}` is not there: use {there}", group.persona));
            }
            if !self.networks.contains_key(&group.network) {
                let there = names(self.networks.keys().collect());
                return error(format!("network `{}` is not there: use {there}", group.network));
            }
        }
        let sum: f64 = self.groups.iter().map(|group| group.share).sum();
        if (sum - 1.0).abs() > 0.001 {
            return error(format!("the shares of the groups add up to {sum:.3}: they must be 1"));
        }
        let groups: u64 = self.groups.iter().map(|group| group.count).sum();
        if self.devices < self.tenants * groups {
            let least = self.tenants * groups;
            return error(format!(
                "{} devices are fewer than {} tenants with {groups} groups: use {least} or more, or fewer tenants",
                self.devices, self.tenants
            ));
        }
        // The generator counts milliseconds of a slot and devices in 32 bits.
        if self.devices * self.days > 50_000_000 {
            return error("devices times days is above 50,000,000: use fewer of either".into());
        }
        Ok(())
    }
}

/// The personas of the base, changed and joined by those of the file.
fn personas(base: &Raw, given: &Raw) -> Result<BTreeMap<String, Persona>, ScenarioError> {
    let mut found: BTreeMap<String, Persona> = BTreeMap::new();
    for (name, raw) in base.personas.iter().flatten() {
        found.insert(name.clone(), Persona::default().with(name, raw));
    }
    for (name, raw) in given.personas.iter().flatten() {
        let like = match &raw.like {
            Some(like) => found.get(like).cloned(),
            None => Some(found.get(name).cloned().unwrap_or_default()),
        };
        let Some(like) = like else {
            let there = found.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let like = raw.like.as_deref().unwrap_or_default();
            return error(format!("personas.{name}: like = `{like}` is not there: use {there}"));
        };
        found.insert(name.clone(), like.with(name, raw));
    }
    Ok(found)
}
