//! Devices are held back by operators and as the answer to alerts, and it ends by itself.

use std::time::Duration;

use serde_json::{json, Value};
use tessera_runtime::http::{Method, Request, JSON};
use tessera_token::trust::{Change, Restraint, Step};

use crate::feed::Reader;
use crate::world::{problem, World};

const OF: &str = "/v1/tenants/default/devices/d-1";
const ANSWERS: &str = "/v1/tenants/default/answers";

fn told(changes: &[Change]) -> Vec<Restraint> {
    let of = |change: &Change| match change {
        Change::Restraint(one) => Some(one.clone()),
        _ => None,
    };
    changes.iter().filter_map(of).collect()
}

async fn put(world: &World, body: Value) -> Value {
    let request = Request::new(Method::Put, ANSWERS).body(JSON, body.to_string().into_bytes());
    world.operator.send(request).await.unwrap().json().unwrap()
}

async fn alert(world: &World, number: u64, device: &str, severity: &str) {
    let signals = json!([{ "name": "flood", "words": "40 times as many messages", "evidence": 15.2, "since": 1 }]);
    let alert = json!({
        "t": 1, "alert": number, "tenant": "default", "subject": { "device": device },
        "state": "open", "severity": severity, "signals": signals,
    });
    let told =
        json!({ "line": "00112233445566ff", "items": [{ "number": number, "alert": alert }] });
    world.feed.post_json("/v1/trust/alerts", &told).await.unwrap();
}

async fn count(world: &World, action: &str) -> usize {
    let path = format!("/v1/audit?tenant=default&action={action}");
    world.get(&path).await["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn an_operator_holds_a_device_back_and_releases_it() {
    let world = World::with(|config| config.sweep_every = Duration::from_millis(5)).await;
    world.enrolled("d-1").await;
    let mut reader = Reader::snapshot(&world).await;
    let now = world.now();
    let body = json!({ "step": "quarantine", "seconds": 600, "reason": "worm" });
    let shown = world.post(&format!("{OF}/restrain"), body).await;
    assert_eq!((&shown["step"], &shown["ends"]), (&json!("quarantine"), &json!(now.get() + 600)));
    let [one] = &told(&reader.read(&world).await)[..] else { panic!() };
    assert_eq!((one.step, one.at, one.until), (Step::Quarantine, now, now.plus(600)));
    assert_eq!(Reader::snapshot(&world).await.held("d-1"), Some(Step::Quarantine));
    world.advance(1);
    world.post(&format!("{OF}/release"), json!({ "reason": "cleaned" })).await;
    let [one] = &told(&reader.read(&world).await)[..] else { panic!() };
    assert_eq!((one.step, one.at), (Step::Released, now.plus(1)));
    let listed = world.get("/v1/tenants/default/restraints").await;
    assert_eq!(listed["items"][0]["step"], "released");
    // A row that is over goes, and its room with it.
    world.advance(2 * 86_400);
    while world.get("/v1/tenants/default/restraints").await["items"] != json!([]) {
        tokio::task::yield_now().await;
    }
    assert_eq!(Reader::snapshot(&world).await.held("d-1"), None);
    for body in [
        json!({ "step": "released", "seconds": 60, "reason": "x" }),
        json!({ "step": "clamp", "seconds": 0, "reason": "x" }),
        json!({ "step": "clamp", "seconds": 2_592_001, "reason": "x" }),
        json!({ "step": "clamp", "seconds": 60, "reason": "" }),
    ] {
        let refused = world.operator.post_json(&format!("{OF}/restrain"), &body).await;
        assert_eq!(problem(refused), (400, "request_malformed".to_owned()), "{body}");
    }
    let unknown = json!({ "step": "clamp", "seconds": 60, "reason": "x" });
    let refused = world.operator.post_json("/v1/tenants/default/devices/none/restrain", &unknown);
    assert_eq!(problem(refused.await), (404, "device_unknown".to_owned()));
    assert_eq!(told(&reader.read(&world).await), []);
}

#[tokio::test]
async fn an_alert_is_answered_by_the_policy_of_its_severity_once() {
    let world = World::new().await;
    world.enrolled("d-1").await;
    let mut reader = Reader::snapshot(&world).await;
    // Without a policy an alert is noted alone.
    alert(&world, 1, "d-1", "high").await;
    assert_eq!(told(&reader.read(&world).await), []);
    let policy =
        json!({ "moderate": "clamp", "high": "quarantine", "seconds": 900, "devices_an_hour": 10 });
    let shown = put(&world, policy).await;
    assert_eq!((&shown["group"], &shown["low"]), (&Value::Null, &json!("note")));
    alert(&world, 2, "d-1", "low").await;
    alert(&world, 3, "unknown", "high").await;
    assert_eq!(told(&reader.read(&world).await), []);
    alert(&world, 4, "d-1", "moderate").await;
    let [one] = &told(&reader.read(&world).await)[..] else { panic!() };
    assert_eq!((one.step, one.until), (Step::Clamp, world.now().plus(900)));
    // It gets worse.
    alert(&world, 5, "d-1", "high").await;
    let [one] = &told(&reader.read(&world).await)[..] else { panic!() };
    assert_eq!(one.step, Step::Quarantine);
    // A milder one does not loosen it.
    alert(&world, 6, "d-1", "moderate").await;
    let [one] = &told(&reader.read(&world).await)[..] else { panic!() };
    assert_eq!(one.step, Step::Quarantine);
    assert_eq!(count(&world, "answer.given").await, 3);
    // The same report again: its answer broke off, or got lost.
    alert(&world, 6, "d-1", "moderate").await;
    assert_eq!(told(&reader.read(&world).await), []);
    // Wrong: it is released at once, and the audit log says by which word.
    let verdict = format!("{OF}/verdict");
    world.post(&verdict, json!({ "verdict": "wrong", "reason": "a test bench" })).await;
    let [one] = &told(&reader.read(&world).await)[..] else { panic!() };
    assert_eq!(one.step, Step::Released);
    let log = world.get("/v1/audit?tenant=default&action=answer.verdict").await;
    assert_eq!(log["items"][0]["detail"], "wrong: a test bench");
    let real = json!({ "verdict": "real", "reason": "x" });
    let again = world.operator.post_json(&verdict, &real).await;
    assert_eq!(problem(again), (404, "not_found".to_owned()));
    // Real: it stays.
    alert(&world, 7, "d-1", "high").await;
    world.post(&verdict, json!({ "verdict": "real", "seconds": 7200, "reason": "worm" })).await;
    let changes = told(&reader.read(&world).await);
    let last = changes.last().unwrap();
    assert_eq!((last.step, last.until), (Step::Quarantine, world.now().plus(7200)));
}

#[tokio::test]
async fn a_policy_touches_so_many_devices_in_an_hour_and_in_shadow_none() {
    let world = World::new().await;
    for name in ["d-1", "d-2", "d-3", "d-4"] {
        world.enrolled(name).await;
    }
    let mut reader = Reader::snapshot(&world).await;
    let policy =
        |shadow| json!({ "high": "clamp", "seconds": 900, "devices_an_hour": 2, "shadow": shadow });
    put(&world, policy(true)).await;
    alert(&world, 1, "d-1", "high").await;
    assert_eq!(
        (told(&reader.read(&world).await).len(), count(&world, "answer.would").await),
        (0, 1)
    );
    put(&world, policy(false)).await;
    for (number, device) in [(2, "d-2"), (3, "d-3"), (4, "d-4"), (5, "d-1")] {
        alert(&world, number, device, "high").await;
    }
    // One was counted in shadow.
    assert_eq!(told(&reader.read(&world).await).len(), 1);
    assert_eq!(count(&world, "answer.capped").await, 1);
    world.advance(3600);
    alert(&world, 6, "d-4", "high").await;
    assert_eq!(told(&reader.read(&world).await).len(), 1);
    // The alerts themselves are all there.
    assert_eq!(count(&world, "behaviour.alert").await, 6);
}

#[tokio::test]
async fn the_last_step_ends_the_tokens_of_the_device() {
    let world = World::new().await;
    world.enrolled("d-1").await;
    let mut reader = Reader::snapshot(&world).await;
    put(&world, json!({ "group": "default", "high": "end", "seconds": 60, "devices_an_hour": 5 }))
        .await;
    alert(&world, 1, "d-1", "high").await;
    let changes = reader.read(&world).await;
    assert!(changes
        .iter()
        .any(|one| matches!(one, Change::Device(d) if d.device.as_str() == "d-1")));
    let milder = json!({ "low": "end", "high": "note", "seconds": 60, "devices_an_hour": 5 });
    let request = Request::new(Method::Put, ANSWERS).body(JSON, milder.to_string().into_bytes());
    assert_eq!(problem(world.operator.send(request).await).1, "request_malformed");
    let path = format!("{ANSWERS}/default");
    world.operator.send(Request::new(Method::Delete, &path)).await.unwrap();
    assert_eq!(world.get(ANSWERS).await["items"], json!([]));
}

#[tokio::test]
async fn an_alert_that_is_too_many_in_its_hour_is_not_answered_again_and_again() {
    let world = World::new().await;
    world.enrolled("d-1").await;
    put(&world, json!({ "high": "clamp", "seconds": 900, "devices_an_hour": 100, "shadow": true }))
        .await;
    let of = |from: u64| {
        let items = (from..from + 50).map(|number| {
            let alert = json!({
                "t": 1, "alert": number, "tenant": "default", "subject": { "device": "other" },
                "state": "open", "severity": "high", "signals": [],
            });
            json!({ "number": number, "alert": alert })
        });
        json!({ "line": "00112233445566ff", "items": items.collect::<Vec<_>>() })
    };
    for from in 0..40 {
        world.feed.post_json("/v1/trust/alerts", &of(1 + 50 * from)).await.unwrap();
    }
    let one = json!({
        "t": 1, "alert": 9, "tenant": "default", "subject": { "device": "d-1" },
        "state": "open", "severity": "high", "signals": [],
    });
    let one = json!({ "line": "00112233445566ff", "items": [{ "number": 2001, "alert": one }] });
    for _ in 0..3 {
        let refused = world.feed.post_json("/v1/trust/alerts", &one).await;
        assert_eq!(problem(refused).1, "limit_reached");
    }
    assert_eq!(count(&world, "answer.would").await, 0);
    world.advance(3600);
    world.feed.post_json("/v1/trust/alerts", &one).await.unwrap();
    assert_eq!(count(&world, "answer.would").await, 1);
}
