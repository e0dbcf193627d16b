//! A store that comes back from an older copy: nothing that was ever revoked is good again, and nothing is given out
//! twice.

use std::fs;
use std::path::Path;

use serde_json::{json, Value};
use tessera_provisioning::{mark_restored, mark_restored_on};
use tessera_runtime::http::{HttpError, Method, Request, CBOR};
use tessera_token::encoding::base64url;
use tessera_token::hash::TokenHash;
use tessera_token::key::{PublicKey, SecretKey};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{
    Change, Event, EventHash, Evidence, Feed, FeedNonce, Heartbeat, LinkedSnapshot, Snapshot,
    ROOT_SET_HEADER,
};

use crate::enrol::claims;
use crate::postgres;
use crate::world::{problem, Forced, World};

const NONCE: FeedNonce = FeedNonce::from_bytes([9; 16]);

/// A reader that keeps what the root key signed, as verifiers do.
pub struct Keeper {
    pub evidence: Evidence,
    root: PublicKey,
    /// The number of its root set.
    set: usize,
    seq: u64,
    head: EventHash,
    changes: Vec<Change>,
}

impl Keeper {
    pub async fn new(world: &World) -> Self {
        let bytes = world.feed.get("/v1/trust/snapshot").await.unwrap().body;
        let (links, bytes) = LinkedSnapshot::read(&bytes).unwrap();
        let (snapshot, root) = Snapshot::open(bytes, &world.handle.root_thumbprint()).unwrap();
        let evidence = Evidence { snapshot: bytes.to_vec(), ..Evidence::default() };
        let Snapshot { seq, head, state: changes, .. } = snapshot;
        Self { evidence, root, set: links.len(), seq, head, changes }
    }

    fn path(&self) -> String {
        let (after, head) = (self.seq, base64url(self.head.as_bytes()));
        format!("/v1/trust/events?after={after}&head={head}&nonce={NONCE}")
    }

    /// A poll; the status when it is refused.
    pub async fn poll(&mut self, world: &World) -> Result<(), u16> {
        let path = self.path();
        let asked = Request::new(Method::Get, &path).header(ROOT_SET_HEADER, self.set.to_string());
        let answer = match world.feed.send(asked).await {
            Ok(answer) => answer,
            Err(HttpError::Status { status, .. }) => return Err(status),
            Err(error) => panic!("{error}"),
        };
        let root = &self.root;
        let feed = Feed::from_cbor(&answer.body).unwrap();
        for bytes in &feed.events {
            let event = Event::open(bytes, root).unwrap();
            assert_eq!((event.seq, event.previous), (self.seq + 1, self.head));
            (self.seq, self.head) = (event.seq, EventHash::of(bytes));
            self.changes.push(event.change);
        }
        let beat = Heartbeat::open_for(&feed.heartbeat, &NONCE, root).unwrap();
        assert_eq!((beat.seq, beat.head), (self.seq, self.head));
        self.evidence.events.extend(feed.events);
        self.evidence.heartbeat = feed.heartbeat;
        Ok(())
    }

    pub async fn show(&self, world: &World) -> Result<u16, HttpError> {
        let body = self.evidence.to_cbor();
        Ok(world.feed.post("/v1/trust/known", CBOR, body).await?.status)
    }

    /// The highest epochs that it knows of the group with the number 0 and of the tenant `default`.
    fn wide(&self) -> (u64, u64) {
        let group = self.changes.iter().filter_map(|change| match change {
            Change::Group(moved) if moved.number == 0 => Some(moved.epoch),
            _ => None,
        });
        let tenant = self.changes.iter().filter_map(|change| match change {
            Change::Tenant(tenant) if tenant.tenant.as_str() == "default" => Some(tenant.epoch),
            _ => None,
        });
        (group.max().unwrap_or(0), tenant.max().unwrap_or(0))
    }

    /// The highest epoch that it knows of a device.
    fn device(&self, name: &str) -> u64 {
        let epochs = self.changes.iter().filter_map(|change| match change {
            Change::Device(device) if device.device.as_str() == name => Some(device.epoch),
            _ => None,
        });
        epochs.max().unwrap_or(0)
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    // A store that others can read is not opened.
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// Takes a copy of the whole service while it stands.
pub async fn copied(world: World) -> World {
    if postgres::is_chosen() {
        return world.restart_between(async |dir| postgres::copy(dir).await).await;
    }
    world.restart_with(|dir| copy(&dir.join("provisioning"), &dir.join("copy"))).await
}

/// Puts the copy in the place of the service, an hour later.
pub async fn brought_back(world: World, also: impl FnOnce(&Path)) -> World {
    world.advance(3600);
    if postgres::is_chosen() {
        return world
            .restart_between(async |dir| {
                postgres::bring_back(dir).await;
                // As on another machine: what this one had acknowledged is not known there.
                fs::remove_file(dir.join("provisioning/seen")).unwrap();
                also(dir);
            })
            .await;
    }
    world
        .restart_with(|dir| {
            fs::remove_dir_all(dir.join("provisioning")).unwrap();
            copy(&dir.join("copy"), &dir.join("provisioning"));
            also(dir);
        })
        .await
}

async fn revoke(world: &World, device: &str) -> u64 {
    let path = format!("/v1/tenants/default/devices/{device}/revoke");
    world.post(&path, json!({})).await["epoch"].as_u64().unwrap()
}

fn serial(token: &[u8]) -> u64 {
    claims(token).serial.as_bytes().iter().fold(0, |sum, byte| sum * 256 + u64::from(*byte))
}

#[tokio::test]
async fn a_heartbeat_answers_the_nonce_that_was_sent() {
    let world = World::new().await;
    let mut reader = Keeper::new(&world).await;
    reader.poll(&world).await.unwrap();
    let root = reader.root.clone();
    // Without a nonce it is of the first kind.
    let answer = world.feed.get(&format!("/v1/trust/events?after={}", reader.seq)).await.unwrap();
    let feed = Feed::from_cbor(&answer.body).unwrap();
    assert!(Heartbeat::open(&feed.heartbeat, &root).is_ok());
    assert!(Heartbeat::open_answer(&feed.heartbeat, &root).is_err());
    for bad in ["nonce=00", "nonce=zz000000000000000000000000000000", "head=AAAA", "head=%"] {
        let outcome = world.feed.get(&format!("/v1/trust/events?after=0&{bad}")).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{bad}");
    }
}

#[tokio::test]
async fn what_a_copy_has_lost_is_shown_by_a_reader_and_revoked_again() {
    let world = World::new().await;
    let (a, _) = world.enrolled("a").await;
    let (b, _) = world.enrolled("b").await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    // The part that will be lost: a is revoked; b is revoked, reinstated, and has a token of its new epoch.
    revoke(&world, "a").await;
    let lost = revoke(&world, "b").await;
    world.post("/v1/tenants/default/devices/b/reinstate", json!({})).await;
    let alive = world.refresh(&b).await.unwrap().access_token;
    assert_eq!(claims(&alive).epochs.device, lost);
    reader.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    // No reader has told it yet, and it revokes b again: below what the reader knows.
    let again = revoke(&world, "b").await;
    assert_eq!(again, lost);
    assert!(world.refresh(&a).await.is_ok(), "it does not know that a was revoked");
    assert_eq!(reader.poll(&world).await, Err(409));
    assert_eq!(reader.show(&world).await.unwrap(), 204);
    // The data that the reader takes now are above those it had, and refuse every token of both.
    let next = Keeper::new(&world).await;
    assert!(next.seq > reader.seq, "{} {}", next.seq, reader.seq);
    assert!(next.device("a") > reader.device("a"));
    assert!(next.device("b") > claims(&alive).epochs.device);
    assert_eq!(world.refresh(&a).await, Err(RefusalCode::DeviceRevoked));
    // Later moves go on above that.
    let later = revoke(&world, "b").await;
    assert!(later > next.device("b"));
    let (_, fresh) = world.enrolled("c").await;
    assert!(serial(&fresh.access_token) > 1 << 32);
    // It is told to operators, once each, until one has looked.
    let list = world.get("/v1/trust/restored").await;
    assert_eq!(list["restorations"].as_array().unwrap().len(), 1);
    assert_eq!(list["restorations"][0]["why"], "reader");
    let found = list["items"].as_array().unwrap();
    let of = |name: &str| found.iter().find(|item| item["subject"] == name).cloned();
    assert_eq!(of("a").unwrap()["done"], "revoked");
    // The same evidence once more changes nothing, and the reader, still in its old place, is told to show it.
    assert_eq!(reader.poll(&world).await, Err(409));
    let before = Keeper::new(&world).await;
    assert_eq!(reader.show(&world).await.unwrap(), 204);
    assert_eq!(Keeper::new(&world).await.seq, before.seq);
    assert_eq!(world.get("/v1/trust/restored").await, list);
    world.operator.delete_any("/v1/trust/restored").await.unwrap();
    let empty = world.get("/v1/trust/restored").await;
    assert_eq!(empty, json!({ "restorations": [], "items": [], "next": null }));
    // A reader that follows the new line is served as ever, over a restart too.
    let mut next = before;
    let world = world.restart().await;
    revoke(&world, "c").await;
    next.poll(&world).await.unwrap();
    assert!(next.device("c") > 0);
}

/// As [`brought_back`], with the mark of a copy.
pub async fn brought_back_marked(world: World) -> World {
    let at = UnixSeconds::new(1);
    if !postgres::is_chosen() {
        let mark = |dir: &Path| mark_restored(&dir.join("provisioning").join("store"), at).unwrap();
        return brought_back(world, mark).await;
    }
    world.advance(3600);
    let back = async |dir: &Path| {
        postgres::bring_back(dir).await;
        mark_restored_on(&postgres::of(dir).await.unwrap(), at).await.unwrap();
    };
    world.restart_between(back).await
}

/// The second time it knows nothing of the first, and no reader has come yet.
#[tokio::test]
async fn a_copy_that_is_brought_back_twice_gives_no_number_twice() {
    let mut world = copied(World::new().await).await;
    let (mut serials, mut groups, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..2 {
        world = brought_back_marked(world).await;
        for number in 0..3 {
            let (_, token) = world.enrolled(&format!("d-{round}-{number}")).await;
            serials.push(serial(&token.access_token));
            let name = json!({ "group": format!("g-{round}-{number}") });
            let group = world.post("/v1/tenants/default/groups", name).await;
            groups.push(group["number"].as_u64().unwrap());
        }
        lines.push(Keeper::new(&world).await);
    }
    assert!(serials.is_sorted_by(|one, next| one < next), "{serials:?}");
    assert!(groups.is_sorted_by(|one, next| one < next), "{groups:?}");
    // A reader of the first time is told apart.
    assert_eq!(lines[0].poll(&world).await, Err(409));
}

#[tokio::test]
async fn a_marked_copy_jumps_before_it_serves_anybody() {
    let world = World::new().await;
    let (_, first) = world.enrolled("a").await;
    let (b, _) = world.enrolled("b").await;
    revoke(&world, "b").await;
    let mut behind = Keeper::new(&world).await;
    let world = copied(world).await;
    let mut beyond = Keeper::new(&world).await;
    world.post("/v1/tenants/default/groups", json!({ "group": "lost" })).await;
    revoke(&world, "a").await;
    beyond.poll(&world).await.unwrap();
    // Reinstated in the lost part: its tokens of there must end all the same.
    world.post("/v1/tenants/default/devices/b/reinstate", json!({})).await;
    let alive = world.refresh(&b).await.unwrap().access_token;
    let world = brought_back_marked(world).await;
    let fresh = Keeper::new(&world).await;
    assert!(fresh.seq > beyond.seq + (1 << 31));
    assert!(fresh.device("b") > claims(&alive).epochs.device);
    assert_eq!(world.refresh(&b).await, Err(RefusalCode::DeviceRevoked));
    let (_, next) = world.enrolled("c").await;
    assert!(serial(&next.access_token) > serial(&first.access_token) + (1 << 31));
    let group = world.post("/v1/tenants/default/groups", json!({ "group": "new" })).await;
    assert!(group["number"].as_u64().unwrap() > 1 << 15, "{group}");
    // A reader that knows nothing of the lost part takes the snapshot; one that does shows it first.
    assert_eq!(behind.poll(&world).await, Err(410));
    assert_eq!(beyond.poll(&world).await, Err(409));
    assert_eq!(beyond.show(&world).await.unwrap(), 204);
    assert!(Keeper::new(&world).await.device("a") > beyond.device("a"));
    let list = world.get("/v1/trust/restored").await;
    assert_eq!(list["restorations"].as_array().unwrap().len(), 1, "one jump is enough: {list}");
    assert_eq!(list["restorations"][0]["why"], "copy");
    // The next start does not jump again.
    let seq = Keeper::new(&world).await.seq;
    let world = world.restart().await;
    assert_eq!(Keeper::new(&world).await.seq, seq);
}

#[tokio::test]
async fn nothing_is_acknowledged_below_what_a_reader_says_it_has() {
    let world = World::new().await;
    world.enrolled("a").await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    for _ in 0..5 {
        revoke(&world, "a").await;
    }
    reader.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    assert_eq!(reader.poll(&world).await, Err(409));
    // It has shown nothing yet: the answer now is in a line that it can take, and above all that it can have.
    let epoch = revoke(&world, "a").await;
    let next = Keeper::new(&world).await;
    assert!(next.seq > reader.seq);
    assert!(epoch > reader.device("a"), "{epoch} {}", reader.device("a"));
    assert_eq!(next.device("a"), epoch);
    assert_eq!(world.get("/v1/trust/restored").await["restorations"][0]["why"], "claim");
    // A reader that shows nothing does not make it jump again and again.
    let far = format!("after={}&head={}", next.seq + 5, base64url(&[1; 32]));
    let claimed = world.feed.get(&format!("/v1/trust/events?{far}")).await;
    assert_eq!(problem(claimed).0, 409);
    revoke(&world, "a").await;
    let list = world.get("/v1/trust/restored").await;
    assert_eq!(list["restorations"].as_array().unwrap().len(), 1, "{list}");
}

/// A reader keeps the higher epoch: one that was computed before the jump would end no token of the lost part.
#[tokio::test]
async fn the_epoch_of_a_group_is_above_what_a_reader_holds_as_soon_as_it_says_so() {
    let world = World::new().await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    let path = "/v1/tenants/default/groups/default/revoke";
    for _ in 0..5 {
        world.post(path, json!({})).await;
    }
    reader.poll(&world).await.unwrap();
    assert_eq!(reader.wide().0, 5);
    let world = brought_back(world, |_| {}).await;
    assert_eq!(reader.poll(&world).await, Err(409));
    let epoch = world.post(path, json!({})).await["epoch"].as_u64().unwrap();
    assert!(epoch > reader.wide().0, "{epoch}");
    assert_eq!(Keeper::new(&world).await.wide().0, epoch);
}

/// The jump comes first and is a write of its own: the tenant is made behind it.
#[tokio::test]
async fn a_tenant_is_made_while_a_reader_says_that_it_is_beyond() {
    let world = World::new().await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    world.post("/v1/tenants/default/groups/default/revoke", json!({})).await;
    reader.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    assert_eq!(reader.poll(&world).await, Err(409));
    let made = world.post("/v1/tenants", json!({ "tenant": "other" })).await;
    assert!(made["epoch"].as_u64().unwrap() > reader.wide().1, "{made}");
    let again = world.operator.post_json("/v1/tenants", &json!({ "tenant": "other" })).await;
    assert_eq!(problem(again), (409, "already_exists".to_owned()));
    if !postgres::is_chosen() {
        let seeds = std::fs::read_dir(world.dir.path().join("provisioning/keys")).unwrap();
        assert_eq!(seeds.count(), 5, "those of the root and of two tenants");
    }
}

#[tokio::test]
async fn a_service_that_has_gone_on_past_its_readers_is_told_apart_too() {
    let world = World::new().await;
    world.enrolled("a").await;
    world.enrolled("b").await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    revoke(&world, "a").await;
    reader.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    for _ in 0..3 {
        revoke(&world, "b").await;
    }
    assert_eq!(reader.poll(&world).await, Err(409));
    assert_eq!(reader.show(&world).await.unwrap(), 204);
    let next = Keeper::new(&world).await;
    assert!(next.device("a") > reader.device("a") && next.device("b") > 3);
}

/// A revocation that was answered before the service knew of the lost part ends every token of it, whatever the clock of
/// the lost part said.
#[tokio::test]
async fn what_was_said_unknowing_is_lifted_also_when_the_lost_part_had_a_clock_that_was_ahead() {
    let world = World::new().await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    let right = world.now();
    let path = "/v1/tenants/default/groups/default/revoke";
    world.advance(7200);
    for _ in 0..2 {
        world.post(path, json!({})).await;
    }
    reader.poll(&world).await.unwrap();
    world.clock.set_unix(UnixSeconds::new(right.get() - 3540));
    let world = brought_back(world, |_| {}).await;
    assert_eq!(world.now(), right.plus(60));
    assert_eq!(world.post(path, json!({})).await["epoch"], 1);
    assert_eq!(reader.poll(&world).await, Err(409));
    assert_eq!(reader.show(&world).await.unwrap(), 204);
    let (lost, told) = (reader.wide().0, Keeper::new(&world).await.wide().0);
    assert!(told > lost, "{told} {lost}");
}

/// An event said unknowing is lifted also when sweeps go round between the jump and the evidence.
#[tokio::test]
async fn a_sweep_behind_a_jump_takes_nothing_that_evidence_needs() {
    let world = World::new().await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    let path = "/v1/tenants/default/groups/default/revoke";
    assert_eq!(world.post(path, json!({})).await["epoch"], 1);
    reader.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    assert_eq!(world.post(path, json!({})).await["epoch"], 1);
    let every = std::time::Duration::from_millis(5);
    let world = world.restart_as(|config| config.sweep_every = every).await;
    assert_eq!(reader.poll(&world).await, Err(409));
    // A publication jumps.
    world.post("/v1/tenants", json!({ "tenant": "other" })).await;
    for gone in 1..=2 {
        world.claim(json!({ "expires_in": 10 })).await;
        world.advance(10 + 40 * 24 * 3600);
        crate::sweep::swept(&world, "claims", gone).await;
    }
    assert_eq!(reader.show(&world).await.unwrap(), 204);
    let (lost, told) = (reader.wide().0, Keeper::new(&world).await.wide().0);
    assert!(told > lost, "{told} {lost}");
}

/// The audit log without its heads, which the service signs from time to time.
async fn acts(world: &World) -> Vec<Value> {
    let log = world.get("/v1/audit?limit=1000").await;
    let entries = log["items"].as_array().unwrap().iter();
    entries.filter(|entry| entry["action"] != "audit.head").cloned().collect()
}

/// A reader of the lost part may show it again and again, as an old copy of a verifier does: its first time lifts, and
/// subjects that were revoked, reinstated or got other settings since keep the tokens that they have.
#[tokio::test]
async fn evidence_that_is_shown_again_ends_no_token() {
    let world = World::new().await;
    world.enrolled("a").await;
    let tenant = |verb: &str| format!("/v1/tenants/default/{verb}");
    world.post(&tenant("revoke"), json!({})).await;
    world.post(&tenant("reinstate"), json!({})).await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    world.post("/v1/tenants/default/groups/default/revoke", json!({})).await;
    reader.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    assert_eq!(reader.poll(&world).await, Err(409));
    assert_eq!(reader.show(&world).await.unwrap(), 204);
    assert_eq!(Keeper::new(&world).await.wide().1, 1);
    let again = async |moved: &str| {
        let before = Keeper::new(&world).await;
        let entries = acts(&world).await;
        assert_eq!(reader.show(&world).await.unwrap(), 204);
        let after = Keeper::new(&world).await;
        assert_eq!((after.wide(), after.seq), (before.wide(), before.seq), "{moved}");
        assert_eq!(acts(&world).await, entries, "{moved}");
    };
    again("nothing").await;
    world.post(&tenant("reinstate"), json!({})).await;
    again("a tenant that was reinstated").await;
    for settings in [
        json!({ "staleness": { "telemetry": 7200, "command": 7200, "actuation": 120 } }),
        json!({ "bearer": true }),
    ] {
        world.operator.put_over("/v1/tenants/default", &settings).await.unwrap();
        again("a tenant with other settings").await;
    }
    for path in ["devices/a/revoke", "devices/a/reinstate", "groups/default/revoke"] {
        world.post(&tenant(path), json!({})).await;
        again(path).await;
    }
    world.post(&tenant("revoke"), json!({})).await;
    again("a tenant that was revoked").await;
    world.post(&tenant("reinstate"), json!({})).await;
    again("a tenant that was revoked and reinstated").await;
}

/// A reader that takes a snapshot says where it stands too, so that no snapshot hides from the service what it has lost.
#[tokio::test]
async fn a_snapshot_is_refused_to_a_reader_that_knows_more() {
    let world = World::new().await;
    world.enrolled("a").await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    revoke(&world, "a").await;
    reader.poll(&world).await.unwrap();
    let (after, head) = (reader.seq, base64url(reader.head.as_bytes()));
    let stands = format!("/v1/trust/snapshot?after={after}&head={head}");
    assert_eq!(world.feed.get(&stands).await.unwrap().status, 200);
    let world = brought_back(world, |_| {}).await;
    assert_eq!(problem(world.feed.get(&stands).await).0, 409);
    // A publication goes where that reader hears of it.
    world.post("/v1/tenants", json!({ "tenant": "other" })).await;
    assert!(Keeper::new(&world).await.seq > after);
    assert_eq!(problem(world.feed.get(&stands).await).0, 409, "it has not shown it yet");
    assert_eq!(reader.show(&world).await.unwrap(), 204);
    assert!(Keeper::new(&world).await.device("a") > 0);
}

/// A revocation counts also when the clock of the lost part was behind by more than the life of a token.
#[tokio::test]
async fn a_revocation_of_a_lost_part_with_a_clock_that_was_behind_is_taken_in() {
    let world = World::new().await;
    world.enrolled("a").await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    let right = world.now();
    world.clock.set_unix(UnixSeconds::new(right.get() - 40 * 24 * 3600));
    // It is believed once it has stayed.
    for _ in 0..2 {
        let _ = world.operator.get("/readyz").await;
        world.advance(60);
    }
    revoke(&world, "a").await;
    reader.poll(&world).await.unwrap();
    world.clock.set_unix(right);
    let world = brought_back(world, |_| {}).await;
    assert_eq!(reader.poll(&world).await, Err(409));
    assert_eq!(reader.show(&world).await.unwrap(), 204);
    let shown = world.get("/v1/tenants/default/devices/a").await;
    assert_eq!(shown["state"], "revoked", "{shown}");
    assert!(Keeper::new(&world).await.device("a") > reader.device("a"));
}

#[tokio::test]
async fn what_the_root_key_did_not_sign_moves_nothing() {
    let world = World::new().await;
    world.enrolled("a").await;
    revoke(&world, "a").await;
    world.post("/v1/tenants/default/devices/a/reinstate", json!({})).await;
    let mut reader = Keeper::new(&world).await;
    reader.poll(&world).await.unwrap();
    let before = reader.seq;
    // A claim that nothing backs, from as far as numbers go.
    let far = format!("after={}&head={}", u64::MAX, base64url(&[1; 32]));
    let claimed = world.feed.get(&format!("/v1/trust/events?{far}")).await;
    assert_eq!(problem(claimed).0, 409);
    let stranger = SecretKey::from_seed(&[3; 32]);
    let beat = Heartbeat { seq: 1 << 40, head: EventHash::of(b"x"), time: world.now() };
    let forged =
        Evidence { heartbeat: beat.answer(&NONCE, &stranger).unwrap(), ..reader.evidence.clone() };
    for body in [forged.to_cbor(), Evidence::default().to_cbor(), b"rubbish".to_vec()] {
        let outcome = world.feed.post("/v1/trust/known", CBOR, body).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()));
    }
    // Known data that are shown move nothing either: a is served.
    assert_eq!(reader.show(&world).await.unwrap(), 204);
    let shown = world.get("/v1/tenants/default/devices/a").await;
    assert_eq!(shown["state"], "active", "{shown}");
    world.post("/v1/tenants", json!({ "tenant": "other" })).await;
    let after = Keeper::new(&world).await;
    assert_eq!(after.seq, before + 3, "no jump");
    // Only readers show, only security looks.
    let outcome = world.operator.post("/v1/trust/known", CBOR, reader.evidence.to_cbor()).await;
    assert_eq!(problem(outcome), (403, "operator_not_allowed".to_owned()));
    let outcome = world.feed.get("/v1/trust/restored").await;
    assert_eq!(problem(outcome), (403, "operator_not_allowed".to_owned()));
}

/// A number that no jump reaches hides no true one.
#[tokio::test]
async fn a_claim_from_as_far_as_numbers_go_does_not_hide_that_of_an_honest_reader() {
    let world = World::new().await;
    world.enrolled("a").await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    for _ in 0..5 {
        revoke(&world, "a").await;
    }
    reader.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    let far = format!("/v1/trust/events?after={}&head={}", u64::MAX, base64url(&[1; 32]));
    assert_eq!(problem(world.feed.get(&far).await).0, 409);
    assert_eq!(reader.poll(&world).await, Err(409));
    assert_eq!(problem(world.feed.get(&far).await).0, 409);
    assert!(revoke(&world, "a").await > reader.device("a"));
    assert_eq!(world.get("/v1/trust/restored").await["restorations"][0]["why"], "claim");
}

#[tokio::test]
async fn budgets_of_staleness_are_set_by_tenant_and_told_in_the_feed() {
    let world = World::new().await;
    let mut reader = Keeper::new(&world).await;
    let shown = world.get("/v1/tenants/default").await;
    let safe = json!({ "telemetry": 86_400, "command": 86_400, "actuation": 600 });
    assert_eq!(shown["staleness"], safe);
    let wanted = json!({ "telemetry": 3600, "command": 1800, "actuation": 60 });
    let set = world.operator.put_over("/v1/tenants/default", &json!({ "staleness": wanted })).await;
    let set: serde_json::Value = set.unwrap().json().unwrap();
    assert_eq!(set["staleness"], wanted);
    reader.poll(&world).await.unwrap();
    let Some(Change::Tenant(tenant)) = reader.changes.last() else { panic!() };
    let told = tenant.staleness;
    assert_eq!((told.telemetry, told.command, told.actuation), (3600, 1800, 60));
    for bad in [
        json!({ "telemetry": 59, "command": 1800, "actuation": 60 }),
        json!({ "telemetry": 2_592_001, "command": 1800, "actuation": 60 }),
        json!({ "telemetry": 3600 }),
    ] {
        let outcome =
            world.operator.put_over("/v1/tenants/default", &json!({ "staleness": bad })).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()));
    }
}

async fn revoke_token(world: &World, token: &[u8]) {
    let body = json!({ "token_hash": base64url(TokenHash::of(token).as_bytes()) });
    world.post("/v1/tenants/default/tokens/revoke", body).await;
}

/// Evidence is taken once; the same once more moves nothing.
async fn shown(world: &World, reader: &Keeper) -> Keeper {
    assert_eq!(reader.show(world).await.unwrap(), 204);
    let next = Keeper::new(world).await;
    assert_eq!(reader.show(world).await.unwrap(), 204);
    assert_eq!(Keeper::new(world).await.seq, next.seq);
    next
}

/// A revocation that a reader shows is never refused for want of room: more ends than was shown.
#[tokio::test]
async fn what_a_reader_shows_ends_with_its_group_when_there_is_no_room_for_it() {
    let world = World::new().await;
    let (a, _) = world.enrolled("a").await;
    let (b, _) = world.enrolled("b").await;
    let (c, token) = world.enrolled("c").await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    revoke(&world, "a").await;
    revoke(&world, "b").await;
    revoke_token(&world, &token.access_token).await;
    reader.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    let world = world
        .restart_as(|config| {
            config.trust.devices = 1;
            config.trust.tokens = 0;
        })
        .await;
    assert_eq!(reader.poll(&world).await, Err(409));
    let next = shown(&world, &reader).await;
    let epochs = claims(&token.access_token).epochs;
    assert!(next.device("a") > reader.device("a"));
    assert_eq!(next.device("b"), 0, "there is room for one");
    assert!(next.wide().0 > epochs.group, "its group ended in its place, and the token of c too");
    assert_eq!(next.wide().1, epochs.tenant);
    for device in [&a, &b] {
        assert_eq!(world.refresh(device).await, Err(RefusalCode::DeviceRevoked));
    }
    world.refresh(&c).await.unwrap();
}

#[tokio::test]
async fn a_token_that_a_reader_shows_ends_with_its_device_when_there_is_no_room_for_it() {
    let world = World::new().await;
    let (a, token) = world.enrolled("a").await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    revoke_token(&world, &token.access_token).await;
    reader.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    let world = world.restart_as(|config| config.trust.tokens = 0).await;
    assert_eq!(reader.poll(&world).await, Err(409));
    let next = shown(&world, &reader).await;
    let epochs = claims(&token.access_token).epochs;
    assert!(next.device("a") > epochs.device);
    assert_eq!(next.wide(), (epochs.group, epochs.tenant));
    let fresh = world.refresh(&a).await.unwrap();
    assert_eq!(claims(&fresh.access_token).epochs.device, next.device("a"));
}

/// Its record is new and above what was lost, and new verifiers know nothing of the name: they must be told.
#[tokio::test]
async fn tokens_of_a_lost_device_end_also_when_another_has_taken_its_name() {
    let world = World::new().await;
    world.enrolled("a").await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    let (_, token) = world.enrolled("lost").await;
    revoke(&world, "lost").await;
    reader.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    assert_eq!(reader.poll(&world).await, Err(409));
    revoke(&world, "a").await;
    let (_, fresh) = world.enrolled("lost").await;
    assert!(claims(&fresh.access_token).epochs.device > reader.device("lost"));
    let next = shown(&world, &reader).await;
    assert!(next.device("lost") > claims(&token.access_token).epochs.device);
    assert!(next.device("lost") >= reader.device("lost"));
}

/// Which group it had is lost with it.
#[tokio::test]
async fn a_device_of_the_lost_part_ends_with_its_tenant_when_there_is_no_room_for_it() {
    let world = World::new().await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    let (_, token) = world.enrolled("lost").await;
    revoke(&world, "lost").await;
    reader.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    let world = world.restart_as(|config| config.trust.devices = 0).await;
    assert_eq!(reader.poll(&world).await, Err(409));
    let next = shown(&world, &reader).await;
    assert_eq!(next.device("lost"), 0);
    assert!(next.wide().1 > claims(&token.access_token).epochs.tenant);
    let (_, fresh) = world.enrolled("b").await;
    assert_eq!(claims(&fresh.access_token).epochs.tenant, next.wide().1);
}

/// A clock that is behind dates no revocation so that it goes before the last token does.
#[tokio::test]
async fn what_a_reader_shows_is_kept_as_long_as_tokens_live_also_by_a_clock_that_is_behind() {
    let world = World::new().await;
    world.enrolled("a").await;
    let mut reader = Keeper::new(&world).await;
    let world = copied(world).await;
    revoke(&world, "a").await;
    reader.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    world.advance(7200);
    assert!(world.stranger.get("/readyz").await.is_ok(), "it has lived through two hours");
    let before = world.now();
    world.clock.set_unix(before.minus(3600));
    for _ in 0..40 {
        world.advance(1);
        let _ = world.stranger.get("/readyz").await;
    }
    assert_eq!(reader.show(&world).await.unwrap(), 204);
    let next = Keeper::new(&world).await;
    let dated = next.changes.iter().find_map(|change| match change {
        Change::Device(moved) => Some(moved.at),
        _ => None,
    });
    assert!(dated.unwrap() >= before, "{dated:?} {before:?}");
}
