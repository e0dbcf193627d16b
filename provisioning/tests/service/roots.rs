//! The root key is changed by a signed link, with and without a key on another machine.

use std::path::Path;

use tessera_provisioning::{root_accept, root_request, OfflineRoot, RootAccepted, RootChange};
use tessera_runtime::clock::{SharedClock, SystemClock};
use tessera_runtime::http::{Method, Request};
use tessera_runtime::random::SystemRandom;
use tessera_token::key::{SecretKey, Thumbprint};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{
    Event, Feed, Heartbeat, LinkedSnapshot, RootRequest, RootSet, Roots, Snapshot, ROOT_SET_HEADER,
};

use crate::restored::{brought_back, copied, Keeper};
use crate::world::{problem, World};

pub const ROTATED: RootChange = RootChange {
    keeps_online: false,
    offline: OfflineRoot::Same,
    compromised: false,
    seed_lost: false,
};

fn clock() -> SharedClock {
    SystemClock::shared()
}

pub async fn request(dir: &Path, change: RootChange) -> Result<RootRequest, String> {
    request_behind(dir, change, None).await
}

pub async fn request_behind(
    dir: &Path,
    change: RootChange,
    behind: Option<&RootRequest>,
) -> Result<RootRequest, String> {
    let (database, asked) = (crate::postgres::of(dir).await, (change, behind));
    let made = root_request(dir, database.as_ref(), asked, &clock(), &SystemRandom).await;
    made.map_err(|error| error.to_string())
}

pub async fn accept(dir: &Path, signed: &RootRequest) -> Result<RootAccepted, String> {
    accept_as(dir, signed, false).await
}

pub async fn accept_as(
    dir: &Path,
    signed: &RootRequest,
    seed_lost: bool,
) -> Result<RootAccepted, String> {
    let (database, signed) = (crate::postgres::of(dir).await, (signed, seed_lost));
    let taken = root_accept(dir, database.as_ref(), signed, &clock(), &SystemRandom).await;
    taken.map_err(|error| error.to_string())
}

/// The change to this offline root, which signs it.
pub async fn with_offline(dir: &Path, offline: &SecretKey) -> RootRequest {
    let key = OfflineRoot::Key(offline.public().thumbprint());
    let change = RootChange { keeps_online: true, offline: key, ..ROTATED };
    let mut made = request(dir, change).await.unwrap();
    assert!(made.link.sign(offline));
    accept(dir, &made).await.unwrap();
    made
}

/// The set to which the links in front of the snapshot lead, and the number of the newest event in it.
pub async fn led(world: &World, pin: Thumbprint) -> (RootSet, u64) {
    let answer = world.feed.get("/v1/trust/snapshot").await.unwrap();
    let (links, snapshot) = LinkedSnapshot::read(&answer.body).unwrap();
    let set = RootSet::pinned(Roots { online: pin, offline: None }).follow(&links).unwrap();
    let (snapshot, _) = Snapshot::open(snapshot, &set.roots().online).unwrap();
    (set, snapshot.seq)
}

pub fn poll(number: u64) -> Request<'static> {
    Request::new(Method::Get, "/v1/trust/events?after=0")
        .header(ROOT_SET_HEADER, number.to_string())
}

#[tokio::test]
async fn a_link_leads_from_the_first_root_to_the_next_one() {
    let world = World::new().await;
    let first = world.handle.root_thumbprint();
    let (device, _) = world.enrolled("a").await;
    let plain = world.feed.get("/v1/trust/snapshot").await.unwrap().body;
    assert_eq!(plain[0], 0x82, "without a link the snapshot is as it was");
    if !crate::postgres::is_chosen() {
        assert!(request(world.dir.path(), ROTATED).await.is_err(), "the service runs");
    }
    let world = world
        .restart_between(async |dir| {
            let made = request(dir, ROTATED).await.unwrap();
            assert_eq!(made.link.missing(), []);
            let taken = accept(dir, &made).await.unwrap();
            assert_eq!((taken.number, taken.again), (1, false));
            // A request of before leads nowhere any more, and the accepted one is accepted.
            assert_eq!(accept(dir, &made).await.unwrap(), RootAccepted { again: true, ..taken });
        })
        .await;
    let root = world.handle.root_thumbprint();
    assert_ne!(root, first);
    assert_eq!(world.handle.founding_thumbprint(), first);
    let file = std::fs::read_to_string(world.dir.path().join("root.thumbprint")).unwrap();
    assert_eq!(file.trim(), tessera_token::encoding::hex::encode(root.as_bytes()));
    // Readers of the former root take the snapshot, and the links in front of it.
    let (set, seq) = led(&world, first).await;
    assert_eq!((set.number(), set.roots().online), (1, root));
    assert_eq!(led(&world, root).await, (set, seq));
    for number in [None, Some(0)] {
        let asked = match number {
            None => world.feed.get("/v1/trust/events?after=0").await,
            Some(number) => world.feed.send(poll(number)).await,
        };
        assert_eq!(problem(asked), (410, "trust_gone".to_owned()));
    }
    let malformed =
        Request::new(Method::Get, "/v1/trust/events?after=0").header(ROOT_SET_HEADER, "x");
    assert_eq!(problem(world.feed.send(malformed).await).0, 400);
    // Everything from now on is signed by the new root.
    world.post("/v1/tenants/default/devices/a/revoke", serde_json::json!({})).await;
    let public = public_of(&world).await;
    let answer = world.feed.send(poll(1)).await.unwrap();
    let feed = Feed::from_cbor(&answer.body).unwrap();
    assert_eq!(public.thumbprint(), root);
    assert!(Heartbeat::open(&feed.heartbeat, &public).is_ok());
    assert!(Event::open(feed.events.last().unwrap(), &public).is_ok());
    assert!(Event::open(feed.events.first().unwrap(), &public).is_err());
    world.post("/v1/tenants/default/devices/a/reinstate", serde_json::json!({})).await;
    world.advance(1);
    world.refresh(&device).await.unwrap();
    // And again after a restart.
    let world = world.restart().await;
    assert_eq!(world.handle.root_thumbprint(), root);
    let audit = world.get("/v1/audit?limit=200").await;
    let entries = audit["items"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["action"] == "root.accept"), "{audit}");
}

async fn public_of(world: &World) -> tessera_token::key::PublicKey {
    let answer = world.feed.get("/v1/trust/snapshot").await.unwrap();
    let (_, snapshot) = LinkedSnapshot::read(&answer.body).unwrap();
    Snapshot::open(snapshot, &world.handle.root_thumbprint()).unwrap().1
}

#[tokio::test]
async fn the_offline_root_replaces_an_online_root_that_was_stolen() {
    let world = World::new().await;
    let first = world.handle.root_thumbprint();
    let offline = SecretKey::from_seed(&[9; 32]);
    let name = offline.public().thumbprint();
    let world = world
        .restart_between(async |dir| {
            let change =
                RootChange { keeps_online: true, offline: OfflineRoot::Key(name), ..ROTATED };
            let mut made = request(dir, change).await.unwrap();
            assert_eq!(made.link.missing(), [name]);
            let refused = accept(dir, &made).await.unwrap_err();
            assert!(refused.contains("lacks a signature"), "{refused}");
            // It goes to the other machine as a file, and comes back as one.
            made = RootRequest::from_cbor(&made.to_cbor()).unwrap();
            assert!(made.link.sign(&offline));
            made = RootRequest::from_cbor(&made.to_cbor()).unwrap();
            assert_eq!(accept(dir, &made).await.unwrap().number, 1);
            // The present service alone changes nothing any more.
            for offline in [OfflineRoot::Same, OfflineRoot::None] {
                let change = RootChange { offline, ..ROTATED };
                let made = request(dir, change).await.unwrap();
                assert_eq!(made.link.missing(), [name]);
                assert!(accept(dir, &made).await.is_err());
            }
        })
        .await;
    assert_eq!((world.handle.root_thumbprint(), led(&world, first).await.0.number()), (first, 1));
    let mut later = None;
    let world = world
        .restart_between(async |dir| {
            let mut made = request(dir, RootChange { compromised: true, ..ROTATED }).await.unwrap();
            assert!(made.link.sign(&offline));
            let step = *made.link.step();
            assert!(step.compromised && made.link.signer(&first).is_none());
            // Another one that was made at the same state is too late.
            let mut other = request(dir, ROTATED).await.unwrap();
            assert!(other.link.sign(&offline));
            later = Some(accept(dir, &made).await.unwrap());
            let refused = accept(dir, &other).await.unwrap_err();
            assert!(refused.contains("does not begin at the present roots"), "{refused}");
        })
        .await;
    let later = later.unwrap();
    assert_eq!(world.handle.root_thumbprint(), later.roots.online);
    assert_eq!((led(&world, first).await.0.roots(), later.number), (later.roots, 2));
    assert_eq!(later.roots.offline, Some(name));
}

#[tokio::test]
async fn a_service_without_the_seed_of_its_root_does_not_start_and_takes_no_link() {
    if crate::postgres::has_no_files() {
        return;
    }
    let world = World::new().await;
    let mut link = None;
    let world = world
        .restart_between(async |dir| {
            let made = request(dir, ROTATED).await.unwrap();
            let name = made.link.step().to.online.key_id();
            let seed = dir.join(format!("provisioning/keys/root-{name}.seed"));
            let aside = dir.join("aside");
            std::fs::rename(&seed, &aside).unwrap();
            let refused = accept(dir, &made).await.unwrap_err();
            assert!(refused.contains("the root key is missing"), "{refused}");
            std::fs::rename(&aside, &seed).unwrap();
            accept(dir, &made).await.unwrap();
            link = Some(seed);
        })
        .await;
    std::fs::remove_file(link.unwrap()).unwrap();
    assert!(world.refused().await.contains("the root key is missing"));
}

/// Another online root, without one on another machine.
pub async fn rotated(world: World, compromised: bool) -> World {
    world
        .restart_between(async |dir| {
            let made = request(dir, RootChange { compromised, ..ROTATED }).await.unwrap();
            accept(dir, &made).await.unwrap();
        })
        .await
}

#[tokio::test]
async fn a_reader_shows_a_restored_service_data_of_each_former_root() {
    let world = rotated(World::new().await, false).await;
    let (a, _) = world.enrolled("a").await;
    let (b, _) = world.enrolled("b").await;
    let (mut reader, mut second) = (Keeper::new(&world).await, Keeper::new(&world).await);
    let world = copied(world).await;
    world.post("/v1/tenants/default/devices/a/revoke", serde_json::json!({})).await;
    reader.poll(&world).await.unwrap();
    world.post("/v1/tenants/default/devices/b/revoke", serde_json::json!({})).await;
    second.poll(&world).await.unwrap();
    // The copy forgets both; then its root is changed once, and again after a theft.
    let world = rotated(brought_back(world, |_| {}).await, false).await;
    assert!(world.refresh(&a).await.is_ok());
    assert_eq!(reader.poll(&world).await, Err(410), "it has to follow the link");
    assert_eq!(reader.show(&world).await.unwrap(), 204);
    assert_eq!(world.refresh(&a).await, Err(RefusalCode::DeviceRevoked));
    let world = rotated(world, true).await;
    assert_eq!(led(&world, world.handle.founding_thumbprint()).await.0.number(), 3);
    world.advance(1);
    assert!(world.refresh(&b).await.is_ok());
    assert_eq!(second.show(&world).await.unwrap(), 204);
    assert_eq!(world.refresh(&b).await, Err(RefusalCode::DeviceRevoked));
    // Of a root that is none of the line nothing is taken.
    let stranger = Keeper::new(&World::new().await).await;
    assert_eq!(problem(stranger.show(&world).await).0, 400);
}
