//! Several processes on one database: any may answer any request, and any may stop at any time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};
use tempfile::TempDir;
use tessera_provisioning::{DatabaseSettings, ProvisioningConfig, ProvisioningHandle, StartError};
use tessera_runtime::clock::ManualClock;
use tessera_runtime::http::{HttpClient, HttpLimits};
use tessera_runtime::secret::{own_folder, read_secret_text, write_secret_file};
use tessera_runtime::stop::Stop;
use tessera_token::messages::{EnrolRequest, TokenAnswer, TokenKind};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Event, Feed};

use crate::postgres::{settings, url_of};
use crate::rotation;
use crate::world::{try_start, Device, World, START};

/// Two processes with folders of their own.
pub struct Two {
    pub one: World,
    pub other: World,
}

/// A process of the database of `first`, with the key of it.
async fn join(
    first: &World,
    url: &str,
    also: fn(&mut ProvisioningConfig),
) -> (TempDir, ProvisioningHandle, Stop) {
    let dir = TempDir::new().unwrap();
    copy_key(first, dir.path());
    let joined = settings(url.to_owned());
    let change = |config: &mut ProvisioningConfig| {
        config.database = Some(joined);
        also(config);
    };
    let (handle, stop) = try_start(dir.path(), &first.clock, change).await.unwrap();
    (dir, handle, stop)
}

fn copy_key(first: &World, to: &std::path::Path) {
    let own = to.join("provisioning");
    own_folder(to).unwrap();
    own_folder(&own).unwrap();
    let from = first.dir.path().join("provisioning/database.key");
    std::fs::copy(from, own.join("database.key")).unwrap();
}

/// `None`, and a word, where PostgreSQL is not installed.
async fn two() -> Option<Two> {
    two_with(|_| {}).await
}

pub async fn two_with(also: fn(&mut ProvisioningConfig)) -> Option<Two> {
    let dir = TempDir::new().unwrap();
    let url = url_of(dir.path()).await?;
    let clock = ManualClock::at(UnixSeconds::new(START));
    let database = settings(url.clone());
    let change = |config: &mut ProvisioningConfig| {
        config.database = Some(database);
        also(config);
    };
    let (handle, stop) = try_start(dir.path(), &clock, change).await.unwrap();
    let one = World::around(dir, clock, handle, stop);
    let (dir, handle, stop) = join(&one, &url, also).await;
    // Its folder has no tokens: it uses those of the first.
    for token in ["operator.token", "feed.token"] {
        std::fs::copy(one.dir.path().join(token), dir.path().join(token)).unwrap();
    }
    let other = World::around(dir, Arc::clone(&one.clock), handle, stop);
    Some(Two { one, other })
}

async fn enrol(
    at: &World,
    device: &Device,
    claim: &str,
    nonce: &[u8],
) -> Result<TokenAnswer, RefusalCode> {
    let request = EnrolRequest::sign(&device.key, &device.tenant, &device.id, claim, nonce);
    at.ask("/v1/enrol", request.to_cbor()).await
}

/// The numbers of all events.
pub async fn events_of(feed: &HttpClient) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        let path = format!("/v1/trust/events?after={}", numbers.last().unwrap_or(&0));
        let answer = feed.get(&path).await.unwrap();
        let events = Feed::from_cbor(&answer.body).unwrap().events;
        if events.is_empty() {
            return numbers;
        }
        numbers.extend(events.iter().map(|event| Event::unverified(event).unwrap().seq));
    }
}

/// The numbers of all entries of the audit log, in their order.
pub async fn entries_of(operator: &HttpClient) -> Vec<u64> {
    let (mut numbers, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/audit?limit=200{cursor}");
        let page: Value = operator.get(&path).await.unwrap().json().unwrap();
        let items = page["items"].as_array().unwrap();
        numbers.extend(items.iter().map(|entry| entry["seq"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    numbers.sort_unstable();
    numbers
}

/// Whether these are 1, 2, 3 …
pub fn is_one_line(numbers: &[u64]) -> bool {
    numbers.iter().copied().eq(1..=numbers.len() as u64)
}

/// Both look at the keys all the time.
#[tokio::test]
async fn a_key_whose_time_is_over_is_rotated_once() {
    let Some(Two { one, other }) = two_with(rotation::quick).await else { return };
    let before = events_of(&one.feed).await.len();
    one.advance(11 * 24 * 3600);
    rotation::swept(&one).await;
    rotation::swept(&other).await;
    let keys = one.get("/v1/tenants/default/keys").await;
    let count = |state: &str| {
        keys["items"].as_array().unwrap().iter().filter(|key| key["state"] == state).count()
    };
    assert_eq!((count("active"), count("next"), count("retiring")), (1, 1, 1));
    assert_eq!(events_of(&other.feed).await.len(), before + 3);
}

#[tokio::test]
async fn what_one_has_acknowledged_the_other_knows() {
    let Some(Two { one, other }) = two().await else { return };
    let claim = one.claim(json!({})).await;
    let device = Device::new("d-1");
    // A nonce of one, shown to the other.
    let nonce = one.nonce().await;
    let token = enrol(&other, &device, &claim, &nonce).await.unwrap();
    assert!(!token.access_token.is_empty());
    one.refresh(&device).await.unwrap();
    other.refresh(&device).await.unwrap();
    // The same request gets the same answer, whichever is asked.
    let request = one.request(&device, TokenKind::Key).to_cbor();
    let first = one.ask("/v1/token", request.clone()).await.unwrap();
    let again = other.ask("/v1/token", request).await.unwrap();
    assert_eq!(first.access_token, again.access_token);
    one.post("/v1/tenants/default/devices/d-1/revoke", json!({})).await;
    assert_eq!(other.refresh(&device).await, Err(RefusalCode::DeviceRevoked));
    assert_eq!(other.get("/v1/tenants/default/devices/d-1").await["state"], "revoked");
}

#[tokio::test]
async fn a_nonce_is_used_up_for_both() {
    let Some(Two { one, other }) = two().await else { return };
    let (first, second) = (one.claim(json!({})).await, one.claim(json!({})).await);
    let nonce = one.nonce().await;
    let device = Device::new("n-1");
    enrol(&one, &device, &first, &nonce).await.unwrap();
    let late = enrol(&other, &Device::new("n-2"), &second, &nonce).await;
    assert_eq!(late.err(), Some(RefusalCode::NonceInvalid));
}

/// Numbers of the feed, serials and the audit log stay single, and what is numbered one by one has no gap.
#[tokio::test]
async fn changes_of_both_at_once_make_one_line() {
    let Some(Two { one, other }) = two().await else { return };
    let create = async |world: &World, name: String| {
        world.post("/v1/tenants", json!({ "tenant": name, "bearer": false })).await;
        let path = format!("/v1/tenants/{name}/groups");
        for group in 0..3 {
            world.post(&path, json!({ "group": format!("g{group}") })).await;
            world.post(&format!("{path}/g{group}/revoke"), json!({})).await;
        }
        world.post(&format!("/v1/tenants/{name}/keys/rotate"), json!({})).await;
    };
    let all = (0..8).map(|number| {
        let world = if number % 2 == 0 { &one } else { &other };
        create(world, format!("t{number}"))
    });
    futures_util::future::join_all(all).await;
    // Each tenant: itself and two keys; a group moved three times; a rotation tells of three keys.
    let events = events_of(&one.feed).await;
    assert!(is_one_line(&events), "{events:?}");
    assert_eq!(events, events_of(&other.feed).await);
    let entries = entries_of(&other.operator).await;
    assert!(is_one_line(&entries) && entries.len() >= 8 * 8, "{entries:?}");
}

/// A reader that waits at one is woken by what the other publishes.
#[tokio::test]
async fn a_reader_of_one_hears_of_the_other() {
    let Some(Two { one, other }) = two().await else { return };
    let last = *events_of(&one.feed).await.last().unwrap();
    let path = format!("/v1/trust/events?after={last}&wait=60");
    let poll = other.feed.get(&path);
    let change = one.post("/v1/tenants", json!({ "tenant": "late", "bearer": false }));
    let both = async { tokio::join!(poll, change) };
    let (heard, _) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    assert!(!Feed::from_cbor(&heard.unwrap().body).unwrap().events.is_empty());
}

#[tokio::test]
async fn a_process_without_the_key_of_the_database_does_not_start() {
    let Some(Two { one, .. }) = two().await else { return };
    let url = url_of(one.dir.path()).await.unwrap();
    let start = async |dir: &TempDir, url: &str| {
        let database = settings(url.to_owned());
        try_start(dir.path(), &one.clock, |config| config.database = Some(database)).await.err()
    };
    let dir = TempDir::new().unwrap();
    assert!(matches!(start(&dir, &url).await, Some(StartError::DatabaseKeyMissing(_))));
    copy_key(&one, dir.path());
    let key = dir.path().join("provisioning/database.key");
    std::fs::write(&key, [7; 32]).unwrap();
    assert!(matches!(start(&dir, &url).await, Some(StartError::DatabaseKey)));
    // A folder of a service, and a database that has none.
    let empty = url_of(dir.path()).await.unwrap();
    assert_eq!(one.stop().await, Vec::<String>::new());
    let told = start(&one.dir, &empty).await;
    assert!(matches!(told, Some(StartError::DatabaseEmpty(_))), "{told:?}");
}

/// Of processes that find an empty database at once, one founds the service.
#[tokio::test]
async fn of_many_first_starts_one_founds_the_service() {
    let dirs: Vec<TempDir> = (0..4).map(|_| TempDir::new().unwrap()).collect();
    let Some(url) = url_of(dirs[0].path()).await else { return };
    let clock = ManualClock::at(UnixSeconds::new(START));
    for dir in &dirs {
        let own = dir.path().join("provisioning");
        own_folder(dir.path()).unwrap();
        own_folder(&own).unwrap();
        write_secret_file(&own.join("database.key"), &[5; 32]).unwrap();
    }
    let starts = dirs.iter().map(|dir| {
        let database: DatabaseSettings = settings(url.clone());
        try_start(dir.path(), &clock, |config| config.database = Some(database))
    });
    let started: Vec<_> = futures_util::future::join_all(starts).await;
    let handles: Vec<_> = started.into_iter().map(Result::unwrap).collect();
    let founded = handles.iter().filter(|(handle, _)| handle.first_start().is_some()).count();
    assert_eq!(founded, 1);
    let roots: BTreeSet<String> =
        handles.iter().map(|(handle, _)| format!("{:?}", handle.root_thumbprint())).collect();
    assert_eq!(roots.len(), 1);
    let tokens: Vec<_> =
        dirs.iter().filter(|dir| dir.path().join("operator.token").exists()).collect();
    assert_eq!(tokens.len(), 1, "the others have no token that opens nothing");
    let token = read_secret_text(&tokens[0].path().join("operator.token")).unwrap();
    for (handle, _) in &handles {
        let url = format!("http://{}", handle.addr());
        let client = HttpClient::new(url, Some(token.clone()), HttpLimits::default()).unwrap();
        client.get("/v1/tenants").await.unwrap();
    }
}

/// A dump from before is not gone on with in silence.
#[tokio::test]
async fn a_database_that_went_back_is_refused_until_it_is_marked() {
    let Some(Two { one, other }) = two().await else { return };
    assert_eq!(other.stop().await, Vec::<String>::new());
    assert_eq!(one.stop().await, Vec::<String>::new());
    let path = one.dir.path().to_owned();
    let dir = path.as_path();
    crate::postgres::copy(dir).await;
    let back = settings(url_of(dir).await.unwrap());
    let one = one.restart_as(|config| config.database = Some(back)).await;
    one.post("/v1/tenants", json!({ "tenant": "lost", "bearer": false })).await;
    assert_eq!(one.stop().await, Vec::<String>::new());
    crate::postgres::bring_back(dir).await;
    let back = settings(url_of(dir).await.unwrap());
    let start = async |accept: bool| {
        let back = back.clone();
        let change = |config: &mut tessera_provisioning::ProvisioningConfig| {
            config.database = Some(back);
            config.accept_loss = accept;
        };
        try_start(dir, &one.clock, change).await
    };
    let told = start(false).await.err().unwrap().to_string();
    assert!(told.contains("older") && told.contains("mark-restored"), "{told}");
    let (handle, _) = start(true).await.unwrap();
    let told = one.operator.get("/v1/trust/restored").await;
    assert!(told.is_err(), "the former process is gone");
    let url = format!("http://{}", handle.addr());
    let token = read_secret_text(&dir.join("operator.token")).unwrap();
    let client = HttpClient::new(url, Some(token), HttpLimits::default()).unwrap();
    let told: Value = client.get("/v1/trust/restored").await.unwrap().json().unwrap();
    assert_eq!(told["restorations"][0]["why"], "copy", "{told}");
}
