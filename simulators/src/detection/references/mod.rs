//! Six known detectors on the same observations: the rules of a cloud provider, a rule against flapping, deviations from
//! a mean, percentiles of the fleet, a moving mean with absolute deviations, and an isolation forest.
//!
//! Each gives a score with its alert; the score of its usual threshold is [`Rule::usual`]. So each can be judged at that
//! threshold and at any other one. They see the same counts of five minutes and of an hour.

use tessera_behaviour::alert::{Alert, Severity, Signal, State, Subject};
use tessera_behaviour::detector::Detector;
use tessera_behaviour::observation::{Observation, UnixMillis};

pub mod aws;
mod counters;
mod flapping;
mod forest;
mod statistics;
#[cfg(test)]
mod tests;

use counters::{Counters, Device, Five, FIVE, HOUR};

/// The numbers of one device and hour: messages, bytes, most bytes in five minutes, bytes of a message, distance of the
/// topics from those of the first days, connects, refusals, refused CONNECTs.
type Features = [f64; FEATURES];
const FEATURES: usize = 8;

/// One reference.
trait Rule: std::fmt::Debug {
    /// The name.
    fn name(&self) -> &'static str;

    /// The score at which it usually alarms.
    fn usual(&self) -> f64;

    /// One observation of a device.
    fn event(&mut self, _device: usize, _seen: &Observation<'_>) -> Option<f64> {
        None
    }

    /// The counts of five minutes of one device with activity.
    fn five(&mut self, _device: usize, _at: UnixMillis, _five: &Five) -> Option<f64> {
        None
    }

    /// An hour of all devices: its number, the group and the numbers of each. Scores are appended.
    fn hour(&mut self, _hour: u64, _rows: &[(u64, Features)], _scores: &mut Vec<(usize, f64)>) {}
}

/// A part of the usual threshold from which on a score is told, so that lower thresholds can be tried too.
const TOLD_FROM: f64 = 0.7;
/// A score is told again on the same day when it has risen by this factor.
const RISE: f64 = 1.05;

/// References that see the same observations.
#[derive(Debug)]
pub struct Panel {
    counters: Counters,
    rules: Vec<Told>,
    /// Shares of topics of the first days: sums for each device.
    topics: Vec<[f64; 4]>,
    first: Option<UnixMillis>,
    now: UnixMillis,
    next_five: UnixMillis,
    next_hour: UnixMillis,
    rows: Vec<(u64, Features)>,
    scores: Vec<(usize, f64)>,
}

#[derive(Debug)]
struct Told {
    rule: Box<dyn Rule>,
    /// For each device: the day, and the best score that was told on it.
    best: Vec<(u64, f64)>,
    number: u64,
}

impl Panel {
    /// All six, with this profile for the first.
    pub fn of(profile: aws::Profile) -> Self {
        Self::with(vec![
            Box::new(aws::Defender::of(profile)),
            Box::new(flapping::Flapping::default()),
            Box::new(statistics::Deviation::default()),
            Box::new(statistics::Percentile::default()),
            Box::new(statistics::Moving::default()),
            Box::new(forest::Forest::default()),
        ])
    }

    fn with(rules: Vec<Box<dyn Rule>>) -> Self {
        let told = |rule| Told { rule, best: Vec::new(), number: 0 };
        Self {
            counters: Counters::default(),
            rules: rules.into_iter().map(told).collect(),
            topics: Vec::new(),
            first: None,
            now: 0,
            next_five: 0,
            next_hour: 0,
            rows: Vec::new(),
            scores: Vec::new(),
        }
    }

    /// The names, with the usual threshold of each.
    pub fn names(&self) -> Vec<(&'static str, f64)> {
        self.rules.iter().map(|told| (told.rule.name(), told.rule.usual())).collect()
    }

    /// Takes in one observation; each alert is given with the place of its reference.
    pub fn observe(&mut self, seen: &Observation<'_>, mut take: impl FnMut(usize, Alert)) {
        self.advance(seen.at, &mut take);
        let Some(device) = self.counters.place(seen) else { return };
        self.counters.count(device, seen);
        for (place, told) in self.rules.iter_mut().enumerate() {
            if let Some(score) = told.rule.event(device, seen) {
                if let Some(of) = self.counters.devices.get(device) {
                    if let Some(alert) = told.tell(device, of, seen.at, score) {
                        take(place, alert);
                    }
                }
            }
        }
    }

    /// The time has come to `at`.
    pub fn advance(&mut self, at: UnixMillis, mut take: impl FnMut(usize, Alert)) {
        if self.first.is_none() {
            self.first = Some(at - at % HOUR);
            self.next_five = at - at % FIVE + FIVE;
            self.next_hour = at - at % HOUR + HOUR;
        }
        self.now = self.now.max(at);
        while self.next_five <= self.now {
            self.close_five(&mut take);
            if self.next_five == self.next_hour {
                self.close_hour(&mut take);
                self.next_hour += HOUR;
            }
            self.next_five += FIVE;
        }
    }

    fn close_five(&mut self, take: &mut impl FnMut(usize, Alert)) {
        let (rules, at) = (&mut self.rules, self.next_five);
        let mut scores = Vec::new();
        self.counters.close_five(|device, five| {
            for (place, told) in rules.iter_mut().enumerate() {
                let score = told.rule.five(device, at, five);
                scores.extend(score.map(|score| (place, device, score)));
            }
        });
        for (place, device, score) in scores {
            let (told, of) = (self.rules.get_mut(place), self.counters.devices.get(device));
            if let (Some(told), Some(of)) = (told, of) {
                if let Some(alert) = told.tell(device, of, at, score) {
                    take(place, alert);
                }
            }
        }
    }

    fn close_hour(&mut self, take: &mut impl FnMut(usize, Alert)) {
        let at = self.next_hour;
        let hour = (at - self.first.unwrap_or(at)) / HOUR - 1;
        self.rows.clear();
        self.topics.resize(self.counters.devices.len(), [0.0; 4]);
        for (device, known) in self.counters.devices.iter_mut().zip(&mut self.topics) {
            let counts = std::mem::take(&mut device.hour);
            let seen = counts.topics.map(f64::from);
            let distance = if hour >= 72 { 100.0 * distance(&seen, known) } else { 0.0 };
            if hour < 72 {
                for (sum, count) in known.iter_mut().zip(seen) {
                    *sum += count;
                }
            }
            let messages = counts.messages as f64;
            let features = [
                messages,
                counts.bytes as f64,
                counts.most as f64,
                counts.bytes as f64 / messages.max(1.0),
                distance,
                f64::from(counts.connects),
                f64::from(counts.denied),
                f64::from(counts.outside),
            ];
            self.rows.push((device.group, features));
        }
        for (place, told) in self.rules.iter_mut().enumerate() {
            self.scores.clear();
            told.rule.hour(hour, &self.rows, &mut self.scores);
            for (device, score) in &self.scores {
                if let Some(of) = self.counters.devices.get(*device) {
                    if let Some(alert) = told.tell(*device, of, at, *score) {
                        take(place, alert);
                    }
                }
            }
        }
    }
}

/// The distance of Jensen and Shannon between an hour and the first days.
fn distance(seen: &[f64; 4], known: &[f64; 4]) -> f64 {
    let sum: f64 = seen.iter().sum();
    let all: f64 = known.iter().map(|count| count + 1.0).sum();
    let mut found = 0.0;
    for (count, base) in seen.iter().zip(known) {
        let q = (base + 1.0) / all;
        let p = (count + q) / (sum + 1.0);
        found += 0.5 * p * (2.0 * p / (p + q)).ln() + 0.5 * q * (2.0 * q / (p + q)).ln();
    }
    found
}

impl Told {
    fn tell(&mut self, device: usize, of: &Device, at: UnixMillis, score: f64) -> Option<Alert> {
        if score < self.rule.usual() * TOLD_FROM {
            return None;
        }
        let day = at / (24 * HOUR);
        if self.best.len() <= device {
            self.best.resize(device + 1, (0, 0.0));
        }
        let (of_day, best) = self.best.get_mut(device)?;
        if *of_day == day && score <= *best * RISE {
            return None;
        }
        (*of_day, *best) = (day, score);
        self.number += 1;
        let name = self.rule.name();
        Some(Alert {
            t: at,
            alert: self.number,
            tenant: of.tenant.to_string(),
            subject: Subject::Device(of.name.to_string()),
            devices: Vec::new(),
            state: State::Open,
            severity: Severity::Moderate,
            signals: vec![Signal {
                name: name.to_owned(),
                words: format!("score {score:.2}"),
                evidence: score as f32,
                since: at,
            }],
            ..Alert::default()
        })
    }
}

/// One reference alone, at its usual threshold.
#[derive(Debug)]
pub struct Reference {
    panel: Panel,
    usual: f32,
}

impl Reference {
    /// The reference with this name; the names are those of [`Panel::names`].
    pub fn named(name: &str, profile: aws::Profile) -> Option<Self> {
        let mut panel = Panel::of(profile);
        panel.rules.retain(|told| told.rule.name() == name);
        let usual = panel.rules.first()?.rule.usual() as f32;
        Some(Self { panel, usual })
    }
}

impl Detector for Reference {
    fn observe(&mut self, observation: &Observation<'_>, alerts: &mut Vec<Alert>) {
        let usual = self.usual;
        self.panel.observe(observation, |_, alert| alerts.extend(above(alert, usual)));
    }

    fn advance(&mut self, at: UnixMillis, alerts: &mut Vec<Alert>) {
        let usual = self.usual;
        self.panel.advance(at, |_, alert| alerts.extend(above(alert, usual)));
    }
}

/// The alert, when its score is not below the threshold.
fn above(alert: Alert, threshold: f32) -> Option<Alert> {
    let score = alert.signals.first().map_or(0.0, |signal| signal.evidence);
    (score >= threshold).then_some(alert)
}
