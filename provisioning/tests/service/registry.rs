use serde_json::{json, Value};

use crate::feed::Reader;
use crate::world::{problem, Forced, World};

#[tokio::test]
async fn what_a_first_start_makes() {
    let world = World::new().await;
    assert!(world.handle.first_start().is_some());
    let tenants = world.get("/v1/tenants").await;
    assert_eq!(tenants["items"][0]["tenant"], "default");
    assert_eq!(tenants["items"][0]["state"], "active");
    let roles = world.get("/v1/tenants/default/roles").await;
    assert_eq!(
        roles["items"],
        json!([
            { "role": "backend", "class": "service", "publish": ["d/+/cmd"],
              "subscribe": ["d/+/telemetry", "$tessera/alerts"], "token_seconds": null,
              "refresh_tokens": false },
            { "role": "sensor", "class": "device", "publish": ["d/{device}/telemetry"],
              "subscribe": ["d/{device}/cmd"], "token_seconds": null, "refresh_tokens": false },
        ])
    );
    let groups = world.get("/v1/tenants/default/groups").await;
    assert_eq!(
        (&groups["items"][0]["group"], &groups["items"][0]["number"]),
        (&json!("default"), &json!(0))
    );
    let thumbprint = std::fs::read_to_string(world.dir.path().join("root.thumbprint")).unwrap();
    let expected: String =
        world.handle.root_thumbprint().as_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(thumbprint.trim(), expected);
    for file in ["operator.token", "feed.token"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(world.dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn tenants_are_made_once_and_never_again() {
    let world = World::new().await;
    let made = world.post("/v1/tenants", json!({ "tenant": "acme-1" })).await;
    assert_eq!((&made["epoch"], &made["bearer"]), (&json!(0), &json!(false)));
    let again = world.operator.post_json("/v1/tenants", &json!({ "tenant": "acme-1" })).await;
    assert_eq!(problem(again), (409, "already_exists".to_owned()));
    for bad in ["a:b", "", "a/b", "#", &"x".repeat(33), "-a", "ü"] {
        let outcome = world.operator.post_json("/v1/tenants", &json!({ "tenant": bad })).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{bad}");
    }
    assert_eq!(
        problem(world.operator.get("/v1/tenants/none").await),
        (404, "tenant_unknown".to_owned())
    );
    assert_eq!(world.get("/v1/tenants/acme-1").await["state"], "active");
    let suspended = world.post("/v1/tenants/acme-1/revoke", json!({})).await;
    assert_eq!((&suspended["state"], &suspended["epoch"]), (&json!("suspended"), &json!(1)));
    let back = world.post("/v1/tenants/acme-1/reinstate", json!({})).await;
    assert_eq!((&back["state"], &back["epoch"]), (&json!("active"), &json!(1)));
}

#[tokio::test]
async fn roles_that_may_not_be() {
    let world = World::new().await;
    let path = "/v1/tenants/default/roles/r";
    for bad in [
        json!({ "class": "device", "publish": ["d/+/cmd"] }),
        json!({ "class": "device", "publish": ["telemetry"] }),
        json!({ "class": "device" }),
        json!({ "class": "service", "subscribe": ["$SYS/#"] }),
        json!({ "class": "service", "publish": ["a/#/b"] }),
        json!({ "class": "device", "publish": ["{device}"], "token_seconds": 1 }),
    ] {
        let outcome = world.operator.put_over(path, &bad).await;
        assert_eq!(problem(outcome), (422, "role_invalid".to_owned()), "{bad}");
    }
    for bad in [
        json!({ "class": "gateway" }),
        json!({ "class": "device", "publish": ["{device}"], "extra": 1 }),
    ] {
        let outcome = world.operator.put_over(path, &bad).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{bad}");
    }
    let good = json!({ "class": "device", "publish": ["{device}"] });
    assert_eq!(world.operator.put_over(path, &good).await.unwrap().status, 201);
    assert_eq!(world.operator.put_over(path, &good).await.unwrap().status, 200);
}

#[tokio::test]
async fn claims_in_number_and_what_they_must_name() {
    let world = World::new().await;
    let path = "/v1/tenants/default/claims";
    let made = world.post(path, json!({ "role": "sensor", "count": 1000 })).await;
    let codes: std::collections::HashSet<_> = made["claims"]
        .as_array()
        .unwrap()
        .iter()
        .map(|claim| claim["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes.len(), 1000);
    assert!(codes.iter().all(|code| code.len() == 27 && code.starts_with("TSR-")));
    let mut listed = 0;
    let mut cursor = String::new();
    loop {
        let page = world.get(&format!("{path}?limit=300{cursor}")).await;
        let text = page.to_string();
        assert!(!text.contains("TSR-"), "a code is shown once");
        listed += page["items"].as_array().unwrap().len();
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(listed, 1000);
    for (bad, code) in [
        (json!({ "role": "none" }), "role_unknown"),
        (json!({ "role": "sensor", "group": "none" }), "group_unknown"),
        (json!({ "role": "sensor", "count": 0 }), "request_malformed"),
        (json!({ "role": "sensor", "count": 1001 }), "request_malformed"),
        (json!({ "role": "sensor", "count": 2, "device": "x" }), "request_malformed"),
        (json!({ "role": "sensor", "device": "a/b" }), "request_malformed"),
        (json!({ "role": "sensor", "expires_in": 0 }), "request_malformed"),
        (json!({ "role": "sensor", "colour": "red" }), "request_malformed"),
        (json!({}), "request_malformed"),
    ] {
        assert_eq!(problem(world.operator.post_json(path, &bad).await).1, code, "{bad}");
    }
}

#[tokio::test]
async fn groups_have_numbers_that_are_given_once() {
    let world = World::new().await;
    let path = "/v1/tenants/default/groups";
    for number in 1..4 {
        let made = world.post(path, json!({ "group": format!("g{number}") })).await;
        assert_eq!(made["number"], number);
    }
    let again = world.operator.post_json(path, &json!({ "group": "g1" })).await;
    assert_eq!(problem(again), (409, "already_exists".to_owned()));
    let page: Value = world.get(&format!("{path}?limit=2")).await;
    assert_eq!(page["next"], "g1");
    assert_eq!(
        world.get(&format!("{path}?limit=2&cursor=g1")).await["items"].as_array().unwrap().len(),
        2
    );
}

#[tokio::test]
async fn devices_are_listed_in_pages_within_their_tenant() {
    let world = World::new().await;
    world.post("/v1/tenants", json!({ "tenant": "default2" })).await;
    for name in ["a", "b", "c"] {
        world.enrolled(name).await;
    }
    let page = world.get("/v1/tenants/default/devices?limit=2").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert_eq!(page["next"], "b");
    let rest = world.get("/v1/tenants/default/devices?limit=2&cursor=b").await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    assert!(world.get("/v1/tenants/default2/devices").await["items"]
        .as_array()
        .unwrap()
        .is_empty());
    let outcome = world.operator.get("/v1/tenants/default/devices/zzz").await;
    assert_eq!(problem(outcome), (404, "device_unknown".to_owned()));
}

#[tokio::test]
async fn a_tenant_may_name_keys_by_reference() {
    use tessera_token::claims::Claims;
    let world = World::new().await;
    let mut feed = Reader::snapshot(&world).await;
    let (early, answer) = world.enrolled("early").await;
    assert!(Claims::from_cbor(payload(&answer.access_token)).is_ok());
    assert_eq!(world.get("/v1/tenants/default").await["confirmation"], "key");
    let path = "/v1/tenants/default";
    for bad in [json!({}), json!({ "confirmation": "jwk" }), json!({ "confirmation": null })] {
        let outcome = world.operator.put_over(path, &bad).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{bad}");
    }
    feed.read(&world).await;
    assert!(feed.device_keys.is_empty());
    for (setting, bytes) in [("kid", 192), ("thumbprint", 217)] {
        let set = world.operator.put_over(path, &json!({ "confirmation": setting })).await;
        let set: Value = set.unwrap().json().unwrap();
        assert_eq!((&set["confirmation"], &set["bearer"]), (&json!(setting), &json!(false)));
        let next = world.refresh(&early).await.unwrap();
        let claims = Claims::from_cbor_for(payload(&next.access_token), &early.key.public());
        assert_eq!(claims.unwrap().confirmation, Some(early.key.public()));
        assert!(next.access_token.len() <= bytes, "{setting} {}", next.access_token.len());
    }
    let (late, _) = world.enrolled("late").await;
    feed.read(&world).await;
    for reader in [&feed, &Reader::snapshot(&world).await] {
        assert_eq!(reader.device_keys.len(), 2);
        assert_eq!(reader.device_keys["early"], early.key.public().as_bytes());
        assert_eq!(reader.device_keys["late"], late.key.public().as_bytes());
    }
    // Back to whole keys; what was published stays, because tokens that need it still live.
    world.operator.put_over(path, &json!({ "confirmation": "key" })).await.unwrap();
    let next = world.refresh(&late).await.unwrap();
    assert!(Claims::from_cbor(payload(&next.access_token)).is_ok());
    assert_eq!(Reader::snapshot(&world).await.device_keys.len(), 2);
}

#[tokio::test]
async fn older_verifiers_get_the_older_algorithm_number() {
    use tessera_token::key::Algorithm;
    for (algorithm, header) in [(Algorithm::Ed25519, 0x32), (Algorithm::EdDsa, 0x27)] {
        let world = World::with(|config| config.issue_algorithm = algorithm).await;
        let (_, answer) = world.enrolled("pump-1").await;
        assert_eq!(answer.access_token[4..8], [0x4d, 0xa2, 0x01, header]);
    }
}

fn payload(token: &[u8]) -> &[u8] {
    let mut reader = tessera_token::cbor::Reader::new(&token[3..]);
    reader.array_of(4).unwrap();
    reader.skip().unwrap();
    reader.skip().unwrap();
    reader.bytes().unwrap()
}
