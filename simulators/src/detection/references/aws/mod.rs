//! Security profiles of AWS IoT Device Defender, read from their JSON and run on our observations.
//!
//! It is a re-implementation of the documented rules, on datapoints of five minutes, and no run of the product. A
//! statistical threshold is a percentile of all devices' datapoints of the day before.

use std::collections::VecDeque;

use tessera_behaviour::observation::{Event, Network, Observation, UnixMillis};

use super::{Five, Rule, FIVE};

mod profile;

pub use profile::{Behavior, Cidr, Metric, Operator, Profile, ProfileError, Threshold, EXAMPLES};

/// Devices for which consecutive datapoints are remembered, times behaviours.
#[derive(Clone, Debug, Default)]
struct State {
    /// The place in time of the last datapoint, and how many in a row violated.
    last: u64,
    row: u32,
    /// Counts of the datapoints within the duration.
    window: VecDeque<(u64, f64)>,
}

/// The values of a day, in steps of a sixteenth of a doubling.
#[derive(Clone, Debug)]
struct Values {
    counts: Vec<u32>,
    all: u32,
}

const STEPS: usize = 16 * 48;

impl Default for Values {
    fn default() -> Self {
        Self { counts: vec![0; STEPS], all: 0 }
    }
}

impl Values {
    fn add(&mut self, value: f64) {
        let step = ((value + 1.0).log2() * 16.0) as usize;
        if let Some(count) = self.counts.get_mut(step.min(STEPS - 1)) {
            *count += 1;
            self.all += 1;
        }
    }

    fn percentile(&self, share: f64) -> Option<f64> {
        let wanted = (share * f64::from(self.all)).ceil() as u32;
        let mut sum = 0;
        let step = self.counts.iter().position(|count| {
            sum += count;
            sum >= wanted.max(1)
        });
        step.map(|step| 2_f64.powf((step as f64 + 1.0) / 16.0) - 1.0)
    }
}

/// The rules of a profile.
#[derive(Debug)]
pub(super) struct Defender {
    profile: Profile,
    devices: Vec<Vec<State>>,
    today: Vec<Values>,
    yesterday: Vec<Values>,
    day: u64,
}

impl Defender {
    pub(super) fn of(profile: Profile) -> Self {
        let count = profile.behaviors.len();
        Self {
            profile,
            devices: Vec::new(),
            today: vec![Values::default(); count],
            yesterday: vec![Values::default(); count],
            day: 0,
        }
    }

    /// The states of a device, which are taken out of their place.
    fn taken(&mut self, device: usize) -> Vec<State> {
        if self.devices.len() <= device {
            self.devices.resize_with(device + 1, Vec::new);
        }
        let mut states = self.devices.get_mut(device).map(std::mem::take).unwrap_or_default();
        states.resize(self.profile.behaviors.len(), State::default());
        states
    }
}

/// The datapoint of a metric.
fn datapoint(metric: Metric, five: &Five, is_upper: bool) -> Option<f64> {
    let count = match metric {
        Metric::MessageBytes if five.sent == 0 => return None,
        Metric::MessageBytes if is_upper => five.largest as f64,
        Metric::MessageBytes => five.smallest as f64,
        Metric::Sent => f64::from(five.sent),
        Metric::Received => f64::from(five.received),
        Metric::AuthorizationFailures => f64::from(five.denied),
        Metric::ConnectionAttempts => f64::from(five.connects),
        Metric::Disconnects => f64::from(five.ends),
        Metric::SourceIp => return None,
    };
    Some(count)
}

impl Rule for Defender {
    fn name(&self) -> &'static str {
        "device defender"
    }

    /// A score is the ratio to the threshold of the profile.
    fn usual(&self) -> f64 {
        1.0
    }

    fn event(&mut self, _device: usize, seen: &Observation<'_>) -> Option<f64> {
        let Event::Connected(connected) = seen.event else { return None };
        let Network::Address(address) = connected.network else { return None };
        let violates = |behavior: &Behavior| match &behavior.threshold {
            Threshold::Networks(networks) => {
                let is_in = networks.iter().any(|network| network.holds(address));
                // The list says what is right: outside of `in-cidr-set`, inside of `not-in-cidr-set`.
                is_in == (behavior.operator == Operator::NotInCidrSet)
            }
            _ => false,
        };
        self.profile.behaviors.iter().any(violates).then_some(1.0)
    }

    fn five(&mut self, device: usize, at: UnixMillis, five: &Five) -> Option<f64> {
        let slot = at / FIVE;
        let day = at / 86_400_000;
        if day != self.day {
            self.day = day;
            let fresh = vec![Values::default(); self.profile.behaviors.len()];
            self.yesterday = std::mem::replace(&mut self.today, fresh);
        }
        let mut states = self.taken(device);
        let mut best = None;
        for (number, behavior) in self.profile.behaviors.iter().enumerate() {
            let Some(state) = states.get_mut(number) else { continue };
            let is_upper = behavior.operator.is_upper();
            let Some(value) = datapoint(behavior.metric, five, is_upper) else { continue };
            let value = state.over(slot, value, behavior);
            if let Some(values) = self.today.get_mut(number) {
                values.add(value);
            }
            let limit = match &behavior.threshold {
                Threshold::Value(limit) => Some(*limit),
                Threshold::Percentile(share) => {
                    let day = self.yesterday.get(number).filter(|day| day.all > 100);
                    day.and_then(|day| day.percentile(*share))
                }
                Threshold::Networks(_) => None,
            };
            let Some(limit) = limit else { continue };
            let score = behavior.operator.score(value, limit);
            let is_next = state.last + 1 == slot;
            state.last = slot;
            state.row = match score >= 1.0 {
                true if is_next => state.row.saturating_add(1),
                true => 1,
                false => 0,
            };
            // Lower thresholds are tried with the score alone; a row counts at the profile's own.
            if score < 1.0 || state.row >= behavior.datapoints {
                best = Some(best.unwrap_or(0.0_f64).max(score));
            }
        }
        if let Some(place) = self.devices.get_mut(device) {
            *place = states;
        }
        best
    }
}

impl State {
    /// The sum over the duration of the behaviour; of a size, the value itself.
    fn over(&mut self, slot: u64, value: f64, behavior: &Behavior) -> f64 {
        let slots = (behavior.duration_s / 300).max(1);
        if behavior.metric == Metric::MessageBytes || slots == 1 {
            return value;
        }
        self.window.push_back((slot, value));
        while self.window.front().is_some_and(|(at, _)| at + slots <= slot) {
            self.window.pop_front();
        }
        self.window.iter().map(|(_, value)| value).sum()
    }
}
