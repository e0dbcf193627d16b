//! Epochs never go back: whatever is done in whatever order, also over a restart and a restore of an older copy, the feed
//! never tells a lower epoch of a subject than before.

use std::collections::HashMap;

use serde_json::json;
use tessera_runtime::random::{Random, SeededRandom};
use tessera_token::encoding::base64url;
use tessera_token::hash::TokenHash;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Change, Event, EventHash, Feed, Snapshot};

use crate::enrol::claims;
use crate::restored::{brought_back_marked, copied};
use crate::world::{Device, Forced, World};

/// The highest epoch of each subject that the feed has told so far.
#[derive(Default)]
struct Told {
    epochs: HashMap<String, u64>,
    /// Where it stands; another line begins anew.
    place: Option<(u64, EventHash)>,
}

impl Told {
    async fn read(&mut self, world: &World, after: &str) {
        if self.place.is_none() {
            let bytes = world.feed.get("/v1/trust/snapshot").await.unwrap().body;
            let (snapshot, _) = Snapshot::open(&bytes, &world.handle.root_thumbprint()).unwrap();
            self.place = Some((snapshot.seq, snapshot.head));
        }
        loop {
            let (seq, head) = self.place.unwrap();
            let head = base64url(head.as_bytes());
            let path = format!("/v1/trust/events?after={seq}&head={head}");
            let bytes = world.feed.get(&path).await.unwrap().body;
            let feed = Feed::from_cbor(&bytes).unwrap();
            if feed.events.is_empty() {
                return;
            }
            for bytes in &feed.events {
                let event = Event::unverified(bytes).unwrap();
                self.place = Some((event.seq, EventHash::of(bytes)));
                self.take(&event.change, after);
            }
        }
    }

    fn take(&mut self, change: &Change, after: &str) {
        let (subject, epoch) = match change {
            Change::Device(one) => (format!("device {}", one.device), one.epoch),
            Change::Group(one) => (format!("group {}", one.number), one.epoch),
            Change::Tenant(one) => (format!("tenant {}", one.tenant), one.epoch),
            _ => return,
        };
        let before = self.epochs.entry(subject.clone()).or_default();
        assert!(epoch >= *before, "{subject}: {epoch} after {before}, by {after}");
        *before = epoch;
    }

    fn of(&self, subject: &str) -> u64 {
        self.epochs.get(subject).copied().unwrap_or_default()
    }
}

fn drawn(random: &SeededRandom, below: usize) -> usize {
    let mut bytes = [0; 8];
    random.fill(&mut bytes).unwrap();
    usize::try_from(u64::from_be_bytes(bytes) % u64::try_from(below).unwrap()).unwrap()
}

async fn try_post(world: &World, path: &str, body: serde_json::Value) {
    // It may be refused: a device that is not there, an id that is not free.
    let _ = world.operator.post_json(&format!("/v1/tenants/default/{path}"), &body).await;
}

/// A token of the device, when it may have one.
async fn token(world: &World, device: &Device) -> Option<Vec<u8>> {
    world.refresh(device).await.ok().map(|answer| answer.access_token)
}

async fn step(
    world: World,
    random: &SeededRandom,
    devices: &[Device],
    has_copy: bool,
) -> (World, String) {
    let device = &devices[drawn(random, devices.len())];
    let name = device.id.as_str();
    let what = match drawn(random, if has_copy { 11 } else { 10 }) {
        0 | 1 => {
            try_post(&world, &format!("devices/{name}/revoke"), json!({})).await;
            "revoke"
        }
        2 => {
            try_post(&world, &format!("devices/{name}/reinstate"), json!({})).await;
            "reinstate"
        }
        3 => {
            let path = format!("/v1/tenants/default/devices/{name}?force=true");
            let _ = world.operator.delete_any(&path).await;
            "delete"
        }
        4 | 5 => {
            let claim = world.claim(json!({})).await;
            let _ = world.enrol(device, &claim).await;
            "enrol"
        }
        6 => {
            try_post(&world, "groups/default/revoke", json!({})).await;
            "revoke the group"
        }
        7 => {
            try_post(&world, "revoke", json!({})).await;
            try_post(&world, "reinstate", json!({})).await;
            "revoke the tenant"
        }
        8 => {
            if let Some(token) = token(&world, device).await {
                let hash = base64url(TokenHash::of(&token).as_bytes());
                try_post(&world, "tokens/revoke", json!({ "token_hash": hash })).await;
            }
            "revoke a token"
        }
        9 => return (world.restart().await, "restart".to_owned()),
        _ => {
            let world = brought_back_marked(world).await;
            return (world, "restore".to_owned());
        }
    };
    (world, format!("{what} {name}"))
}

#[tokio::test]
async fn epochs_never_go_back_over_random_sequences() {
    for seed in [1, 2, 3] {
        let random = SeededRandom::predictable(seed);
        let mut world = World::with(|config| config.admission.wrong.burst = 100_000).await;
        let devices = [Device::new("a"), Device::new("b")];
        let mut told = Told::default();
        told.read(&world, "start").await;
        for number in 0..40 {
            if number == 15 {
                world = copied(world).await;
            }
            let (next, what) = step(world, &random, &devices, number > 15).await;
            world = next;
            let what = format!("step {number} of seed {seed}: {what}");
            if what.ends_with("restore") {
                // The line goes on far above: what was told before still counts.
                told.place = None;
            }
            told.read(&world, &what).await;
            for device in &devices {
                let Some(token) = token(&world, device).await else { continue };
                // A token that is given out is good at a verifier that knows all that was told of this line.
                let epochs = claims(&token).epochs;
                assert!(
                    epochs.device >= told.of(&format!("device {}", device.id)) || number > 15,
                    "{what}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_device_that_comes_back_under_its_id_goes_on_above_its_former_epoch() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let mut told = Told::default();
    told.read(&world, "start").await;
    for _ in 0..3 {
        try_post(&world, "devices/a/revoke", json!({})).await;
        world.operator.delete_any("/v1/tenants/default/devices/a?force=true").await.unwrap();
        assert_eq!(world.refresh(&device).await.err(), Some(RefusalCode::ProofInvalid));
        let claim = world.claim(json!({})).await;
        let answer = world.enrol(&device, &claim).await.unwrap();
        told.read(&world, "enrol").await;
        let epoch = claims(&answer.access_token).epochs.device;
        assert!(epoch >= told.of("device a") && epoch > 0, "{epoch}");
    }
}
