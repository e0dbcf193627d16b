//! A rule over recorded events: what it would have done, to which devices, at which cost. Its life is not asked, so a new
//! rule can be held against last week.

use std::collections::HashMap;

use crate::attributes::Attributes;
use crate::limits;
use crate::rule::Rule;

#[cfg(test)]
mod tests;

/// Names that a report lists, those with the most matches first.
const LISTED: usize = 10;

/// A run that goes on.
#[derive(Debug)]
pub struct DryRun<'r> {
    rule: &'r Rule,
    devices: Names,
    groups: Names,
    report: Report,
}

/// Matches by name, with a bound on the names.
#[derive(Debug, Default)]
struct Names {
    of: HashMap<Box<str>, u64>,
    /// Matches of names that found no room.
    further: u64,
}

impl Names {
    fn add(&mut self, name: &str, count: u64) {
        let names = self.of.len();
        match self.of.get_mut(name) {
            Some(matches) => *matches += count,
            None if names < limits::DRY_RUN_NAMES => {
                self.of.insert(name.into(), count);
            }
            None => self.further += count,
        }
    }

    fn hit(&self) -> u64 {
        self.of.values().filter(|count| **count > 0).count() as u64
    }

    fn most(&self) -> Vec<(String, u64)> {
        let hit = self.of.iter().filter(|(_, count)| **count > 0);
        let mut all: Vec<(String, u64)> =
            hit.map(|(name, count)| (name.to_string(), *count)).collect();
        all.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        all.truncate(LISTED);
        all
    }
}

/// The effect that a rule would have had.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Events of the rule's tenant and kind.
    pub events: u64,
    /// Events of other tenants or kinds.
    pub other_events: u64,
    /// Events that the selector picks.
    pub picked: u64,
    /// Events for which the rule holds.
    pub matched: u64,
    /// Devices of the tenant in the data.
    pub devices: u64,
    /// Devices with a match.
    pub devices_matched: u64,
    /// The ten devices with the most matches.
    pub most_devices: Vec<(String, u64)>,
    /// The ten groups with the most matches.
    pub most_groups: Vec<(String, u64)>,
    /// Matches in each hour of the day, UTC.
    pub hours: [u64; 24],
    /// The most steps of one evaluation.
    pub cost: u32,
    /// Matches of devices beyond the bound of names.
    pub further: u64,
}

impl Report {
    /// The share of the tenant's devices that the rule would have met, 0 to 1.
    pub fn share(&self) -> f64 {
        match self.devices {
            0 => 0.0,
            devices => self.devices_matched as f64 / devices as f64,
        }
    }
}

impl<'r> DryRun<'r> {
    /// A run that has seen nothing.
    pub fn new(rule: &'r Rule) -> Self {
        let report = Report { cost: rule.program().measure().cost, ..Report::default() };
        Self { rule, devices: Names::default(), groups: Names::default(), report }
    }

    /// Takes `count` equal events.
    pub fn observe(&mut self, attributes: &Attributes<'_>, count: u64) {
        let selector = &self.rule.draft().selector;
        let is_ours = attributes.session.tenant == selector.tenant;
        if is_ours {
            // Devices without a match count too: they are what the share is taken of.
            self.devices.add(attributes.session.device, 0);
        }
        if !is_ours || attributes.event.on() != self.rule.draft().on {
            self.report.other_events += count;
            return;
        }
        self.report.events += count;
        if !selector.picks(attributes) {
            return;
        }
        self.report.picked += count;
        if !self.rule.program().holds(attributes) {
            return;
        }
        self.report.matched += count;
        self.devices.add(attributes.session.device, count);
        self.groups.add(attributes.session.group, count);
        let hour = usize::try_from(attributes.moment.now.get() / 3600 % 24).unwrap_or(0);
        if let Some(hour) = self.report.hours.get_mut(hour) {
            *hour += count;
        }
    }

    /// The report.
    pub fn finish(self) -> Report {
        Report {
            devices: self.devices.of.len() as u64,
            devices_matched: self.devices.hit(),
            most_devices: self.devices.most(),
            most_groups: self.groups.most(),
            further: self.devices.further,
            ..self.report
        }
    }
}

/// Holds a rule against events.
pub fn dry_run<'a>(rule: &Rule, events: impl IntoIterator<Item = Attributes<'a>>) -> Report {
    let mut run = DryRun::new(rule);
    events.into_iter().for_each(|event| run.observe(&event, 1));
    run.finish()
}
