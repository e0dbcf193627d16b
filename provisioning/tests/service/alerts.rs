//! Alerts of brokers and gateways come into the audit log, each once.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, HttpError, HttpResponse};

use crate::world::{problem, World};

const LINE: &str = "00112233445566ff";

fn item(number: u64, tenant: &str, device: &str) -> Value {
    let words = "it asked for topics of 3 others; usual is one in 500 days";
    let signals =
        json!([{ "name": "foreign_topics", "words": words, "evidence": 15.2, "since": 1 }]);
    let alert = json!({
        "t": 1_765_432_100_123_u64, "alert": 77, "tenant": tenant, "subject": { "device": device },
        "state": "open", "severity": "high", "signals": signals, "advice": "look",
    });
    json!({ "number": number, "alert": alert })
}

async fn tell(client: &HttpClient, line: &str, items: Value) -> Result<HttpResponse, HttpError> {
    client.post_json("/v1/trust/alerts", &json!({ "line": line, "items": items })).await
}

async fn entries(world: &World, tenant: &str) -> Vec<Value> {
    let path = format!("/v1/audit?tenant={tenant}&action=behaviour.alert");
    world.get(&path).await["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_alert_is_in_the_audit_log_once_however_often_it_is_told() {
    let world = World::new().await;
    let first = json!([item(1, "default", "d-1"), item(2, "default", "d-2")]);
    assert_eq!(tell(&world.feed, LINE, first.clone()).await.unwrap().status, 204);
    // The answer was lost: the same again, and one more.
    tell(&world.feed, LINE, first).await.unwrap();
    tell(&world.feed, LINE, json!([item(2, "default", "d-2"), item(5, "default", "d-5")]))
        .await
        .unwrap();
    // Another verifier has numbers of its own.
    tell(&world.feed, "ffffffffffffffff", json!([item(1, "default", "d-9")])).await.unwrap();
    let log = entries(&world, "default").await;
    let subjects: Vec<_> = log.iter().map(|entry| entry["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["d-1", "d-2", "d-5", "d-9"]);
    let words = "high open: it asked for topics of 3 others; usual is one in 500 days";
    assert_eq!(log[0]["detail"], words);
    let after: Value = serde_json::from_str(log[0]["after"].as_str().unwrap()).unwrap();
    assert_eq!(after["alert"]["alert"], 77);
    assert_eq!(after["alert"]["subject"]["device"], "d-1");
}

#[tokio::test]
async fn an_account_tells_alerts_of_its_tenants_alone() {
    let world = World::new().await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let account = json!({ "operator": "edge", "roles": ["feed"], "tenants": ["acme"] });
    let made = world.post("/v1/operators", account).await;
    let edge = world.with_token(made["token"].as_str().unwrap());
    let items =
        json!([item(1, "default", "d-1"), item(2, "acme", "d-2"), item(3, "no tenant", "x")]);
    tell(&edge, LINE, items).await.unwrap();
    assert_eq!(entries(&world, "default").await, [] as [Value; 0]);
    assert_eq!(entries(&world, "acme").await.len(), 1);
    let viewer = json!({ "operator": "eye", "roles": ["viewer"], "tenants": "all" });
    let made = world.post("/v1/operators", viewer).await;
    let eye = world.with_token(made["token"].as_str().unwrap());
    let refused = tell(&eye, LINE, json!([item(9, "default", "d-1")])).await;
    assert_eq!(problem(refused), (403, "operator_not_allowed".to_owned()));
}

#[tokio::test]
async fn reports_outside_of_their_bounds_change_nothing() {
    let world = World::new().await;
    let many: Vec<_> = (1..=51).map(|n| item(n, "default", "d-1")).collect();
    for (line, items) in [
        ("short", json!([item(1, "default", "d-1")])),
        ("zzzzzzzzzzzzzzzz", json!([item(1, "default", "d-1")])),
        (LINE, json!(many)),
        (LINE, json!([item(2, "default", "d-1"), item(1, "default", "d-1")])),
        (LINE, json!([{ "number": 1 }])),
    ] {
        let refused = tell(&world.feed, line, items).await;
        assert_eq!(problem(refused), (400, "request_malformed".to_owned()), "{line}");
    }
    assert_eq!(entries(&world, "default").await, [] as [Value; 0]);
    // An account has its share of an hour.
    for report in 0..40 {
        let items: Vec<_> = (1..=50).map(|n| item(report * 50 + n, "default", "d-1")).collect();
        tell(&world.feed, LINE, json!(items)).await.unwrap();
    }
    let more = || tell(&world.feed, LINE, json!([item(9_999, "default", "d-1")]));
    assert_eq!(problem(more().await), (429, "limit_reached".to_owned()));
    world.advance(3_600);
    more().await.unwrap();
}
