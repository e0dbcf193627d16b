//! The alerts of one detector in one run, in few bytes each.

use hashbrown::HashMap;
use tessera_behaviour::alert::{Alert, State, Subject};
use tessera_behaviour::observation::UnixMillis;

/// Alerts of one run.
const ALERTS: usize = 20_000_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum About {
    /// A device, by its place in the names.
    Device(u32),
    /// A group.
    Group(u64),
    /// A campaign, by the place of its name.
    Campaign(u32),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) at: UnixMillis,
    pub(super) tenant: u32,
    pub(super) about: About,
    pub(super) score: f32,
    pub(super) devices: Box<[u32]>,
}

/// The alerts of one detector.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// The detector.
    pub name: String,
    pub(super) told: Vec<Told>,
    pub(super) names: Vec<String>,
    places: HashMap<String, u32>,
    /// Alerts beyond [`ALERTS`], which are not judged.
    pub dropped: u64,
}

impl Verdicts {
    /// None so far.
    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    fn place(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }

    /// Takes in one alert. The end of an alert is passed over.
    pub fn take(&mut self, alert: &Alert) {
        if alert.state == State::Closed {
            return;
        }
        if self.told.len() >= ALERTS {
            self.dropped += 1;
            return;
        }
        let tenant = self.place(&alert.tenant);
        let about = match &alert.subject {
            Subject::Device(name) => About::Device(self.place(name)),
            Subject::Group(number) => About::Group(*number),
            Subject::Campaign(name) => About::Campaign(self.place(name)),
        };
        let score = alert.signals.iter().map(|signal| signal.evidence).fold(0.0, f32::max);
        let devices = alert.devices.iter().map(|name| self.place(name)).collect();
        self.told.push(Told { at: alert.t, tenant, about, score, devices });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.told.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }
}
