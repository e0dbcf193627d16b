//! Observations of peers that proved nothing: tokens without their keys, names without a token; and announcements of
//! operators.

use tessera_token::refusal::RefusalCode;

use super::clock::TEN_MS;
use super::device::Device;
use super::rare::Kind;
use super::{counts, hash, Engine};
use crate::alert::Alert;
use crate::observation::{Network, UnixMillis};

impl Engine {
    /// A token of the device was shown, and the key was not proved.
    pub(super) fn outside(
        &mut self,
        tenant: u32,
        name: &str,
        code: RefusalCode,
        network: Network,
        alerts: &mut Vec<Alert>,
    ) {
        let kind = match code {
            RefusalCode::ProofInvalid
            | RefusalCode::ProofMissing
            | RefusalCode::ProofMalformed
            | RefusalCode::BearerNotAllowed => Some(Kind::Stolen),
            RefusalCode::ClientIdMismatch => Some(Kind::Impersonation),
            RefusalCode::ProofReplayed => Some(Kind::Replayed),
            _ => None,
        };
        let seed = self.config.seed;
        let mark = hash::network(seed, network.prefix());
        if let (Some(Kind::Stolen | Kind::Impersonation), Some(of)) =
            (kind, self.tenants.get_mut(tenant as usize))
        {
            let (is_thief, found) = of.theft(seed, network, name, self.clock.now);
            if let Some(found) = found {
                self.campaign(tenant, found, alerts);
            }
            if is_thief {
                return;
            }
        }
        let place = match self.devices.find(tenant, name) {
            Some(place) => place,
            // A device that was never seen itself: its alert is worth as much, its habits are none.
            None if kind.is_some() => {
                self.outsider(tenant, name, kind, alerts);
                return;
            }
            None => return,
        };
        let now = self.clock.seconds();
        let Some(entry) = self.devices.get_mut(place) else { return };
        let device = &mut *entry.device;
        let is_foreign = device.networks.any() && !device.networks.knows(mark);
        if kind.is_none() {
            // A withdrawn or expired token: only a storm of them says something.
            device.open.refused = device.open.refused.saturating_add(1);
            self.alarms.extend(counts::refusal(device, now));
        }
        if let Some(kind) = kind {
            let weight = if is_foreign { 2.0 } else { 1.0 };
            self.rare_of_hour(place, kind, weight, alerts);
        }
        self.raise(place, alerts);
    }

    fn outsider(&mut self, tenant: u32, name: &str, kind: Option<Kind>, alerts: &mut Vec<Alert>) {
        let (now, ten) = (self.clock.seconds(), (self.clock.now / TEN_MS) as u32);
        let found = self.outsiders.find(tenant, name);
        if found.is_none() && self.outsiders.is_full() {
            for place in self.outsiders.idlest() {
                self.outsiders.remove(place);
            }
        }
        let place = found.unwrap_or_else(|| {
            let device = Device { group: 0, ..Device::new(now, ten) };
            self.outsiders.insert(tenant, name, Box::new(device))
        });
        let Some(kind) = kind else { return };
        let hour = self.clock.hour();
        let Some(entry) = self.outsiders.get_mut(place) else { return };
        entry.device.last_seen = now;
        let (rare, evidence, _) = entry.device.event(kind, hour, 1.0, kind.honest());
        if evidence > super::tell::EVIDENCE {
            entry.device.event_told(kind);
            let alarm = super::tell::rare_alarm(kind, &rare, evidence, 0.0, kind.honest());
            self.outsider_message(place, &alarm, alerts);
        }
    }

    /// A peer was refused whose token no issuer signed.
    pub(super) fn stranger(
        &mut self,
        tenant: u32,
        network: Network,
        name: Option<&str>,
        credential: u32,
        alerts: &mut Vec<Alert>,
    ) {
        let (seed, now) = (self.config.seed, self.clock.now);
        let Some(of) = self.tenants.get_mut(tenant as usize) else { return };
        if let Some(found) = of.stranger(seed, network, name, credential, now) {
            self.campaign(tenant, found, alerts);
        }
    }

    /// An operator announced a change.
    pub(super) fn announced(&mut self, tenant: u32, number: u64, until: UnixMillis) {
        let place = self.group(tenant, number);
        // The time of the announcement is that of the observer's clock.
        let ahead = until.saturating_sub(self.clock.wall_at(self.clock.now));
        let until = super::clock::seconds(self.clock.now.saturating_add(ahead));
        if let Some(group) = self.groups.get_mut(place as usize).filter(|_| place != 0) {
            group.announce(until);
        }
    }
}
