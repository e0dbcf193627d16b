//! Devices are found, changed and deleted.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpError, Method, Request, JSON};
use tessera_token::limits::{CLOCK_SKEW_SECONDS, TOKEN_LIFE_SECONDS};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Permission;

use crate::enrol::claims;
use crate::feed::Reader;
use crate::world::{problem, Device, Forced, World};

const DEVICES: &str = "/v1/tenants/default/devices";

async fn change(world: &World, device: &str, body: Value) -> Result<Value, HttpError> {
    let path = format!("{DEVICES}/{device}");
    let request = Request::new(Method::Patch, &path)
        .header("if-match", "*")
        .body(JSON, body.to_string().into_bytes());
    Ok(world.operator.send(request).await?.json().unwrap())
}

async fn delete(world: &World, device: &str, query: &str) -> Value {
    world.operator.delete_any(&format!("{DEVICES}/{device}{query}")).await.unwrap().json().unwrap()
}

/// The ids of all pages of this query, and how many pages there were.
async fn found(world: &World, query: &str) -> (Vec<String>, usize) {
    let (mut ids, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = world.get(&format!("{DEVICES}?limit=3{query}{cursor}")).await;
        let items = page["items"].as_array().unwrap();
        ids.extend(items.iter().map(|item| item["device"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (ids, pages),
        }
    }
}

#[tokio::test]
async fn devices_are_found_by_prefix_group_role_and_state() {
    let world = World::new().await;
    world.post("/v1/tenants/default/groups", json!({ "group": "hall" })).await;
    for number in 0..10 {
        let group = if number % 2 == 0 { "hall" } else { "default" };
        let role = if number % 5 == 0 { "backend" } else { "sensor" };
        let claim = world.claim(json!({ "group": group, "role": role })).await;
        let device = Device::new(&format!("pump-{number}"));
        world.enrol(&device, &claim).await.unwrap();
    }
    for name in ["pump", "pumq", "a", "z"] {
        world.enrolled(name).await;
    }
    for number in [2, 3] {
        world.post(&format!("{DEVICES}/pump-{number}/revoke"), json!({})).await;
    }
    let ids = async |query: &str| found(&world, query).await.0;
    let pumps: Vec<String> = (0..10).map(|number| format!("pump-{number}")).collect();
    assert_eq!(ids("&prefix=pump-").await, pumps);
    assert_eq!(ids("&prefix=pump").await[0], "pump", "the prefix itself is an id");
    assert_eq!(ids("&prefix=pump").await.len(), 11);
    assert_eq!(ids("&group=hall").await, ["pump-0", "pump-2", "pump-4", "pump-6", "pump-8"]);
    assert_eq!(ids("&role=backend").await, ["pump-0", "pump-5"]);
    assert_eq!(ids("&state=revoked").await, ["pump-2", "pump-3"]);
    assert_eq!(ids("&state=active&group=hall&prefix=pump-").await.len(), 4);
    assert_eq!(ids("&role=sensor&group=hall&state=revoked&prefix=p").await, ["pump-2"]);
    assert_eq!(ids("&group=none").await, Vec::<String>::new());
    assert_eq!(ids("&prefix=zz").await, Vec::<String>::new());
    assert_eq!(ids("").await.len(), 14);
    assert_eq!(found(&world, "").await.1, 5, "pages of three");
    for wrong in ["&state=gone", "&colour=red", "&limit=0", "&group=", "&role=a%20b", "&prefix=%2F"]
    {
        let outcome = world.operator.get(&format!("{DEVICES}?cursor=a{wrong}")).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{wrong}");
    }
}

#[tokio::test]
async fn a_device_gets_another_role_and_group_and_its_tokens_end() {
    let world = World::new().await;
    world.post("/v1/tenants/default/groups", json!({ "group": "hall" })).await;
    let (device, first) = world.enrolled("a").await;
    let mut reader = Reader::snapshot(&world).await;
    let shown = change(&world, "a", json!({ "role": "backend", "group": "hall" })).await.unwrap();
    assert_eq!((shown["role"].as_str(), shown["group"].as_str()), (Some("backend"), Some("hall")));
    assert_eq!(reader.read(&world).await.len(), 1);
    assert!(reader.device_epoch("a") > claims(&first.access_token).epochs.device);
    let next = claims(&world.refresh(&device).await.unwrap().access_token);
    assert_eq!((next.epochs.device, next.epochs.group_number), (reader.device_epoch("a"), 1));
    let entries = next.scope.entries();
    assert!(
        entries
            .iter()
            .any(|entry| entry.permission == Permission::Publish
                && entry.filter.as_str() == "d/+/cmd")
    );
    // The same once more moves nothing.
    change(&world, "a", json!({ "group": "hall" })).await.unwrap();
    assert!(reader.read(&world).await.is_empty());
    for (body, status, code) in [
        (json!({ "role": "none" }), 404, "role_unknown"),
        (json!({ "group": "none" }), 404, "group_unknown"),
        (json!({}), 400, "request_malformed"),
        (json!({ "state": "revoked" }), 400, "request_malformed"),
    ] {
        let path = format!("{DEVICES}/a");
        let request = Request::new(Method::Patch, &path)
            .header("if-match", "*")
            .body(JSON, body.to_string().into_bytes());
        let outcome = problem(world.operator.send(request).await);
        assert_eq!(outcome, (status, code.to_owned()), "{body}");
    }
}

#[tokio::test]
async fn a_deleted_device_is_gone_and_its_id_is_free_after_the_longest_life_of_a_token() {
    let world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    let mut reader = Reader::snapshot(&world).await;
    let told = delete(&world, "a", "").await;
    let free = world.now().get() + TOKEN_LIFE_SECONDS + CLOCK_SKEW_SECONDS;
    assert_eq!(told, json!({ "device": "a", "free": free }));
    reader.read(&world).await;
    let ended = reader.device_epoch("a");
    assert!(ended > claims(&first.access_token).epochs.device);
    assert!(world.refresh(&device).await.is_err(), "it is not known any more");
    let shown = world.operator.get(&format!("{DEVICES}/a")).await;
    assert_eq!(problem(shown), (404, "device_unknown".to_owned()));
    let again = world.operator.delete_any(&format!("{DEVICES}/a")).await;
    assert_eq!(problem(again), (404, "device_unknown".to_owned()));
    let never = world.operator.delete_any(&format!("{DEVICES}/none?force=true")).await;
    assert_eq!(problem(never), (404, "device_unknown".to_owned()));

    let world = world.restart().await;
    let claim = world.claim(json!({})).await;
    let other = Device::new("a");
    assert_eq!(world.enrol(&other, &claim).await.err(), Some(RefusalCode::AlreadyExists));
    world.advance(free - world.now().get() + 1);
    let claim = world.claim(json!({})).await;
    let token = world.enrol(&other, &claim).await.unwrap();
    assert!(claims(&token.access_token).epochs.device >= ended, "above all of the former device");
    // The id is that of the new device now.
    assert_eq!(world.get(&format!("{DEVICES}/a")).await["state"], "active");
}

#[tokio::test]
async fn an_id_that_is_freed_by_force_may_be_taken_at_once() {
    let world = World::new().await;
    let (_, first) = world.enrolled("a").await;
    let told = delete(&world, "a", "?force=true").await;
    assert_eq!(told["free"], world.now().get());
    let claim = world.claim(json!({})).await;
    let token = world.enrol(&Device::new("a"), &claim).await.unwrap();
    let (former, new) = (claims(&first.access_token), claims(&token.access_token));
    assert!(new.epochs.device > former.epochs.device);
    assert!(new.serial != former.serial);
    // The former key of the id is refused: it enrolled another device.
    delete(&world, "a", "").await;
    let claim = world.claim(json!({})).await;
    assert!(world.enrol(&Device::new("a"), &claim).await.is_err());
    // Force comes later too.
    assert_eq!(delete(&world, "a", "?force=true").await["free"], world.now().get());
    world.enrol(&Device::new("a"), &claim).await.unwrap();
    let array =
        Request::new(Method::Patch, "/v1/tenants/default/devices/a").header("if-match", "*");
    let array = array.body(JSON, br#"["backend", "default"]"#.to_vec());
    let outcome = world.operator.send(array).await;
    assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "members have names");
}
