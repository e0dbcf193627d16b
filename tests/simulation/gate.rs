//! A verifier: a gateway's agent, or the agent inside of a broker.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tessera_agent::driven::{Asked, Driven};
use tessera_agent::AgentConfig;
use tessera_broker::{Broker, BrokerHandle, RawBrokerConfig};
use tessera_runtime::metrics::Metrics;
use tessera_runtime::stop::Stop;
use tessera_token::ids::Audience;
use tessera_token::key::Thumbprint;
use tessera_token::refusal::RefusalCode;

use super::machine::{End, Machine};

pub const AUDIENCE: &str = "mqtt";

/// Milliseconds that a reader waits for an answer.
pub const PATIENCE: u64 = 25_000;

/// Real time in which a broker stops.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// Seconds that a crash under a time that was ahead closes, before it and behind it: the minute that is in doubt after each
/// start, proofs not written back yet, and what was reserved.
const CLOSED_BEFORE: u64 = 90;
const CLOSED_BEHIND: u64 = 15;

/// Real time between two looks whether a broker has found that there is room again, and how many there are at most.
const ROOM_LOOK: Duration = Duration::from_millis(10);
const ROOM_LOOKS: u32 = 2_000;

pub struct Gate {
    pub machine: Machine,
    is_broker: bool,
    driven: Option<Driven>,
    broker: Option<(BrokerHandle, Stop)>,
    pin: Thumbprint,
    /// The exchange it waits for, and until when.
    pub waiting: Option<(u64, u64)>,
    /// When it asks next.
    pub asks_at: u64,
    /// When the seconds' work was done last.
    pub ticked: u64,
    pub wrote_back: u64,
    /// Seconds that may be closed because a process ended, or began, while its time was ahead.
    closed: Vec<RangeInclusive<u64>>,
}

impl Gate {
    pub fn new(machine: Machine, pin: Thumbprint) -> Self {
        let is_broker = machine.name.starts_with("broker");
        let (driven, broker) = (None, None);
        Self {
            machine,
            is_broker,
            driven,
            broker,
            pin,
            waiting: None,
            asks_at: 0,
            ticked: 0,
            wrote_back: 0,
            closed: Vec::new(),
        }
    }

    pub fn is_up(&self) -> bool {
        self.driven.is_some()
    }

    pub async fn start(&mut self, now: u64) -> Result<(), String> {
        let audience = Audience::parse(AUDIENCE).unwrap();
        let config = AgentConfig::new(self.machine.folder().join("agent"), audience, self.pin);
        let (clock, random) = (self.machine.clock.clone(), self.machine.random());
        let metrics = Metrics::new();
        let driven = Driven::open(&config, clock.clone(), random, &metrics);
        let driven = driven.map_err(|error| error.to_string())?;
        if self.is_broker {
            let stop = Stop::new();
            let config = self.broker_config()?;
            let broker = Broker::start(config, driven.agent(), clock, &metrics, &stop).await;
            self.broker = Some((broker.map_err(|error| error.to_string())?, stop));
        }
        self.closes(driven.now().get(), now);
        self.driven = Some(driven);
        (self.waiting, self.asks_at, self.ticked) = (None, now, now);
        self.wrote_back = now;
        Ok(())
    }

    /// A process that ends or begins under a time that is ahead closes the minute before, and what it had reserved.
    fn closes(&mut self, judged: u64, now: u64) {
        if judged > now / 1000 + 10 {
            self.closed.push(judged - CLOSED_BEFORE..=judged + CLOSED_BEHIND);
        }
    }

    /// Whether this second may be closed without a fault.
    pub fn may_be_closed(&self, now: u64) -> bool {
        self.closed.iter().any(|window| window.contains(&(now / 1000)))
    }

    fn broker_config(&self) -> Result<tessera_broker::BrokerConfig, String> {
        let mut raw = RawBrokerConfig {
            mqtt: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            http: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: self.machine.folder().join("broker"),
            ..RawBrokerConfig::default()
        };
        raw.limits.keep_alive = u16::MAX;
        raw.limits.session_expiry = u32::MAX - 1;
        raw.limits.verification_workers = 1;
        raw.validate().map_err(|error| error.to_string())
    }

    pub async fn end(&mut self, how: End, draw: u64, now: u64) {
        let Some(driven) = self.driven.take() else { return };
        self.closes(driven.now().get(), now);
        let left = match how {
            End::Stop => {
                self.stop_broker().await;
                driven.close();
                self.machine.left(how, draw)
            }
            End::Kill | End::PowerCut => {
                let left = self.machine.left(how, draw);
                self.stop_broker().await;
                driven.abandon();
                left
            }
        };
        self.machine.next_life(now, Some(&left));
    }

    async fn stop_broker(&mut self) {
        if let Some((_, stop)) = self.broker.take() {
            let left = stop.finish(STOPS_WITHIN).await;
            assert!(left.is_empty(), "{} does not stop: {left:?}", self.machine.name);
        }
    }

    /// Where MQTT is spoken.
    pub fn mqtt(&self) -> Option<SocketAddr> {
        self.broker.as_ref().map(|(broker, _)| broker.mqtt_addr)
    }

    /// The next process begins with an older copy, or as a new verifier with nothing.
    pub async fn replace(&mut self, copy: Option<&Path>, now: u64) {
        if let Some(driven) = self.driven.take() {
            self.stop_broker().await;
            driven.abandon();
        }
        self.machine.next_life(now, copy);
    }

    pub fn back_up(&self) -> PathBuf {
        self.machine.copy_to("backup")
    }

    /// The number of the newest event that it knows.
    pub fn version(&self) -> u64 {
        self.driven.as_ref().map_or(0, |driven| driven.validator().trust_seq())
    }

    pub fn ready(&self) -> Result<(), String> {
        let driven = self.driven.as_ref().ok_or("it is not up")?;
        driven.validator().ready().map_err(|code| code.to_string())?;
        match self.broker.as_ref().and_then(|(broker, _)| broker.not_ready()) {
            None => Ok(()),
            Some((part, code)) => Err(format!("{part}: {code}")),
        }
    }

    /// There is room on its disk again: it must go on without a restart.
    pub async fn has_room(&mut self) -> Result<(), String> {
        let Some(driven) = &self.driven else { return Ok(()) };
        let stays = || format!("{} does not go on although there is room", self.machine.name);
        if !driven.look_for_room().await {
            return Err(stays());
        }
        for _ in 0..ROOM_LOOKS {
            let not_ready = self.broker.as_ref().and_then(|(broker, _)| broker.not_ready());
            if !matches!(not_ready, Some(("store", _))) {
                return Ok(());
            }
            tokio::time::sleep(ROOM_LOOK).await;
        }
        Err(stays())
    }

    pub fn asks(&self) -> Option<Asked> {
        Some(self.driven.as_ref()?.asks())
    }

    pub fn answered(&mut self, answer: Option<(u16, Vec<u8>)>) {
        if let Some(driven) = &mut self.driven {
            driven.answered(answer.map(|(status, body)| match status {
                200..300 => Ok(body),
                status => Err((status, code_of(&body))),
            }));
        }
    }

    pub async fn tick(&mut self) {
        if let Some(driven) = &mut self.driven {
            driven.tick();
        }
    }

    pub async fn write_back(&mut self) {
        if let Some(driven) = &mut self.driven {
            driven.write_back().await;
        }
    }

    pub async fn upkeep(&mut self) {
        if let Some(driven) = &mut self.driven {
            driven.upkeep().await;
        }
    }

    /// Shows a password, as a CONNECT does; `None` when it is not up.
    pub async fn show(&self, password: &[u8], client: &str) -> Option<Result<(), RefusalCode>> {
        let validator = self.driven.as_ref()?.validator().clone();
        let admitted = validator.admit(password, client).await;
        Some(admitted.map(drop).map_err(|refusal| refusal.code))
    }
}

/// The code of a problem (RFC 9457).
fn code_of(body: &[u8]) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(problem["code"].as_str()?.to_owned())
}
