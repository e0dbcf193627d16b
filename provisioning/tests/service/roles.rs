//! Roles are shown, changed line by line, tried and deleted; a change of rights reaches live sessions.

use serde_json::{json, Value};
use tessera_provisioning::TrustLimits;
use tessera_runtime::http::{HttpError, Method, Request, JSON};
use tessera_token::refusal::RefusalCode;

use crate::enrol::claims;
use crate::feed::Reader;
use crate::world::{problem, Device, Forced, World};

const ROLES: &str = "/v1/tenants/default/roles";

async fn put(world: &World, path: &str, body: Value) -> Value {
    world.operator.put_over(&format!("{ROLES}/{path}"), &body).await.unwrap().json().unwrap()
}

async fn patch(world: &World, path: &str, body: Value) -> Result<Value, HttpError> {
    let path = format!("{ROLES}/{path}");
    let request = Request::new(Method::Patch, &path)
        .header("if-match", "*")
        .body(JSON, body.to_string().into_bytes());
    Ok(world.operator.send(request).await?.json().unwrap())
}

async fn actions(world: &World) -> Vec<String> {
    let log = world.get("/v1/audit?limit=1000").await;
    let items = log["items"].as_array().unwrap();
    items.iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_role_is_shown_and_its_lines_are_added_and_removed_singly() {
    let world = World::new().await;
    let shown = world.get(&format!("{ROLES}/sensor")).await;
    let lines = |publish: &[&str], subscribe: &[&str]| (json!(publish), json!(subscribe));
    let of = |role: &Value| (role["publish"].clone(), role["subscribe"].clone());
    assert_eq!(of(&shown), lines(&["d/{device}/telemetry"], &["d/{device}/cmd"]));
    let unknown = world.operator.get(&format!("{ROLES}/none")).await;
    assert_eq!(problem(unknown), (404, "role_unknown".to_owned()));

    let body = json!({
        "add_publish": ["d/{device}/alarm", "d/{device}/telemetry"], "remove_subscribe": ["d/{device}/cmd"],
    });
    let tried = patch(&world, "sensor?dry_run=true", body.clone()).await.unwrap();
    assert_eq!(of(&world.get(&format!("{ROLES}/sensor")).await), of(&shown), "only tried");
    assert!(!actions(&world).await.contains(&"role.change".to_owned()));
    let changed = patch(&world, "sensor", body.clone()).await.unwrap();
    assert_eq!((&tried["dry_run"], &changed["dry_run"]), (&json!(true), &json!(false)));
    for told in [&tried, &changed] {
        assert_eq!(of(told), lines(&["d/{device}/telemetry", "d/{device}/alarm"], &[]));
        assert_eq!(told["added_publish"], json!(["d/{device}/alarm"]), "the other was there");
        assert_eq!(told["removed_subscribe"], json!(["d/{device}/cmd"]));
    }
    assert_eq!(of(&world.get(&format!("{ROLES}/sensor")).await), of(&changed));
    assert!(actions(&world).await.contains(&"role.change".to_owned()));

    // A line that is not there is a slip: nothing is changed.
    let slip = json!({ "add_publish": ["d/{device}/x"], "remove_subscribe": ["d/{device}/cmd"] });
    assert_eq!(problem(patch(&world, "sensor", slip).await), (404, "not_found".to_owned()));
    for (role, bad, status, code) in [
        ("sensor", json!({ "add_publish": ["d/+/x"] }), 422, "role_invalid"),
        ("none", json!({ "add_publish": ["d/{device}/x"] }), 404, "role_unknown"),
        ("sensor", json!({ "remove_publish": changed["publish"] }), 422, "role_invalid"),
        ("sensor", json!({}), 400, "request_malformed"),
        ("sensor", json!({ "add_publish": [] }), 400, "request_malformed"),
        ("sensor", json!({ "class": "service" }), 400, "request_malformed"),
        ("sensor?dry_run=x", json!({ "add_publish": ["a"] }), 400, "request_malformed"),
    ] {
        let outcome = problem(patch(&world, role, bad.clone()).await);
        assert_eq!(outcome, (status, code.to_owned()), "{bad}");
    }
    assert_eq!(of(&world.get(&format!("{ROLES}/sensor")).await), of(&changed));
}

#[tokio::test]
async fn a_changed_role_ends_the_tokens_of_its_devices_and_of_no_others() {
    let world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    world.enrolled("b").await;
    let claim = world.claim(json!({ "role": "backend" })).await;
    let other = Device::new("c");
    world.enrol(&other, &claim).await.unwrap();
    world.post("/v1/tenants/default/devices/b/revoke", json!({})).await;
    let mut reader = Reader::snapshot(&world).await;
    let body = json!({ "class": "device", "publish": ["x/{device}"] });
    let tried = put(&world, "sensor?dry_run=true", body.clone()).await;
    assert!(reader.read(&world).await.is_empty(), "only tried");
    let changed = put(&world, "sensor", body.clone()).await;
    for told in [&tried, &changed] {
        assert_eq!((&told["devices"], &told["more_devices"]), (&json!(2), &json!(false)));
        assert_eq!(told["epochs_moved"], "devices");
        assert_eq!(told["added_publish"], json!(["x/{device}"]));
    }
    assert_eq!(reader.read(&world).await.len(), 1, "the revoked device has no token to end");
    assert!(reader.device_epoch("a") > claims(&first.access_token).epochs.device);
    let next = world.refresh(&device).await.unwrap();
    assert_eq!(next.scope.entries()[0].filter.as_str(), "x/a");
    assert_eq!(claims(&next.access_token).epochs.device, reader.device_epoch("a"));

    // The same once more, in another order or with another life, changes no right and ends nothing.
    let same = put(&world, "sensor", body).await;
    assert_eq!(same["epochs_moved"], "nothing");
    let life = json!({ "class": "device", "publish": ["x/{device}"], "token_seconds": 60 });
    assert_eq!(put(&world, "sensor", life).await["epochs_moved"], "nothing");
    assert!(reader.read(&world).await.is_empty());
    assert_eq!(world.refresh(&device).await.unwrap().expires_in, 60);
    let log = actions(&world).await;
    assert_eq!(log.iter().filter(|action| *action == "role.end").count(), 1, "{log:?}");
    assert_eq!(log.iter().filter(|action| *action == "role.put").count(), 2, "{log:?}");

    let new =
        put(&world, "new?dry_run=true", json!({ "class": "device", "publish": ["{device}"] }));
    assert_eq!(new.await["devices"], 0);
    let unknown = world.operator.get(&format!("{ROLES}/new")).await;
    assert_eq!(problem(unknown), (404, "role_unknown".to_owned()));
}

#[tokio::test]
async fn tokens_stay_when_that_is_asked_for_and_no_right_is_taken_away() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let mut reader = Reader::snapshot(&world).await;
    let keep = "sensor?keep_tokens=true";
    let added = patch(&world, keep, json!({ "add_publish": ["d/{device}/alarm"] })).await.unwrap();
    assert_eq!(added["epochs_moved"], "nothing");
    // A wider line in the place of two.
    let wider = json!({
        "class": "device", "publish": ["d/{device}/#"], "subscribe": ["d/{device}/cmd"],
    });
    put(&world, keep, wider).await;
    assert!(reader.read(&world).await.is_empty());
    let next = world.refresh(&device).await.unwrap();
    assert_eq!(next.scope.entries()[0].filter.as_str(), "d/a/#");
    for narrower in [
        json!({ "class": "device", "publish": ["d/{device}/alarm"], "subscribe": ["d/{device}/cmd"] }),
        json!({ "class": "device", "publish": ["d/{device}/#"] }),
        json!({ "class": "device", "publish": ["d/{device}/#", "d/{device}/cmd"] }),
    ] {
        let path = format!("{ROLES}/{keep}");
        let outcome = problem(world.operator.put_over(&path, &narrower).await);
        assert_eq!(outcome, (422, "role_invalid".to_owned()), "{narrower}");
    }
    let removed = json!({ "remove_subscribe": ["d/{device}/cmd"] });
    assert_eq!(problem(patch(&world, keep, removed.clone()).await).0, 422);
    assert!(reader.read(&world).await.is_empty(), "nothing was changed");
    patch(&world, "sensor", removed).await.unwrap();
    assert_eq!(reader.read(&world).await.len(), 1);
}

#[tokio::test]
async fn where_verifiers_can_hold_no_more_devices_the_groups_of_a_changed_role_move() {
    let most = TrustLimits { devices: 1, ..TrustLimits::default() };
    let world = World::with(|config| config.trust = most).await;
    world.post("/v1/tenants/default/groups", json!({ "group": "hall" })).await;
    let (_, first) = world.enrolled("a").await;
    let claim = world.claim(json!({ "group": "hall" })).await;
    let device = Device::new("b");
    let second = world.enrol(&device, &claim).await.unwrap();
    let group = |token: &[u8]| claims(token).epochs.group;
    let (default, hall) = (group(&first.access_token), group(&second.access_token));
    let mut reader = Reader::snapshot(&world).await;
    let changed =
        put(&world, "sensor", json!({ "class": "device", "publish": ["x/{device}"] })).await;
    assert_eq!(changed["epochs_moved"], "groups");
    assert_eq!(reader.read(&world).await.len(), 2);
    assert!(reader.group_epoch(0) > default && reader.group_epoch(1) > hall);
    let next = claims(&world.refresh(&device).await.unwrap().access_token);
    assert_eq!(next.epochs.group, reader.group_epoch(1));
}

#[tokio::test]
async fn a_role_is_deleted_when_neither_device_nor_claim_has_it() {
    let world = World::new().await;
    put(&world, "meter", json!({ "class": "device", "publish": ["m/{device}"] })).await;
    let path = format!("{ROLES}/meter");
    let detail = async || match world.operator.delete_any(&path).await {
        Err(HttpError::Status { response, .. }) => {
            let body: Value = response.json().unwrap();
            assert_eq!((response.status, body["code"].as_str()), (409, Some("role_in_use")));
            body["detail"].as_str().unwrap().to_owned()
        }
        outcome => panic!("{outcome:?}"),
    };
    let claim = world.claim(json!({ "role": "meter" })).await;
    assert_eq!(
        detail().await,
        "0 devices, 1 open claims and 0 entries of other ways have the role meter"
    );
    let device = Device::new("a");
    world.enrol(&device, &claim).await.unwrap();
    assert_eq!(
        detail().await,
        "1 devices, 0 open claims and 0 entries of other ways have the role meter"
    );
    // The refusal has left it as it was.
    world.refresh(&device).await.unwrap();
    world.claim(json!({ "role": "meter", "expires_in": 5 })).await;
    let moved =
        Request::new(Method::Patch, "/v1/tenants/default/devices/a").header("if-match", "*");
    let moved = moved.body(JSON, br#"{"role":"sensor"}"#.to_vec());
    world.operator.send(moved).await.unwrap();
    assert_eq!(
        detail().await,
        "0 devices, 1 open claims and 0 entries of other ways have the role meter"
    );
    world.advance(6);
    let deleted = world.operator.delete_any(&path).await.unwrap();
    assert_eq!(deleted.json::<Value>().unwrap(), json!({ "role": "meter" }));
    assert_eq!(problem(world.operator.delete_any(&path).await), (404, "role_unknown".to_owned()));
    assert_eq!(problem(world.operator.get(&path).await), (404, "role_unknown".to_owned()));
    let claim = json!({ "role": "meter" });
    let refused = world.operator.post_json("/v1/tenants/default/claims", &claim).await;
    assert_eq!(problem(refused), (404, "role_unknown".to_owned()));
    assert!(actions(&world).await.contains(&"role.delete".to_owned()));
    // The name may be given again, with another class.
    let other = json!({ "class": "service", "publish": ["m/+"] });
    assert_eq!(world.operator.put_over(&path, &other).await.unwrap().status, 201);
}

#[tokio::test]
async fn a_preview_tells_the_very_token_that_a_device_then_gets() {
    let world = World::new().await;
    for name in ["pump-1", "pump-2", "tap-1"] {
        world.enrolled(name).await;
    }
    let path = format!("{ROLES}/sensor/preview");
    let all = world.get(&path).await;
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["device"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&all), ["pump-1", "pump-2", "tap-1"]);
    assert_eq!(names(&world.get(&format!("{path}?prefix=pump-")).await), ["pump-1", "pump-2"]);
    let first = world.get(&format!("{path}?limit=2")).await;
    assert_eq!((names(&first).len(), &first["next"]), (2, &json!("pump-2")));
    let rest = world.get(&format!("{path}?limit=2&cursor=pump-2")).await;
    assert_eq!((names(&rest), &rest["next"]), (vec!["tap-1".to_owned()], &Value::Null));

    // A device of another role: what it would get.
    let claim = world.claim(json!({ "role": "backend" })).await;
    let device = Device::new("service");
    world.enrol(&device, &claim).await.unwrap();
    let one = world.get(&format!("{path}?device=service")).await;
    assert_eq!(one["items"][0]["publish"], json!(["d/service/telemetry"]));
    let seen = &world.get(&format!("{ROLES}/backend/preview?device=service")).await["items"][0];
    let token = world.refresh(&device).await.unwrap();
    let bytes = seen["token_bytes"].as_u64().unwrap() - token.access_token.len() as u64;
    assert!(bytes <= 2, "the serial behind all reserved ones may be longer by {bytes}");
    assert_eq!(seen["scope_bytes"], token.scope.to_aif().len());
    assert_eq!(seen["token_seconds"], token.expires_in);
    assert_eq!((&seen["code"], &seen["publish"]), (&Value::Null, &json!(["d/+/cmd"])));
    assert_eq!(seen["subscribe"], json!(["d/+/telemetry", "$tessera/alerts"]));

    world.post("/v1/tenants/default/devices/tap-1/revoke", json!({})).await;
    let revoked = &world.get(&format!("{path}?device=tap-1")).await["items"][0];
    assert_eq!(
        (&revoked["code"], &revoked["token_bytes"]),
        (&json!("device_revoked"), &Value::Null)
    );

    patch(&world, "sensor", json!({ "add_subscribe": ["d/{device}/#"] })).await.unwrap();
    let contained = json!([
        { "permission": "subscribe", "line": "d/{device}/cmd", "within": "d/{device}/#" }
    ]);
    assert_eq!(world.get(&path).await["contained"], contained);
    for (query, status, code) in [
        ("?device=none", 404, "device_unknown"),
        ("?device=a/b", 400, "request_malformed"),
        ("?device=pump-1&prefix=p", 400, "request_malformed"),
        ("?limit=0", 400, "request_malformed"),
        ("?colour=red", 400, "request_malformed"),
    ] {
        let outcome = problem(world.operator.get(&format!("{path}{query}")).await);
        assert_eq!(outcome, (status, code.to_owned()), "{query}");
    }
    let unknown = world.operator.get(&format!("{ROLES}/none/preview")).await;
    assert_eq!(problem(unknown), (404, "role_unknown".to_owned()));
}

#[tokio::test]
async fn a_partner_gets_exact_topics_and_a_short_token() {
    let world = World::with(|config| config.token_seconds = 7 * 24 * 3600).await;
    let path = format!("{ROLES}/billing");
    let wild = json!({ "class": "partner", "subscribe": ["orders/#"] });
    assert_eq!(problem(world.operator.put_over(&path, &wild).await), (422, "role_invalid".into()));
    let body = json!({ "class": "partner", "publish": ["orders/new", "partners/{device}/in"] });
    put(&world, "billing", body).await;
    let claim = world.claim(json!({ "role": "billing" })).await;
    let token = world.enrol(&Device::new("shop"), &claim).await.unwrap();
    assert_eq!(token.expires_in, 24 * 3600);
    let topics: Vec<_> = token.scope.entries().iter().map(|one| one.filter.as_str()).collect();
    assert_eq!(topics, ["orders/new", "partners/shop/in"]);
    let world = world.restart().await;
    assert_eq!(world.get(&path).await["class"], "partner");
    // Its lines obey its class when they are added singly too.
    let refused = patch(&world, "billing", json!({ "add_publish": ["orders/+"] })).await;
    assert_eq!(problem(refused), (422, RefusalCode::RoleInvalid.as_str().to_owned()));
}
