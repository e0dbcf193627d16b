//! The history of a device id, and how devices are found by key.

use serde_json::{json, Value};
use tessera_runtime::http::{Method, Request, JSON};
use tessera_token::encoding::base64url;

use crate::world::{problem, Device, Forced, World};

const DEVICES: &str = "/v1/tenants/default/devices";

async fn history(world: &World, device: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("{DEVICES}/{device}/history?limit={limit}{cursor}");
        let page = world.get(&path).await;
        let rows = page["items"].as_array().unwrap();
        assert!(rows.len() <= limit);
        items.extend(rows.clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

fn short(items: &[Value]) -> Vec<(&str, u64)> {
    let one = |item: &Value| item["device_number"].as_u64().unwrap();
    items.iter().map(|item| (item["action"].as_str().unwrap(), one(item))).collect()
}

#[tokio::test]
async fn a_device_has_its_history_and_a_former_one_of_the_id_is_told_apart() {
    let world = World::new().await;
    world.post("/v1/tenants/default/groups", json!({ "group": "a" })).await;
    world.enrolled("a").await;
    world.enrolled("b").await;
    world.post(&format!("{DEVICES}/a/suspend"), json!({ "reason": "lent" })).await;
    world.post(&format!("{DEVICES}/b/revoke"), json!({})).await;
    world.post("/v1/tenants/default/groups/a/revoke", json!({})).await;
    world.post(&format!("{DEVICES}/a/reinstate"), json!({})).await;
    let path = format!("{DEVICES}/a");
    let change = Request::new(Method::Patch, &path)
        .header("if-match", "*")
        .body(JSON, br#"{"role":"backend"}"#.to_vec());
    world.operator.send(change).await.unwrap();
    world.operator.delete_any(&format!("{DEVICES}/a?force=true")).await.unwrap();
    world.enrolled("a").await;
    let whole = history(&world, "a", 1000).await;
    assert_eq!(
        short(&whole),
        [
            ("device.enrol", 1),
            ("device.suspend", 1),
            ("device.reinstate", 1),
            ("device.change", 1),
            ("device.delete", 1),
            ("device.enrol", 2),
        ]
    );
    assert_eq!((&whole[1]["by"], &whole[1]["detail"]), (&json!("bootstrap"), &json!("lent")));
    assert_eq!(
        (&whole[3]["detail"], &whole[1]["at"]),
        (&json!("role sensor to backend"), &json!(world.now().get()))
    );
    for limit in [1, 2, 4] {
        assert_eq!(history(&world, "a", limit).await, whole, "{limit}");
    }
    let audit = world.get("/v1/audit?limit=1000").await;
    let entry = audit["items"].as_array().unwrap().iter().find(|one| one["seq"] == whole[1]["seq"]);
    assert_eq!(entry.unwrap()["action"], "device.suspend");
    assert_eq!(history(&world, "never", 10).await, Vec::<Value>::new());
    for cursor in ["x", "1", "1.1.7", "99999999999999999999.1.0"] {
        let outcome = world.operator.get(&format!("{DEVICES}/a/history?cursor={cursor}")).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{cursor}");
    }
}

#[tokio::test]
async fn the_last_refresh_is_shown_while_a_token_of_it_is_known() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let last = async || world.get(&format!("{DEVICES}/a")).await["last_refresh"].clone();
    assert_eq!(last().await, Value::Null, "it has enrolled and never refreshed");
    world.advance(10);
    world.refresh(&device).await.unwrap();
    world.advance(10);
    world.refresh(&device).await.unwrap();
    let when = world.now().get();
    world.advance(10);
    let _ = world.refresh(&Device::new("a")).await;
    assert_eq!(last().await, when);
}

#[tokio::test]
async fn a_device_is_found_by_the_thumbprint_of_its_key() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    world.enrolled("b").await;
    let name = base64url(device.key.public().thumbprint().as_bytes());
    let found = async |query: &str| {
        let page = world.get(&format!("{DEVICES}?{query}")).await;
        let items = page["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["device"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(&format!("key={name}")).await, ["a"]);
    assert_eq!(found(&format!("key={name}&state=active&role=sensor&prefix=a")).await, ["a"]);
    assert_eq!(found(&format!("key={name}&state=revoked")).await, Vec::<String>::new());
    assert_eq!(found(&format!("key={}", base64url(&[7; 32]))).await, Vec::<String>::new());
    for wrong in ["x", "", "AAAA"] {
        let outcome = world.operator.get(&format!("{DEVICES}?key={wrong}")).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{wrong}");
    }
}
