//! Changes of groups are announced to verifiers.

use serde_json::{json, Value};
use tessera_runtime::http::{Method, Request, JSON};
use tessera_token::time::UnixSeconds;
use tessera_token::trust::Change;

use crate::feed::Reader;
use crate::world::{problem, World};

const ANNOUNCE: &str = "/v1/tenants/default/groups/default/announce";

fn announced(changes: &[Change]) -> Vec<(u64, Option<UnixSeconds>)> {
    let of = |change: &Change| match change {
        Change::Group(group) => Some((group.epoch, group.announced_until)),
        _ => None,
    };
    changes.iter().filter_map(of).collect()
}

#[tokio::test]
async fn an_announced_change_reaches_verifiers_and_the_newest_counts() {
    let world = World::new().await;
    let mut reader = Reader::snapshot(&world).await;
    let now = world.now();
    let shown = world.post(ANNOUNCE, json!({ "seconds": 3600, "reason": "firmware 2.1" })).await;
    assert_eq!(shown["announced_until"], json!(now.get() + 3600));
    assert_eq!(shown["announced_at"], json!(now.get()));
    let told = ["announced_by", "announced_reason"].map(|name| shown[name].clone());
    assert_eq!(told, [json!("bootstrap"), json!("firmware 2.1")]);
    assert_eq!(world.get("/v1/tenants/default/groups/default").await, shown);
    let until = Some(now.plus(3600));
    assert_eq!(announced(&reader.read(&world).await), [(0, until)]);
    // A verifier that starts now hears of it too.
    assert_eq!(Reader::snapshot(&world).await.announced(0), until);
    // A revocation keeps it.
    world.post("/v1/tenants/default/groups/default/revoke", json!({})).await;
    let [(epoch, kept)] = announced(&reader.read(&world).await)[..] else { panic!() };
    assert!(epoch > 0 && kept == until);
    // 0 seconds end it.
    world.advance(60);
    world.post(ANNOUNCE, json!({ "seconds": 0, "reason": "done" })).await;
    assert_eq!(announced(&reader.read(&world).await), [(epoch, Some(world.now()))]);
    assert_eq!(Reader::snapshot(&world).await.announced(0), None);
    let log = world.get("/v1/audit?tenant=default&action=group.announce").await;
    let entries = log["items"].as_array().unwrap();
    let reasons: Vec<&Value> = entries.iter().map(|entry| &entry["detail"]).collect();
    assert_eq!(reasons, [&json!("firmware 2.1"), &json!("done")]);
}

#[tokio::test]
async fn an_announcement_outside_of_its_bounds_changes_nothing() {
    let world = World::new().await;
    let mut reader = Reader::snapshot(&world).await;
    let long = "x".repeat(201);
    for body in [
        json!({ "seconds": 604_801, "reason": "x" }),
        json!({ "seconds": 60, "reason": "" }),
        json!({ "seconds": 60, "reason": long }),
        json!({ "seconds": 60, "reason": "a\nb" }),
        json!({ "seconds": -1, "reason": "x" }),
        json!({ "seconds": 60 }),
        json!({ "reason": "x" }),
        json!({ "seconds": 60, "reason": "x", "more": 1 }),
    ] {
        let request =
            Request::new(Method::Post, ANNOUNCE).body(JSON, body.to_string().into_bytes());
        let answer = world.operator.send(request).await;
        assert_eq!(problem(answer), (400, "request_malformed".to_owned()), "{body}");
    }
    assert_eq!(reader.read(&world).await, []);
    let shown = world.get("/v1/tenants/default/groups/default").await;
    assert_eq!(shown["announced_until"], Value::Null);
}
