//! Tests of the engine as a whole: a run of observations by hand, and the alerts that follow.

use std::net::{IpAddr, Ipv4Addr};

use tessera_token::refusal::RefusalCode;

use super::*;
use crate::alert::{Severity, State, Subject};
use crate::observation::{Connected, Denial, Fault, Messages, Network, SubjectKind};

mod bounds;
mod campaigns;
mod faults;
mod groups;
mod places;
mod records;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Midnight of a Monday.
const BEGIN: u64 = 20_454 * DAY;
const GROUP: u64 = 7;

/// An engine, the time, and the alerts so far.
struct Run {
    engine: Engine,
    alerts: Vec<Alert>,
    now: u64,
    random: u64,
}

impl Run {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let mut run =
            Self { engine: Engine::new(config), alerts: Vec::new(), now: BEGIN, random: 1 };
        run.engine.advance(BEGIN, &mut run.alerts);
        run
    }

    /// A number between 0 and 1.
    fn random(&mut self) -> f64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn tell(&mut self, device: &str, session: u64, event: Event<'_>) {
        let observation = Observation { at: self.now, tenant: "acme", device, session, event };
        self.engine.observe(&observation, &mut self.alerts);
    }

    /// Lets time pass, as a live observer does: ten times a second would be slow here.
    fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now = (self.now + MINUTE).min(end);
            self.engine.advance(self.now, &mut self.alerts);
        }
    }

    fn connect(&mut self, device: &str, session: u64, network: Network, program: u32) {
        self.connect_as(device, session, network, program, SubjectKind::Device);
    }

    fn connect_as(
        &mut self,
        device: &str,
        session: u64,
        network: Network,
        program: u32,
        kind: SubjectKind,
    ) {
        let connected = Connected {
            network,
            key: 1,
            group: GROUP,
            kind,
            fingerprint: program,
            keep_alive: 60,
            client: device,
            place: None,
        };
        self.tell(device, session, Event::Connected(connected));
    }

    fn publish(&mut self, device: &str, session: u64, topic: &str, count: u32, bytes: u64) {
        self.tell(device, session, Event::Published(Messages { topic, count, bytes }));
    }

    fn outside(&mut self, device: &str, code: RefusalCode, network: Network) {
        self.tell(device, 0, Event::Outside { code, network });
    }

    fn denied(&mut self, device: &str, session: u64, topic: &str, denial: Denial<'_>) {
        let code = RefusalCode::PublishNotAuthorised;
        self.tell(
            device,
            session,
            Event::Refused { code, topic: Some(topic), denial: Some(denial) },
        );
    }

    /// A sensor: one reading of a hundred bytes, a little more or less, every `period` for `ms`.
    fn sensor(&mut self, device: &str, ms: u64, period: u64) {
        let end = self.now + ms;
        let topic = format!("d/{device}/data");
        while self.now < end {
            let bytes = 90 + (self.random() * 20.0) as u64;
            self.publish(device, 1, &topic, 1, bytes);
            self.pass(period);
        }
    }

    /// A fleet of sensors, each with a reading every `period`.
    fn fleet(&mut self, devices: &[String], ms: u64, period: u64) {
        let end = self.now + ms;
        while self.now < end {
            for device in devices {
                let bytes = 90 + (self.random() * 20.0) as u64;
                self.publish(device, 1, &format!("d/{device}/data"), 1, bytes);
            }
            self.pass(period);
        }
    }

    /// The messages about a device that are no ends, by signal.
    fn of(&self, device: &str) -> Vec<&str> {
        let told = self.alerts.iter().filter(|alert| {
            alert.subject == Subject::Device(device.to_owned()) && alert.state != State::Closed
        });
        told.flat_map(|alert| alert.signals.iter().map(|signal| &*signal.name)).collect()
    }

    fn opened(&self) -> usize {
        self.alerts.iter().filter(|alert| alert.state == State::Open).count()
    }

    fn campaigns(&self, cause: &str) -> Vec<&Alert> {
        let is_it = |alert: &&Alert| {
            alert.subject == Subject::Campaign(cause.to_owned()) && alert.state == State::Open
        };
        self.alerts.iter().filter(is_it).collect()
    }
}

fn net(a: u8, b: u8, c: u8) -> Network {
    Network::Address(IpAddr::V4(Ipv4Addr::new(a, b, c, 9)))
}

fn names(number: usize) -> Vec<String> {
    (0..number).map(|number| format!("d-{number}")).collect()
}
