//! The topics that devices use are taken from verifiers, and say what a role could do without.

use std::time::Duration;

use serde_json::{json, Value};
use tessera_runtime::http::{HttpError, HttpResponse, Method, Request, JSON};

use crate::world::{problem, Forced, World};

const LINE: &str = "00112233445566ff";
const DAY: u64 = 86_400;

type Uses<'a> = &'a [(&'a str, &'a str, u64, Option<&'a str>)];

fn item(number: u64, device: &str, uses: Uses<'_>) -> Value {
    let uses: Vec<Value> = uses
        .iter()
        .map(|(operation, topic, count, code)| {
            let mut one = json!({ "operation": operation, "topic": topic, "count": count });
            if let Some(code) = code {
                one["code"] = (*code).into();
            }
            one
        })
        .collect();
    json!({ "number": number, "tenant": "default", "device": device, "uses": uses })
}

async fn tell(world: &World, line: &str, items: &[Value]) -> Result<HttpResponse, HttpError> {
    world.feed.post_json("/v1/evidence", &json!({ "line": line, "items": items })).await
}

async fn patch(world: &World, device: &str, change: Value) {
    let path = format!("/v1/tenants/default/devices/{device}");
    let body = change.to_string().into_bytes();
    world
        .operator
        .send(Request::new(Method::Patch, &path).header("if-match", "*").body(JSON, body))
        .await
        .unwrap();
}

async fn advice(world: &World, days: u64) -> Value {
    world.get(&format!("/v1/tenants/default/roles/wide/advice?days={days}")).await
}

async fn uses(world: &World, of: &str) -> Vec<(String, String, u64)> {
    let told = world.get(&format!("/v1/tenants/default/{of}/uses")).await;
    let items = told["items"].as_array().unwrap().iter().map(|one| {
        let text = |name: &str| one[name].as_str().unwrap().to_owned();
        (text("usage"), text("topic"), one["count"].as_u64().unwrap())
    });
    items.collect()
}

/// A role with a wide line, and these devices with it.
async fn world(devices: &[&str]) -> World {
    let world = World::with(|config| config.sweep_every = Duration::from_millis(5)).await;
    let role = json!({
        "class": "service",
        "publish": ["d/{device}/#", "site/{attr.site}/{device}/up", "never"],
        "subscribe": ["cmd/{device}"],
    });
    let path = "/v1/tenants/default/roles/wide";
    world.operator.put_over(path, &role).await.unwrap();
    for device in devices {
        world.enrolled(device).await;
        let change = json!({ "role": "wide", "attributes": { "site": "north" } });
        patch(&world, device, change).await;
    }
    world
}

#[tokio::test]
async fn a_role_is_advised_to_allow_what_its_devices_use() {
    let world = world(&["a", "b"]).await;
    let empty = advice(&world, 30).await;
    assert_eq!((&empty["since"], &empty["devices"]), (&Value::Null, &json!(2)));
    assert_eq!(empty["not_yet"].as_array().unwrap().len(), 3);
    let own: Uses<'_> = &[
        ("publish", "d/{device}/up", 5, None),
        ("publish", "site/north/{device}/up", 2, None),
        ("subscribe", "cmd/{device}", 1, None),
        ("publish", "d/{device}/../up", 1, Some("publish_not_authorised")),
        ("publish", "site/north/{device}/Up", 3, Some("publish_not_authorised")),
    ];
    tell(&world, LINE, &[item(1, "a", own), item(2, "b", &own[..1])]).await.unwrap();
    let told = advice(&world, 30).await;
    assert_eq!((&told["devices_seen"], &told["changes"]), (&json!(2), &json!(true)));
    assert_eq!(told["publish"], json!(["d/{device}/up", "site/{attr.site}/{device}/up"]));
    assert_eq!(told["subscribe"], json!(["cmd/{device}"]));
    let lines: Vec<(&Value, &Value)> = told["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["advice"], &one["devices"]))
        .collect();
    let words = [("narrow", 2), ("keep", 1), ("remove", 0), ("keep", 1)];
    let words = words.map(|(word, devices)| (json!(word), json!(devices)));
    assert_eq!(lines, words.iter().map(|(word, devices)| (word, devices)).collect::<Vec<_>>());
    let near = told["refused"].as_array().unwrap().iter().find(|one| one["count"] == 3).unwrap();
    assert_eq!(near["nearest"], "site/{attr.site}/{device}/up");
    let not_yet = told["not_yet"].as_array().unwrap();
    assert_eq!(not_yet.len(), 1, "{not_yet:?}");
    assert!(not_yet[0].as_str().unwrap().contains("0 of at least 7 days"));
    world.advance(8 * DAY);
    assert_eq!(advice(&world, 30).await["not_yet"], json!([]));
    // A topic that was used too long ago was not used.
    assert_eq!(advice(&world, 7).await["publish"], json!([]));
    for days in ["0", "91", "x"] {
        let path = format!("/v1/tenants/default/roles/wide/advice?days={days}");
        assert_eq!(problem(world.operator.get(&path).await).0, 400, "{days}");
    }
    let none = world.operator.get("/v1/tenants/default/roles/none/advice").await;
    assert_eq!(problem(none), (404, "role_unknown".to_owned()));
}

#[tokio::test]
async fn each_number_counts_once_and_each_device_once() {
    let world = world(&["a", "b"]).await;
    let up: Uses<'_> = &[("publish", "d/{device}/up", 5, None)];
    for _ in 0..3 {
        tell(&world, LINE, &[item(1, "a", up), item(2, "b", up)]).await.unwrap();
    }
    // Another process has another line of numbers, and may tell of the same devices.
    tell(&world, "00000000000000aa", &[item(1, "a", up), item(2, "a", up)]).await.unwrap();
    let told = world.get("/v1/tenants/default/roles/wide/uses").await;
    assert_eq!(told["devices_seen"], 2);
    let [one] = &told["items"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!((&one["devices"], &one["count"]), (&json!(2), &json!(20)));
    assert_eq!(uses(&world, "devices/a").await, [("publish".into(), "d/{device}/up".into(), 15)]);
    // Another role begins anew, and a device that is gone is told of no more.
    let change = json!({ "role": "sensor" });
    patch(&world, "a", change).await;
    assert_eq!(uses(&world, "devices/a").await, []);
    world.operator.delete_any("/v1/tenants/default/devices/b").await.unwrap();
    tell(&world, LINE, &[item(3, "b", up), item(4, "a", up)]).await.unwrap();
    assert_eq!(world.get("/v1/tenants/default/roles/wide/uses").await["devices_seen"], 2);
    assert_eq!(world.get("/v1/tenants/default/roles/sensor/uses").await["devices_seen"], 1);
    assert_eq!(uses(&world, "devices/a").await.len(), 1);
}

#[tokio::test]
async fn reports_that_say_too_much_are_refused_and_rows_are_bounded() {
    let world = world(&["a", "b"]).await;
    let up: Uses<'_> = &[("publish", "up", 1, None)];
    let many: Vec<_> = (0..65).map(|_| ("publish", "up", 1, None)).collect();
    for (line, items) in [
        (LINE, vec![item(2, "a", up), item(1, "a", up)]),
        (LINE, (0..101).map(|number| item(number, "a", up)).collect()),
        (LINE, vec![item(1, "a", &many)]),
        (LINE, vec![item(1, "a", &[("receive", "up", 1, None)])]),
        (LINE, vec![item(1, "a b", up)]),
        ("xyz", vec![item(1, "a", up)]),
    ] {
        let refused = tell(&world, line, &items).await;
        assert_eq!(problem(refused).0, 400, "{items:?}");
    }
    // A topic that no role can name, and a code of a later version, are passed over: others stand behind them.
    let odd: Uses<'_> = &[
        ("publish", "a/#/b", 1, None),
        ("publish", "a\u{1}b", 1, Some("publish_not_authorised")),
        ("publish", "up", 1, Some("nothing")),
    ];
    tell(&world, LINE, &[item(1, "a", odd)]).await.unwrap();
    let nothing = json!({ "line": LINE, "items": [] });
    let refused = world.operator.post_json("/v1/evidence", &nothing).await;
    assert_eq!(problem(refused).0, 403, "it is no verifier");
    assert_eq!(uses(&world, "roles/wide").await, []);
    // One device with a thousand topics, and the same of refused ones.
    let mut number = 1;
    for code in [None, Some("publish_not_authorised")] {
        for part in 0..20 {
            let topics: Vec<String> = (0..50).map(|n| format!("d/{{device}}/{part}/{n}")).collect();
            let told: Vec<_> = topics.iter().map(|topic| ("publish", &**topic, 1, code)).collect();
            number += 1;
            tell(&world, LINE, &[item(number, "a", &told)]).await.unwrap();
        }
    }
    let of_device = uses(&world, "devices/a").await;
    assert!(of_device.len() <= 42, "{}", of_device.len());
    let count: u64 = of_device.iter().map(|(_, _, count)| count).sum();
    assert!(count >= 1000, "no use is lost: {count}");
    assert_eq!(advice(&world, 30).await["lines"][0]["advice"], "keep_wide");
    // Another device has room for a topic of its own.
    tell(&world, LINE, &[item(number + 1, "b", &[("publish", "d/{device}/b", 1, None)])])
        .await
        .unwrap();
    assert!(uses(&world, "roles/wide").await.iter().any(|(_, topic, _)| topic == "d/{device}/b"));
}

#[tokio::test]
async fn what_was_not_used_for_90_days_is_forgotten() {
    let world = world(&["a"]).await;
    tell(&world, LINE, &[item(1, "a", &[("publish", "d/{device}/up", 1, None)])]).await.unwrap();
    world.advance(91 * DAY);
    while !uses(&world, "roles/wide").await.is_empty()
        || !uses(&world, "devices/a").await.is_empty()
    {
        tokio::task::yield_now().await;
    }
    while advice(&world, 30).await["since"] != Value::Null {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_role_that_is_made_anew_knows_nothing_of_its_namesake() {
    let world = world(&["a"]).await;
    tell(&world, LINE, &[item(1, "a", &[("publish", "d/{device}/up", 1, None)])]).await.unwrap();
    let change = json!({ "role": "sensor" });
    patch(&world, "a", change).await;
    world.operator.delete_any("/v1/tenants/default/roles/wide").await.unwrap();
    let role = json!({ "class": "device", "publish": ["d/{device}/up"] });
    world.operator.put_over("/v1/tenants/default/roles/wide", &role).await.unwrap();
    let told = world.get("/v1/tenants/default/roles/wide/uses").await;
    assert_eq!((&told["since"], &told["items"]), (&Value::Null, &json!([])));
}
