//! A tenant has so many open claims: those that no device has used up, and that have not expired.

use serde_json::{json, Value};
use tessera_provisioning::ProvisioningConfig;
use tessera_runtime::http::{Method, Request};

use crate::imports::{parsed, NDJSON};
use crate::several::two_with;
use crate::world::{problem, Device, Forced, World};

const CLAIMS: &str = "/v1/tenants/default/claims";
const IMPORT: &str = "/v1/tenants/default/import/claims";
const KEY: &str = "abcdefghijklmnopqrstuvwxyz";

fn few(config: &mut ProvisioningConfig) {
    config.open_claims = 5;
}

async fn make(world: &World, body: Value) -> Vec<Value> {
    world.post(CLAIMS, body).await["claims"].as_array().unwrap().clone()
}

/// A claim more is refused, and nothing is made.
async fn is_full(world: &World) {
    let list = async || world.get(&format!("{CLAIMS}?limit=1000")).await["items"].clone();
    let before = list().await;
    let refused = world.operator.post_json(CLAIMS, &json!({ "role": "sensor" })).await;
    assert_eq!(problem(refused), (429, "limit_reached".to_owned()));
    assert_eq!(list().await, before);
}

async fn import(world: &World, query: &str, key: &str, lines: usize) -> (Vec<Value>, Value) {
    let lines: Vec<String> = (0..lines).map(|_| json!({ "role": "sensor" }).to_string()).collect();
    let path = format!("{IMPORT}{query}");
    let request = Request::new(Method::Post, &path);
    let request = request.body(NDJSON, lines.join("\n").into_bytes());
    let answer = world.operator.send(request.header("idempotency-key", key)).await.unwrap();
    let mut told = parsed(&answer.body);
    let last = told.pop().unwrap();
    (told, last)
}

#[tokio::test]
async fn open_claims_of_a_tenant_are_bounded_and_closed_ones_give_their_place() {
    let world = World::with(few).await;
    let made = make(&world, json!({ "role": "sensor", "count": 4 })).await;
    let two = json!({ "role": "sensor", "count": 2 });
    assert_eq!(problem(world.operator.post_json(CLAIMS, &two).await).0, 429);
    let short = make(&world, json!({ "role": "sensor", "expires_in": 60 })).await;
    is_full(&world).await;
    let metrics = world.stranger.get("/metrics").await.unwrap().text();
    let wanted = "tessera_provisioning_limits_hit_total{limit=\"open_claims\"} 2";
    assert!(metrics.contains(wanted), "{metrics}");

    // Another tenant has places of its own.
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let role = json!({ "class": "device", "publish": ["d/{device}"] });
    world.operator.put_over("/v1/tenants/acme/roles/sensor", &role).await.unwrap();
    world.post("/v1/tenants/acme/claims", json!({ "role": "sensor", "count": 5 })).await;

    // A deleted one.
    let path = format!("{CLAIMS}/{}", made[0]["claim"].as_str().unwrap());
    world.operator.delete_any(&path).await.unwrap();
    make(&world, json!({ "role": "sensor" })).await;
    is_full(&world).await;

    // A used one; the same device once more uses no other.
    let device = Device::new("a");
    for _ in 0..2 {
        world.enrol(&device, made[1]["code"].as_str().unwrap()).await.unwrap();
    }
    let counted = make(&world, json!({ "role": "sensor", "uses": 2 })).await;
    is_full(&world).await;

    // A restart forgets nothing.
    let world = world.restart_as(few).await;
    is_full(&world).await;

    // One for two devices is open until both have used it.
    let code = counted[0]["code"].as_str().unwrap();
    world.enrol(&Device::new("b"), code).await.unwrap();
    is_full(&world).await;
    world.enrol(&Device::new("c"), code).await.unwrap();
    make(&world, json!({ "role": "sensor" })).await;
    is_full(&world).await;

    // An expired one, and its deletion gives no second place.
    world.advance(61);
    make(&world, json!({ "role": "sensor" })).await;
    is_full(&world).await;
    let path = format!("{CLAIMS}/{}", short[0]["claim"].as_str().unwrap());
    world.operator.delete_any(&path).await.unwrap();
    is_full(&world).await;

    // A lower bound takes nothing away, and a higher one gives places.
    let world = world.restart_as(|config| config.open_claims = 2).await;
    is_full(&world).await;
    world.enrol(&Device::new("d"), made[2]["code"].as_str().unwrap()).await.unwrap();
    let world = world.restart_as(|config| config.open_claims = 6).await;
    make(&world, json!({ "role": "sensor", "count": 2 })).await;
    let two = world.operator.post_json(CLAIMS, &json!({ "role": "sensor" })).await;
    assert_eq!(problem(two).0, 429);
}

#[tokio::test]
async fn open_claims_of_an_import_are_bounded_line_by_line() {
    let world = World::with(few).await;
    make(&world, json!({ "role": "sensor", "count": 2 })).await;
    let (told, last) = import(&world, "?dry_run=true", KEY, 5).await;
    assert_eq!((&last["imported"], &last["refused"]), (&json!(3), &json!(2)), "{told:?}");
    let (told, last) = import(&world, "", KEY, 5).await;
    assert_eq!((&last["imported"], &last["refused"]), (&json!(3), &json!(2)), "{told:?}");
    assert_eq!(
        (&told[3]["code"], &told[4]["code"]),
        (&json!("limit_reached"), &json!("limit_reached"))
    );
    is_full(&world).await;
    // Lines that have their claims need no place, and the others get one that is given back.
    let path = format!("{CLAIMS}/{}", told[0]["claim"].as_str().unwrap());
    world.operator.delete_any(&path).await.unwrap();
    let (told, last) = import(&world, "", KEY, 5).await;
    assert_eq!((&last["unchanged"], &last["imported"]), (&json!(2), &json!(1)), "{told:?}");
    assert_eq!(told[0]["code"], "claim_unknown");
    is_full(&world).await;
}

/// Calls at one time take turns: each makes its claims, as far as there are places.
#[tokio::test]
async fn open_claims_that_are_made_at_once_have_one_bound() {
    let world = World::with(|config| config.open_claims = 60).await;
    let body = json!({ "role": "sensor" });
    let calls = (0..80).map(|_| world.operator.post_json(CLAIMS, &body));
    let calls = futures_util::future::join_all(calls).await;
    assert_eq!(calls.iter().filter(|call| call.is_ok()).count(), 60);
    for refused in calls.into_iter().filter(Result::is_err) {
        assert_eq!(problem(refused), (429, "limit_reached".to_owned()));
    }
}

/// Two processes have one bound for a tenant.
#[tokio::test]
async fn open_claims_are_counted_over_processes() {
    let Some(two) = two_with(few).await else { return };
    let first = make(&two.one, json!({ "role": "sensor", "count": 3 })).await;
    make(&two.other, json!({ "role": "sensor", "count": 2 })).await;
    is_full(&two.one).await;
    is_full(&two.other).await;
    two.other.enrol(&Device::new("a"), first[0]["code"].as_str().unwrap()).await.unwrap();
    let path = format!("{CLAIMS}/{}", first[1]["claim"].as_str().unwrap());
    two.one.operator.delete_any(&path).await.unwrap();
    make(&two.one, json!({ "role": "sensor", "count": 2 })).await;
    is_full(&two.other).await;
    for world in [two.one, two.other] {
        assert_eq!(world.stop().await, Vec::<String>::new());
    }
}
