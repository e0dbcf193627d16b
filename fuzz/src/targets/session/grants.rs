//! The grants that schedules use, made once by the real chain.

use std::sync::OnceLock;

use tessera_token::chain::{self, Attempt};
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::grant::Grant;
use tessera_token::issue::issue;
use tessera_token::key::{Algorithm, SecretKey};
use tessera_token::proof::{ConnectProof, Credential};
use tessera_token::scope::Permission;

use crate::targets::scope::matches;
use crate::targets::world::{at, claims, device, keys, scope, World, AUDIENCE, NOW};

pub(super) const DEVICES: [&str; 2] = ["d-1", "d-2"];
/// Variants of a device's grant: wide, narrow, short-lived, after its epoch moved, with another key.
pub(super) const VARIANTS: usize = 5;

const WIDE: [(&str, Permission); 2] = [("a/#", Permission::Both), ("b/+", Permission::Both)];
const NARROW: [(&str, Permission); 2] =
    [("a/x", Permission::Subscribe), ("b/+", Permission::Publish)];

/// A grant, and what it allows as the harness knows it.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) grant: Grant,
    entries: &'static [(&'static str, Permission)],
    expires: u64,
}

impl Known {
    pub(super) fn alive(&self, now: u64) -> bool {
        now < self.expires
    }

    pub(super) fn receives(&self, topic: &str) -> bool {
        self.entries.iter().any(|(filter, p)| p.subscribe() && matches(filter, topic))
    }

    pub(super) fn publishes(&self, topic: &str) -> bool {
        self.entries.iter().any(|(filter, p)| p.publish() && matches(filter, topic))
    }
}

pub(super) fn known(device: usize, variant: usize) -> &'static Known {
    static ALL: OnceLock<Vec<Known>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let pairs = (0..DEVICES.len()).flat_map(|d| (0..VARIANTS).map(move |v| (d, v)));
        pairs.map(|(device, variant)| make(device, variant)).collect()
    });
    &all[(device % DEVICES.len()) * VARIANTS + variant % VARIANTS]
}

fn make(which: usize, variant: usize) -> Known {
    let name = DEVICES[which];
    let entries: &'static [_] = if variant == 1 { &NARROW } else { &WIDE };
    let expires = if variant == 2 { NOW + 30 } else { NOW + 5000 };
    let key: &SecretKey = if variant == 4 { &keys().other_device } else { &keys().device };
    let claims = Claims {
        device: device(name),
        expires: at(expires),
        issued: at(NOW),
        serial: Serial::from_counter((which * VARIANTS + variant) as u64),
        confirmation: Some(key.public()),
        scope: scope(entries),
        epochs: Epochs {
            tenant: 0,
            group_number: which as u64,
            group: 0,
            device: u64::from(variant == 3),
        },
        ..claims()
    };
    let token = issue(&claims, Algorithm::Ed25519, &keys().issuer).expect("a good token");
    let proof = ConnectProof::make(key, AUDIENCE, name, &token, at(NOW), 1);
    let credential = Credential { token, proof: Some(proof) };
    let attempt = Attempt { presented: credential.into(), client_id: name.to_owned() };
    let admission = chain::admit(&attempt, &World::new(), at(NOW)).expect("a good attempt");
    Known { grant: admission.grant, entries, expires }
}
