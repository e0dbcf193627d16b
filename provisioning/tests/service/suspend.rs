//! Devices and groups are suspended and reinstated.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpError, Method, Request, JSON};
use tessera_token::refusal::RefusalCode;

use crate::enrol::claims;
use crate::feed::Reader;
use crate::world::{problem, random, Device, World};

const DEVICES: &str = "/v1/tenants/default/devices";
const GROUPS: &str = "/v1/tenants/default/groups";

async fn of_group(world: &World, name: &str, group: &str) -> Device {
    let device = Device::new(name);
    let claim = world.claim(json!({ "group": group })).await;
    world.enrol(&device, &claim).await.unwrap();
    device
}

async fn ids(world: &World, state: &str) -> Vec<String> {
    let page = world.get(&format!("{DEVICES}?state={state}")).await;
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["device"].as_str().unwrap().to_owned()).collect()
}

async fn bare(world: &World, path: &str) -> Result<Value, HttpError> {
    Ok(world.operator.send(Request::new(Method::Post, path)).await?.json().unwrap())
}

#[tokio::test]
async fn a_suspended_device_gets_no_token_and_goes_on_after_it_is_reinstated() {
    let world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    let (time, nonce) = (world.now(), random());
    world.refresh_with(&device, time, &nonce).await.unwrap();
    let mut reader = Reader::snapshot(&world).await;
    let shown =
        world.post(&format!("{DEVICES}/a/suspend"), json!({ "reason": "moved to Łódź" })).await;
    let when = world.now().get();
    assert_eq!(shown["state"], "suspended");
    assert_eq!(
        (&shown["suspended_at"], &shown["suspended_with"]),
        (&json!(when), &json!("device"))
    );
    assert_eq!(shown["suspended_by"], "bootstrap");
    assert_eq!(shown["suspended_reason"], "moved to Łódź");
    assert_eq!(world.get(&format!("{DEVICES}/a")).await, shown);
    // Verifiers hear of it at once.
    assert_eq!(reader.read(&world).await.len(), 1);
    let ended = reader.device_epoch("a");
    assert!(ended > claims(&first.access_token).epochs.device);
    assert_eq!(world.refresh(&device).await, Err(RefusalCode::DeviceSuspended));
    let stored = world.refresh_with(&device, time, &nonce).await;
    assert_eq!(stored, Err(RefusalCode::DeviceSuspended), "nor the stored answer");
    // A stranger hears what it hears of any device.
    assert_eq!(world.refresh(&Device::new("a")).await, Err(RefusalCode::ProofInvalid));

    // Once more moves nothing, and keeps the first reason.
    world.advance(5);
    let again = world.post(&format!("{DEVICES}/a/suspend"), json!({ "reason": "other" })).await;
    assert_eq!(again, shown);
    assert!(reader.read(&world).await.is_empty());

    let mut world = world.restart().await;
    for state in ["active", "revoked", "suspended"] {
        let expected: &[&str] = if state == "suspended" { &["a"] } else { &[] };
        assert_eq!(ids(&world, state).await, expected, "{state}");
    }
    let back = world.post(&format!("{DEVICES}/a/reinstate"), json!({})).await;
    assert_eq!((&back["state"], &back["suspended_at"]), (&json!("active"), &Value::Null));
    let next = claims(&world.refresh(&device).await.unwrap().access_token);
    assert_eq!(next.epochs.device, ended, "no token from before the suspension is good again");
    world = world.restart().await;
    let audit = world.get("/v1/audit?limit=1000").await;
    let entries = audit["items"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["action"] == "device.suspend").unwrap();
    assert_eq!((&entry["subject"], &entry["detail"]), (&json!("a"), &json!("moved to Łódź")));
}

#[tokio::test]
async fn a_suspended_group_holds_its_devices_and_those_that_come_into_it() {
    let world = World::new().await;
    for group in ["hall", "yard"] {
        world.post(GROUPS, json!({ "group": group })).await;
    }
    let a = of_group(&world, "a", "hall").await;
    let b = of_group(&world, "b", "hall").await;
    let c = of_group(&world, "c", "yard").await;
    let claim = world.claim(json!({ "group": "hall" })).await;
    world.post(&format!("{DEVICES}/b/suspend"), json!({})).await;
    let mut reader = Reader::snapshot(&world).await;
    let shown = world.post(&format!("{GROUPS}/hall/suspend"), json!({ "reason": "fire" })).await;
    assert_eq!(
        (&shown["state"], &shown["suspended_reason"]),
        (&json!("suspended"), &json!("fire"))
    );
    reader.read(&world).await;
    assert!(reader.group_epoch(1) > 0, "all tokens of the group end");
    bare(&world, &format!("{GROUPS}/hall/suspend")).await.unwrap();
    assert!(reader.read(&world).await.is_empty());

    assert_eq!(world.refresh(&a).await, Err(RefusalCode::GroupSuspended));
    assert_eq!(world.refresh(&b).await, Err(RefusalCode::DeviceSuspended));
    world.refresh(&c).await.unwrap();
    let path = format!("{DEVICES}/c");
    let moved = Request::new(Method::Patch, &path)
        .header("if-match", "*")
        .body(JSON, br#"{"group":"hall"}"#.to_vec());
    let moved: Value = world.operator.send(moved).await.unwrap().json().unwrap();
    assert_eq!((&moved["state"], &moved["suspended_with"]), (&json!("suspended"), &json!("group")));
    assert_eq!(world.refresh(&c).await, Err(RefusalCode::GroupSuspended));
    // An enrolment waits too, and uses up nothing.
    let late = Device::new("late");
    assert_eq!(world.enrol(&late, &claim).await, Err(RefusalCode::GroupSuspended));
    assert_eq!(world.refresh(&late).await, Err(RefusalCode::ProofInvalid), "it is no device");
    assert_eq!(ids(&world, "suspended").await, ["a", "b", "c"]);
    assert_eq!(ids(&world, "active").await, Vec::<String>::new());

    let world = world.restart().await;
    assert_eq!(world.refresh(&a).await, Err(RefusalCode::GroupSuspended));
    let back = world.post(&format!("{GROUPS}/hall/reinstate"), json!({})).await;
    assert_eq!((&back["state"], &back["suspended_by"]), (&json!("active"), &Value::Null));
    world.refresh(&a).await.unwrap();
    world.refresh(&c).await.unwrap();
    world.enrol(&late, &claim).await.unwrap();
    let own = world.refresh(&b).await;
    assert_eq!(own, Err(RefusalCode::DeviceSuspended), "its own suspension stays");
    assert_eq!(ids(&world, "suspended").await, ["b"]);
}

#[tokio::test]
async fn a_revocation_counts_more_than_a_suspension_and_both_end_together() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    world.post(&format!("{DEVICES}/a/suspend"), json!({})).await;
    let shown = world.post(&format!("{DEVICES}/a/revoke"), json!({})).await;
    assert_eq!((&shown["state"], &shown["suspended_with"]), (&json!("revoked"), &json!("device")));
    assert_eq!(world.refresh(&device).await, Err(RefusalCode::DeviceRevoked));
    assert_eq!(ids(&world, "suspended").await, Vec::<String>::new());
    let back = world.post(&format!("{DEVICES}/a/reinstate"), json!({})).await;
    assert_eq!(back["state"], "active");
    world.refresh(&device).await.unwrap();
}

#[tokio::test]
async fn wrong_reasons_and_unknown_names_change_nothing() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let path = format!("{DEVICES}/a/suspend");
    let long = "x".repeat(201);
    for body in [
        json!({ "reason": "" }),
        json!({ "reason": long }),
        json!({ "reason": "a\nb" }),
        json!({ "reason": 1 }),
        json!({ "why": "x" }),
    ] {
        let outcome = problem(world.operator.post_json(&path, &body).await);
        assert_eq!(outcome, (400, "request_malformed".to_owned()), "{body}");
    }
    let text = Request::new(Method::Post, &path).body("text/plain", b"x".to_vec());
    assert_eq!(problem(world.operator.send(text).await).0, 415);
    world.refresh(&device).await.unwrap();
    for (path, code) in [
        ("/v1/tenants/none/devices/a/suspend", "tenant_unknown"),
        ("/v1/tenants/default/devices/none/suspend", "device_unknown"),
        ("/v1/tenants/default/groups/none/suspend", "group_unknown"),
        ("/v1/tenants/default/groups/none/reinstate", "group_unknown"),
    ] {
        let outcome = problem(world.operator.post_json(path, &json!({})).await);
        assert_eq!(outcome, (404, code.to_owned()), "{path}");
    }
    let shown = world.post(&path, json!({ "reason": "x".repeat(200) })).await;
    assert_eq!(shown["suspended_reason"].as_str().unwrap().len(), 200);
}
