//! Enrolled devices and the CONNECT packets that they would send. Proofs are signed in bulk before the clock starts.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use tessera_runtime::clock::SharedClock;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::{PublicKey, SecretKey};
use tessera_token::proof::{ConnectProof, Credential, ResumptionSecret};
use tessera_token::time::UnixSeconds;

use super::packet;
use super::server::Server;
use crate::device::credential::HeldToken;
use crate::device::identity::Identity;
use crate::device::life::Device;

/// The password of a mosquitto user: a stand-in, as long as what people choose.
pub fn mosquitto_password(id: &str) -> String {
    format!("pass-{id}")
}

/// One device.
pub(super) struct Member {
    pub(super) id: String,
    device: DeviceId,
    key: SecretKey,
    token: HeldToken,
}

impl Member {
    /// The key that its token names.
    pub(super) fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// Its identity at provisioning.
    pub(super) fn identity(&self, tenant: &TenantId) -> Identity {
        let (tenant, device, key) = (tenant.clone(), self.device.clone(), self.key.clone());
        Identity { tenant, device, key }
    }

    fn of(device: &Device) -> Self {
        Self {
            id: device.identity.device.as_str().to_owned(),
            device: device.identity.device.clone(),
            key: device.identity.key.clone(),
            token: device.token().clone(),
        }
    }

    /// Where it is commanded.
    pub(super) fn command_topic(&self) -> String {
        format!("d/{}/cmd", self.id)
    }
}

/// Devices of one role.
pub(super) struct Crowd {
    members: Arc<[Member]>,
    count: usize,
    clock: SharedClock,
    /// Above every counter used before, for all keys: strictly increasing for each is enough.
    counter: Arc<AtomicU32>,
}

impl Crowd {
    pub(super) fn new(devices: &[Device], clock: &SharedClock) -> Self {
        let members: Arc<[Member]> = devices.iter().map(Member::of).collect();
        let (count, clock) = (members.len(), Arc::clone(clock));
        Self { members, count, clock, counter: Arc::new(AtomicU32::new(1)) }
    }

    /// The first `count` of them as a crowd of their own.
    pub(super) fn part(&self, count: usize) -> Self {
        let (members, counter) = (Arc::clone(&self.members), Arc::clone(&self.counter));
        let count = count.min(self.count);
        Self { members, count, clock: Arc::clone(&self.clock), counter }
    }

    pub(super) fn members(&self) -> &[Member] {
        self.members.get(..self.count).unwrap_or_default()
    }

    /// The first `count` members, or all when there are fewer.
    pub(super) fn first(&self, count: usize) -> &[Member] {
        self.members().get(..count).unwrap_or(self.members())
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
            Server::Mosquitto | Server::Flashmq => packet::connect(id, None),
        }
    }

    /// Token and proof, as if made at `now`.
    pub(super) fn password(&self, member: &Member, now: UnixSeconds) -> Vec<u8> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        member.token.password(&member.key, &member.id, now, counter)
    }

    /// The CONNECT of a member that proves itself by its secret, or with none as [`Crowd::connect`].
    pub(super) fn reconnect(
        &self,
        member: &Member,
        secret: Option<&ResumptionSecret>,
        server: Server,
    ) -> Vec<u8> {
        let Some(secret) = secret else { return self.connect(member, server) };
        let (id, token) = (&member.id, &member.token);
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.unix();
        let proof = ConnectProof::resume(secret, &token.audience, id, &token.bytes, now, counter);
        let credential = Credential { token: token.bytes.clone(), proof: Some(proof) };
        packet::connect(id, Some((id, &credential.to_password())))
    }

    /// One verification of a member's proof by its public key, ready to be done again and again.
    pub(super) fn one_check<'a>(
        &'a self,
        member: &'a Member,
        key: PublicKey,
    ) -> impl Fn() -> bool + 'a {
        let (token, audience) = (&member.token.bytes, &member.token.audience);
        let now = self.clock.unix();
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
