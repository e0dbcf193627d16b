//! Facts that the servers have acknowledged, the work that makes them, and their check.
//!
//! Every fact is one that later work does not take back: a device to revoke is chosen when it is enrolled and used for
//! nothing else afterwards. So the facts of one moment hold at every later one, and a check needs no halt of the work.

mod check;
mod client;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use tessera_runtime::random::{number, SeededRandom};
use tessera_token::encoding::base64url;
use tessera_token::key::SecretKey;

pub use check::{check, Checked};
pub use client::{Client, Outcome};
pub use work::{prepare, Kind, Worker};

/// Purpose of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be revoked.
    Revoke,
    /// Its token is to be revoked by its hash.
    RevokeToken,
    /// To pull tokens.
    Refresh,
    /// To connect, here and at the agent.
    Connect,
}

/// A device.
#[derive(Clone)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// The seed of its key.
    pub seed: [u8; 32],
    /// Its purpose.
    pub purpose: Purpose,
    /// The token of its enrolment.
    pub token: Vec<u8>,
}

impl Device {
    /// Its key.
    pub fn key(&self) -> SecretKey {
        SecretKey::from_seed(&self.seed)
    }

    /// The thumbprint of its key as the service tells it.
    pub fn thumbprint(&self) -> String {
        base64url(self.key().public().thumbprint().as_bytes())
    }
}

/// A refresh that was answered.
#[derive(Clone)]
pub struct Refresh {
    /// Its owner.
    pub device: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// The request as sent.
    pub request: Vec<u8>,
    /// The token of the answer.
    pub token: Vec<u8>,
}

/// A proof that a broker accepted.
#[derive(Clone)]
pub struct Used {
    /// The client id.
    pub client: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// The password.
    pub password: Vec<u8>,
    /// Whether it was shown to the agent and not to the broker.
    pub agent: bool,
}

/// A row that an operator made: where it is listed, and what must be found there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The list.
    pub path: String,
    /// The member of an item that names it.
    pub member: String,
    /// The name.
    pub name: String,
}

/// Everything that was acknowledged.
#[derive(Clone, Default)]
pub struct Facts {
    /// Enrolled devices by id.
    pub devices: BTreeMap<String, Device>,
    /// Devices that were revoked.
    pub revoked: BTreeSet<String>,
    /// Devices whose token was revoked by its hash.
    pub revoked_tokens: BTreeSet<String>,
    /// Refreshes.
    pub refreshes: Vec<Refresh>,
    /// Proofs.
    pub used: Vec<Used>,
    /// Messages that wait for persistent sessions, by client id.
    pub kept: BTreeMap<String, Vec<String>>,
    /// Retained messages: topic to the number that was stored last.
    pub retained: BTreeMap<String, u64>,
    /// Rows that operators made.
    pub rows: BTreeSet<Row>,
    /// A backend, which reads and writes what devices do.
    pub backend: Option<Device>,
    /// Entries that the audit log must hold: action and subject.
    pub audit: BTreeSet<(String, String)>,
}

impl Facts {
    /// How many there are of each kind, in a line.
    pub fn line(&self) -> String {
        let kept: usize = self.kept.values().map(Vec::len).sum();
        format!(
            "{} enrolled, {} revoked, {} tokens revoked, {} refreshed, {} proofs, {kept} QoS 1 messages, {} retained, {} rows",
            self.devices.len(),
            self.revoked.len(),
            self.revoked_tokens.len(),
            self.refreshes.len(),
            self.used.len(),
            self.retained.len(),
            self.rows.len(),
        )
    }

    /// How many in all.
    pub fn count(&self) -> usize {
        let kept: usize = self.kept.values().map(Vec::len).sum();
        let provision = self.devices.len() + self.revoked.len() + self.revoked_tokens.len();
        let rows = self.rows.len() + self.retained.len();
        provision + self.refreshes.len() + self.used.len() + kept + rows
    }
}

/// Choices from a seed.
pub struct Dice(SeededRandom);

impl Dice {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(SeededRandom::predictable(seed))
    }

    /// A stream of its own.
    pub fn fork(&self, name: &str) -> Self {
        Self(self.0.fork(name))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        number(&self.0).unwrap() % end.max(1)
    }

    /// One of a list.
    pub fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }

    /// Bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        tessera_runtime::random::bytes(&self.0).unwrap()
    }
}
