//! The score of a detector against ground truth.
//!
//! Rules, the same for each detector:
//! - An alert counts when its state is `open` or `more`.
//! - An alert about a device finds an attack of that device when it is told between the begin of the attack and 24 hours
//!   after its end.
//! - An alert about a group or a campaign finds an attack only when at least half of the devices that it lists are, at
//!   that time, under the attack with that number. So a list of a roll-out in which an attacked device happens to stand
//!   finds nothing. A campaign that lists no devices finds an attack on its tenant that has no devices.
//! - An alert about a device that was attacked, later than that, is an echo: neither right nor wrong.
//! - Each other alert is wrong. Wrong alerts of one subject on one day count once. Device-days are those up to the first
//!   attack on the device.

use std::collections::BTreeMap;

mod interval;
mod judge;
mod table;
#[cfg(test)]
mod tests;
mod verdicts;

pub use interval::{quantile, wilson};
pub use judge::Judge;
pub use table::{curves, markdown, text, to_json};
pub use verdicts::Verdicts;

/// A class in one grade.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// Attacks.
    pub attacks: u64,
    /// Those that were found.
    pub found: u64,
    /// Minutes from the begin of each found attack to its first alert.
    pub minutes: Vec<f64>,
    /// The sum of the chances that an honest device would have had an alert in the same time.
    pub luck: f64,
}

/// Wrong alerts of one cause.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wrong {
    /// Subject-days with a wrong alert.
    pub days: u64,
    /// Honest device-days under this cause.
    pub of: f64,
}

/// The score of one detector at one threshold, over one run or several.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    /// The detector.
    pub name: String,
    /// Runs that are in it.
    pub runs: u64,
    /// The cells, by class and grade.
    pub cells: BTreeMap<(String, String), Cell>,
    /// Honest device-days.
    pub device_days: f64,
    /// Subject-days with a wrong alert.
    pub wrong: u64,
    /// The same by cause.
    pub causes: BTreeMap<String, Wrong>,
    /// Wrong alerts, each message counted.
    pub messages: u64,
    /// Alerts about devices whose attack was over.
    pub echoes: u64,
    /// Found, and all careful attacks by persona.
    pub personas: BTreeMap<String, (u64, u64)>,
}

impl Sheet {
    /// Adds the sheet of another run of the same detector.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        for (key, cell) in &other.cells {
            let own = self.cells.entry(key.clone()).or_default();
            own.attacks += cell.attacks;
            own.found += cell.found;
            own.luck += cell.luck;
            own.minutes.extend(&cell.minutes);
        }
        self.device_days += other.device_days;
        self.wrong += other.wrong;
        self.messages += other.messages;
        self.echoes += other.echoes;
        for (cause, wrong) in &other.causes {
            let own = self.causes.entry(cause.clone()).or_default();
            own.days += wrong.days;
            own.of += wrong.of;
        }
        for (persona, (found, all)) in &other.personas {
            let own = self.personas.entry(persona.clone()).or_default();
            own.0 += found;
            own.1 += all;
        }
    }

    /// Wrong alerts on 1,000 device-days.
    pub fn false_rate(&self) -> f64 {
        1_000.0 * self.wrong as f64 / self.device_days.max(1e-9)
    }

    /// Found and all attacks.
    pub fn sums(&self) -> (u64, u64) {
        self.cells.values().fold((0, 0), |(f, a), cell| (f + cell.found, a + cell.attacks))
    }

    /// Of the found attacks and wrong alerts, the part that was found. A cell answers for the part of the wrong alerts
    /// that is its part of the attacks: a wrong alert has no class.
    pub fn precision(&self, cell: &Cell) -> Option<f64> {
        let (_, all) = self.sums();
        let wrong = self.wrong as f64 * cell.attacks as f64 / all.max(1) as f64;
        let told = cell.found as f64 + wrong;
        (told > 0.0).then(|| cell.found as f64 / told)
    }

    /// The harmonic mean of precision and recall.
    pub fn f1(&self, cell: &Cell) -> f64 {
        let recall = cell.recall();
        match self.precision(cell) {
            Some(precision) if precision + recall > 0.0 => {
                2.0 * precision * recall / (precision + recall)
            }
            _ => 0.0,
        }
    }

    /// The mean of the recalls of a grade over the twelve classes, and the least of them.
    pub fn of_grade(&self, grade: &str) -> Option<(f64, f64)> {
        let of = self.cells.iter().filter(|((class, of), _)| of == grade && class != "mix");
        let recalls: Vec<f64> = of.map(|(_, cell)| cell.recall()).collect();
        let least = recalls.iter().copied().min_by(f64::total_cmp)?;
        Some((recalls.iter().sum::<f64>() / recalls.len() as f64, least))
    }
}

impl Cell {
    /// The part of the attacks that was found.
    pub fn recall(&self) -> f64 {
        self.found as f64 / (self.attacks as f64).max(1.0)
    }

    /// The median and the 90th percentile of the minutes to the first alert.
    pub fn delays(&self) -> (Option<f64>, Option<f64>) {
        let mut minutes = self.minutes.clone();
        minutes.sort_by(f64::total_cmp);
        (quantile(&minutes, 0.5), quantile(&minutes, 0.9))
    }
}
