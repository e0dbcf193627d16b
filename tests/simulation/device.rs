//! A device: its key, its clock, its counter, what it waits for.

use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::messages::TokenRequest;
use tessera_token::proof::{ConnectProof, Credential};
use tessera_token::time::UnixSeconds;

use super::gate::AUDIENCE;

pub const TENANT: &str = "default";
/// Milliseconds that a device waits for an answer.
pub const PATIENCE: u64 = 10_000;
/// Passwords that an observer on the way has recorded.
pub const RECORDED: usize = 256;

pub struct Device {
    pub name: String,
    pub id: DeviceId,
    pub key: SecretKey,
    pub group: usize,
    pub role: &'static str,
    /// The claim code, once an operator made one.
    pub claim: Option<String>,
    /// The newest token it got.
    pub token: Option<usize>,
    /// How far its clock is wrong, in seconds.
    pub wrong: i64,
    pub counter: u32,
    pub waiting: Option<(u64, u64)>,
    /// The last request for a token: it is sent again when no answer came.
    pub request: Option<TokenRequest>,
}

/// Credential of a device at a gate.
#[derive(Clone)]
pub struct Shown {
    pub device: usize,
    pub token: usize,
    pub time: u64,
    pub counter: u32,
    pub password: Vec<u8>,
}

pub fn tenant() -> TenantId {
    TenantId::parse(TENANT).unwrap()
}

impl Device {
    pub fn new(number: usize, group: usize, seed: [u8; 32]) -> Self {
        let name = format!("d-{number}");
        Self {
            id: DeviceId::parse(&name).unwrap(),
            name,
            key: SecretKey::from_seed(&seed),
            group,
            role: if number == super::world::BACKEND { "backend" } else { "sensor" },
            claim: None,
            token: None,
            wrong: 0,
            counter: 0,
            waiting: None,
            request: None,
        }
    }

    pub fn unix(&self, now: u64) -> u64 {
        (now / 1000).saturating_add_signed(self.wrong)
    }

    /// The next proof for a token.
    pub fn password(&mut self, token: &[u8], client: &str, now: u64) -> (Vec<u8>, u64, u32) {
        self.counter = self.counter.wrapping_add(1);
        let time = self.unix(now);
        let (at, counter) = (UnixSeconds::new(time), self.counter);
        let proof = ConnectProof::make(&self.key, AUDIENCE, client, token, at, counter);
        let credential = Credential { token: token.to_vec(), proof: Some(proof) };
        (credential.to_password(), time, counter)
    }
}
