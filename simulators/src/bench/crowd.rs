//! Enrolled devices and the CONNECT packets that they would send. Proofs are signed in bulk before the clock starts.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use tessera_runtime::clock::SharedClock;
use tessera_token::key::SecretKey;
use tessera_token::proof::ConnectProof;
use tessera_token::time::UnixSeconds;

use super::packet;
use super::server::Server;
use crate::device::credential::HeldToken;
use crate::device::life::Device;

/// The password of a mosquitto user: a stand-in, as long as what people choose.
pub fn mosquitto_password(id: &str) -> String {
    format!("pass-{id}")
}

/// One device.
pub(super) struct Member {
    pub(super) id: String,
    key: SecretKey,
    token: HeldToken,
}

impl Member {
    fn of(device: &Device) -> Self {
        Self {
            id: device.identity.device.as_str().to_owned(),
            key: device.identity.key.clone(),
            token: device.token().clone(),
        }
    }
}

/// Devices of one role.
pub(super) struct Crowd {
    members: Vec<Member>,
    clock: SharedClock,
    /// Above every counter used before, for all keys: strictly increasing for each is enough.
    counter: AtomicU32,
}

impl Crowd {
    pub(super) fn new(devices: &[Device], clock: &SharedClock) -> Self {
        let members = devices.iter().map(Member::of).collect();
        Self { members, clock: Arc::clone(clock), counter: AtomicU32::new(1) }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.id.as_str())
    }

    /// The first `count` members, or all when there are fewer.
    pub(super) fn first(&self, count: usize) -> &[Member] {
        self.members.get(..count).unwrap_or(&self.members)
    }

    /// The CONNECT of a member, signed now.
    pub(super) fn connect(&self, member: &Member, server: Server) -> Vec<u8> {
        let id = &member.id;
        match server {
            Server::Tessera => {
                let password = self.password(member, self.clock.unix());
                packet::connect(id, Some((id, &password)))
            }
            Server::MosquittoPassword => {
                packet::connect(id, Some((id, mosquitto_password(id).as_bytes())))
            }
            Server::Mosquitto => packet::connect(id, None),
        }
    }

    /// Token and proof, as if made at `now`.
    pub(super) fn password(&self, member: &Member, now: UnixSeconds) -> Vec<u8> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        member.token.password(&member.key, &member.id, now, counter)
    }

    /// One verification of a member's proof, ready to be done again and again.
    pub(super) fn one_check<'a>(&'a self, member: &'a Member) -> impl Fn() -> bool + 'a {
        let (token, audience) = (&member.token.bytes, &member.token.audience);
        let (key, now) = (member.key.public(), self.clock.unix());
        let proof = ConnectProof::make(&member.key, audience, &member.id, token, now, 1);
        move || proof.verifies(&key, audience, &member.id, token)
    }

    /// The time by the true clock.
    pub(super) fn now(&self) -> UnixSeconds {
        self.clock.unix()
    }

    /// Length of a member's token, which stands at the front of its password.
    pub(super) fn token_bytes(member: &Member) -> usize {
        member.token.bytes.len()
    }
}
