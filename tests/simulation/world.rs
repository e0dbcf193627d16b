//! The whole, and one step of it.

use std::time::Duration;

use tessera_provisioning::driven::Call;
use tessera_token::key::PublicKey;
use tessera_token::trust::Snapshot;

use super::act::Purpose;
use super::chance::Chance;
use super::device::{self, Device, Shown};
use super::faults::Faults;
use super::gate::{self, Gate};
use super::machine::Machine;
use super::model::{Known, Model, Taken};
use super::net::{Asker, Net, Parcel};
use super::office::Office;
use super::post::Session;
use super::restore::Copy;
use super::trail::{Broken, Trail};

const DEVICES: usize = 14;
/// The last one is a backend: it sends commands to the others, and reads their telemetry.
pub const BACKEND: usize = DEVICES - 1;
const GROUPS: usize = 3;
/// The agent of a gateway, and those of two brokers.
pub const GATES: [&str; 3] = ["agent", "broker-a", "broker-b"];
const START: u64 = 1_800_000_000_000;

pub struct World {
    pub chance: Chance,
    pub trail: Trail,
    /// The true time in milliseconds.
    pub now: u64,
    pub office: Office,
    /// The key that signs the feed.
    pub root: PublicKey,
    pub gates: Vec<Gate>,
    pub devices: Vec<Device>,
    pub net: Net,
    pub model: Model,
    pub faults: Faults,
    /// An older copy of the office.
    pub office_copy: Option<Copy>,
    /// Proofs that the ledger of each gate has accepted.
    pub taken: Vec<Taken>,
    /// Ended tokens that a gate has refused for it: never again there.
    pub turned_away: std::collections::HashSet<(usize, usize)>,
    /// The newest event that each gate has shown to know.
    pub reached: Vec<u64>,
    /// Passwords that an observer has recorded.
    pub seen: Vec<Shown>,
    /// The persistent session of each device at each gate.
    pub sessions: Vec<Vec<Session>>,
    /// Messages that were published so far.
    pub messages: u64,
    /// Whether any clock was ever wrong.
    pub clocks_were_wrong: bool,
    pub counts: Counts,
    _home: tempfile::TempDir,
}

/// Work of a run, so that one that does nothing is seen.
#[derive(Default)]
pub struct Counts {
    pub accepted: u64,
    pub refused: u64,
    pub replays: u64,
    pub crashes: u64,
    pub jumps: u64,
    pub restores: u64,
    pub heals: u64,
}

impl World {
    /// A new service with its groups, and verifiers that know nothing yet.
    pub async fn found(seed: u64) -> Self {
        let home = super::machine::home();
        let machine = |name: &str| Machine::new(home.path(), name, START, seed);
        let mut office = Office::new(machine("office"));
        office.start().await.unwrap();
        let pin = office.pin.unwrap();
        let call = office.of_reader("/v1/trust/snapshot".to_owned());
        let (_, snapshot) = office.ask(&call).await.unwrap();
        let (_, root) = Snapshot::open(&snapshot, &pin).unwrap();
        let mut chance = Chance::new(seed);
        let gates = GATES.iter().map(|name| Gate::new(machine(name), pin)).collect();
        let device = |at| Device::new(at, at % GROUPS, chance.bytes());
        let devices: Vec<_> = (0..DEVICES).map(device).collect();
        let model = Model {
            devices: vec![Known { revoked: Some(false), ..Known::default() }; DEVICES],
            groups: vec![0; GROUPS],
            suspended: Some(false),
            ..Model::default()
        };
        let mut world = Self {
            chance,
            trail: Trail::new(seed),
            now: START,
            office,
            root,
            gates,
            devices,
            net: Net::default(),
            model,
            faults: Faults::allowed(),
            office_copy: None,
            taken: vec![Taken::default(); GATES.len()],
            turned_away: Default::default(),
            reached: vec![0; GATES.len()],
            seen: Vec::new(),
            sessions: vec![vec![Session::default(); DEVICES]; GATES.len()],
            messages: 0,
            clocks_were_wrong: false,
            counts: Counts::default(),
            _home: home,
        };
        for gate in &mut world.gates {
            gate.start(START).await.unwrap();
        }
        for group in 0..GROUPS {
            let body = format!(r#"{{"group":"g-{group}"}}"#);
            let path = format!("/v1/tenants/{}/groups", device::TENANT);
            let call = world.office.of_operator(true, path, body);
            assert_eq!(world.office.ask(&call).await.unwrap().0, 201);
        }
        world.office.settle().await;
        world
    }

    pub async fn run(&mut self, steps: u64) -> Result<(), Broken> {
        let mut heals_at = self.chance.between(200, 400);
        for step in 1..=steps {
            self.trail.step = step;
            let mut outcome = self.step().await;
            if outcome.is_ok() && (step == heals_at || step == steps) {
                heals_at = step + self.chance.between(200, 400);
                outcome = self.heal().await;
            }
            outcome.map_err(|why| self.trail.broken(&why))?;
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<(), String> {
        let by = match self.chance.below(100) {
            0..=79 => self.chance.between(1, 400),
            80..=97 => self.chance.between(400, 8_000),
            _ => self.chance.between(8_000, 900_000),
        };
        self.pass(by).await;
        self.deliver().await?;
        self.go_on();
        self.stir().await?;
        self.draw().await?;
        self.check().await
    }

    /// One thing that people, devices or attackers do.
    async fn draw(&mut self) -> Result<(), String> {
        let (at, gate) = (self.chance.below(DEVICES), self.chance.below(GATES.len()));
        match self.chance.below(100) {
            0..=17 => self.strive(at),
            18..=42 => self.connect(at, gate).await?,
            43..=52 => self.show_again(gate).await?,
            53..=60 => self.show_ended(gate).await?,
            61..=70 => self.read_post(at, gate, false).await?,
            71..=75 => self.write_post(BACKEND, gate).await?,
            76..=79 => self.write_post(at, gate).await?,
            80..=89 if self.devices[at].claim.is_none() => self.operate(Purpose::Claim(at)),
            80..=83 => self.operate(Purpose::Revoke(at)),
            84..=89 => self.operate(Purpose::Reinstate(at)),
            90..=91 if !self.model.tokens.is_empty() => {
                let token = self.chance.below(self.model.tokens.len());
                self.operate(Purpose::RevokeToken(token));
            }
            92 if self.chance.hits(500) => {
                let group = self.chance.below(GROUPS);
                self.operate(Purpose::RevokeGroup(group));
            }
            93 if self.chance.hits(150) => self.operate(Purpose::RevokeTenant),
            94..=96 if self.model.suspended != Some(false) => {
                self.operate(Purpose::ReinstateTenant);
            }
            97 if self.chance.hits(300) => self.operate(Purpose::Rotate),
            98 if self.chance.hits(80) && !self.model.tokens.is_empty() => {
                let token = self.chance.below(self.model.tokens.len());
                self.operate(Purpose::Compromise(self.model.tokens[token].kid));
            }
            99 => self.office.sweep().await,
            _ => {}
        }
        Ok(())
    }

    /// Time passes for all.
    pub async fn pass(&mut self, millis: u64) {
        self.now += millis;
        let by = Duration::from_millis(millis);
        self.office.machine.advance(by);
        for gate in &mut self.gates {
            gate.machine.advance(by);
            if self.now - gate.ticked >= 1_000 {
                gate.ticked = self.now;
                gate.tick().await;
            }
            if self.now - gate.wrote_back >= 10_000 {
                gate.wrote_back = self.now;
                gate.write_back().await;
            }
        }
    }

    /// Messages that have arrived are taken in.
    pub async fn deliver(&mut self) -> Result<(), String> {
        while let Some(parcel) = self.net.due(self.now) {
            match parcel {
                Parcel::Answer(exchange, (status, body)) => self.heard(exchange, status, body),
                Parcel::Request(exchange, call, purpose) => {
                    let Some((status, body)) = self.office.ask(&call).await else { continue };
                    if !matches!(purpose, Purpose::Trust | Purpose::Evidence) {
                        self.trail.add(format!("office: {} -> {status}", purpose.told()));
                    }
                    self.crash_at_the_answer().await;
                    self.office.settle().await;
                    self.promised(&purpose, status, &body).await?;
                    self.net.answer(&mut self.chance, self.now, exchange, (status, body));
                }
            }
        }
        Ok(())
    }

    /// A caller that waits too long gives up; readers ask on.
    pub fn go_on(&mut self) {
        let now = self.now;
        for device in &mut self.devices {
            device.waiting = device.waiting.filter(|(_, until)| *until > now);
        }
        for at in 0..self.gates.len() {
            let gate = &mut self.gates[at];
            if gate.waiting.is_some_and(|(_, until)| until <= now) {
                gate.waiting = None;
                gate.answered(None);
                self.asks_next(at);
            }
            let gate = &self.gates[at];
            if !gate.is_up() || gate.waiting.is_some() || gate.asks_at > now {
                continue;
            }
            let Some(asked) = gate.asks() else { continue };
            let (call, purpose) = match asked.shows {
                None => (self.office.of_reader(asked.path), Purpose::Trust),
                Some(shown) => (self.office.of_shower(asked.path, shown), Purpose::Evidence),
            };
            self.send(Asker::Gate(at), call, purpose);
        }
    }

    /// A long poll is answered when something has happened, or after a while: here after a drawn one.
    pub fn asks_next(&mut self, at: usize) {
        let Some(asked) = self.gates[at].asks() else { return };
        let wait = u64::try_from(asked.wait.as_millis()).unwrap();
        let pause = self.chance.between(50, 1_500);
        self.gates[at].asks_at = self.now + wait.max(pause);
    }

    pub fn send(&mut self, from: Asker, call: Call, purpose: Purpose) {
        let now = self.now;
        let exchange = self.net.send(&mut self.chance, now, from, call, purpose);
        match from {
            Asker::Operator => {}
            Asker::Gate(at) => self.gates[at].waiting = Some((exchange.id, now + gate::PATIENCE)),
            Asker::Device(at) => {
                self.devices[at].waiting = Some((exchange.id, now + device::PATIENCE));
            }
        }
    }

    pub fn told(&self) -> String {
        let Counts { accepted, refused, replays, crashes, jumps, restores, heals } = self.counts;
        let (tokens, events) = (self.model.tokens.len(), self.model.head);
        let hours = (self.now - START) / 3_600_000;
        format!(
            "{hours} h: {tokens} tokens, {events} events, {} audit entries, connects {accepted} \
             accepted {refused} refused, {replays} shown again, {} requests or answers lost, {} messages published, {crashes} crashes, \
             {jumps} clock jumps, {restores} restores, {heals} times all healed",
            self.model.audit.len(),
            self.net.lost,
            self.messages,
        )
    }
}
