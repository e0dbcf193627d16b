//! Attributes of devices: set, found, and in the topics of roles.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpError, Method, Request, JSON};
use tessera_token::refusal::RefusalCode;

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

async fn set(world: &World, device: &str, attributes: Value) -> Value {
    change(world, device, json!({ "attributes": attributes })).await.unwrap()["attributes"].clone()
}

/// A role whose topics name the attribute `site`.
async fn role(world: &World) {
    let body = json!({ "class": "device", "publish": ["{attr.site}/{device}/up"] });
    world.operator.put_over("/v1/tenants/default/roles/meter", &body).await.unwrap();
}

async fn ids(world: &World, query: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("{DEVICES}?limit=2{query}{cursor}")).await;
        let items = page["items"].as_array().unwrap();
        ids.extend(items.iter().map(|item| item["device"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn attributes_are_added_changed_and_removed_singly() {
    let world = World::new().await;
    world.enrolled("a").await;
    assert_eq!(world.get(&format!("{DEVICES}/a")).await["attributes"], json!({}));
    assert_eq!(
        set(&world, "a", json!({ "site": "hall", "floor": "2" })).await.to_string(),
        r#"{"floor":"2","site":"hall"}"#
    );
    let next = set(&world, "a", json!({ "site": "yard", "floor": null, "none": null })).await;
    assert_eq!(next, json!({ "site": "yard" }));
    let world = world.restart().await;
    assert_eq!(world.get(&format!("{DEVICES}/a")).await["attributes"], json!({ "site": "yard" }));
    let many: serde_json::Map<_, _> = (0..16).map(|n| (format!("a{n}"), json!("x"))).collect();
    for bad in [
        json!({ "Site": "x" }),
        json!({ "a.b": "x" }),
        json!({ "": "x" }),
        json!({ "site": "" }),
        json!({ "site": "a/b" }),
        json!({ "site": "+" }),
        json!({ "site": "#" }),
        json!({ "site": "$SYS" }),
        json!({ "site": "a\u{0}" }),
        json!({ "site": "a\n" }),
        json!({ "site": "x".repeat(65) }),
        json!({ "site": 1 }),
        json!({ "site": ["x"] }),
        json!(many),
        json!({}),
        json!(null),
    ] {
        let outcome = problem(change(&world, "a", json!({ "attributes": bad })).await);
        assert_eq!(outcome, (400, "request_malformed".to_owned()), "{bad}");
    }
    assert_eq!(world.get(&format!("{DEVICES}/a")).await["attributes"], json!({ "site": "yard" }));
    let log = world.get("/v1/audit?limit=1000").await.to_string();
    assert!(
        log.contains("attr.site hall to yard") && log.contains("attr.floor 2 removed"),
        "{log}"
    );
}

#[tokio::test]
async fn devices_are_found_by_their_attributes_beside_the_other_properties() {
    let world = World::new().await;
    world.post("/v1/tenants/default/groups", json!({ "group": "hall" })).await;
    world.post("/v1/tenants", json!({ "tenant": "other" })).await;
    for number in 0..6 {
        let group = if number % 2 == 0 { "hall" } else { "default" };
        let role = if number < 2 { "backend" } else { "sensor" };
        let attributes =
            json!({ "site": if number < 4 { "x" } else { "x-2" }, "n": number.to_string() });
        let body = json!({ "group": group, "role": role, "attributes": attributes });
        let claim = world.claim(body).await;
        world.enrol(&Device::new(&format!("pump-{number}")), &claim).await.unwrap();
    }
    world.enrolled("pump-9").await;
    world.post(&format!("{DEVICES}/pump-2/revoke"), json!({})).await;
    let found = async |query: &str| ids(&world, query).await.join(" ");
    assert_eq!(found("&attr.site=x").await, "pump-0 pump-1 pump-2 pump-3");
    assert_eq!(found("&attr.site=x-2").await, "pump-4 pump-5");
    assert_eq!(found("&attr.site=x&group=hall").await, "pump-0 pump-2");
    assert_eq!(found("&attr.site=x&role=sensor").await, "pump-2 pump-3");
    assert_eq!(found("&attr.site=x&state=revoked").await, "pump-2");
    assert_eq!(found("&attr.site=x&attr.n=3").await, "pump-3");
    assert_eq!(
        found("&attr.n=3&attr.site=x&prefix=pump-&group=default&state=active").await,
        "pump-3"
    );
    assert_eq!(found("&attr.site=x&prefix=pump-1").await, "pump-1");
    assert_eq!(found("&attr.site=x&prefix=q").await, "");
    assert_eq!(found("&attr.site=none").await, "");
    assert_eq!(found("&attr.none=x").await, "");
    let others = world.get("/v1/tenants/other/devices?attr.site=x").await;
    assert_eq!(others["items"], json!([]), "of its own tenant alone");
    // A changed value is found, and the former one is not.
    set(&world, "pump-0", json!({ "site": "x-2" })).await;
    set(&world, "pump-1", json!({ "site": null })).await;
    world.operator.delete_any(&format!("{DEVICES}/pump-3?force=true")).await.unwrap();
    assert_eq!(found("&attr.site=x").await, "pump-2");
    assert_eq!(found("&attr.site=x-2").await, "pump-0 pump-4 pump-5");
    let claim = world.claim(json!({})).await;
    world.enrol(&Device::new("pump-3"), &claim).await.unwrap();
    assert_eq!(found("&attr.site=x").await, "pump-2", "a new device of the id has none");
    for wrong in [
        "attr.=x",
        "attr.Site=x",
        "attr.site=",
        "attr.site=a%2Fb",
        "attr.site",
        "attr=x",
        "attr%2Esite=x",
        "attr.a=1&attr.b=1&attr.c=1&attr.d=1&attr.e=1",
    ] {
        let outcome = world.operator.get(&format!("{DEVICES}?{wrong}")).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{wrong}");
    }
    if crate::postgres::has_no_files() {
        return;
    }
    // The rows by which devices are found are those of the attributes that they have.
    assert_eq!(world.stop().await, Vec::<String>::new());
    let store = world.dir.path().join("provisioning/store");
    let checked = tessera_provisioning::check_stopped(&store, &|_| {}).await.unwrap();
    assert_eq!(checked.faults, Vec::<String>::new());
}

#[tokio::test]
async fn only_a_change_of_rights_ends_tokens() {
    let world = World::new().await;
    role(&world).await;
    let claim = world.claim(json!({ "role": "meter", "attributes": { "site": "hall" } })).await;
    let device = Device::new("a");
    let first = world.enrol(&device, &claim).await.unwrap();
    assert_eq!(first.scope.entries()[0].filter.as_str(), "hall/a/up");
    let mut reader = Reader::snapshot(&world).await;
    set(&world, "a", json!({ "colour": "red" })).await;
    assert!(reader.read(&world).await.is_empty(), "the role does not name it");
    set(&world, "a", json!({ "site": "hall" })).await;
    assert!(reader.read(&world).await.is_empty(), "as it was");
    set(&world, "a", json!({ "site": "yard" })).await;
    assert_eq!(reader.read(&world).await.len(), 1);
    assert!(reader.device_epoch("a") > claims(&first.access_token).epochs.device);
    let next = world.refresh(&device).await.unwrap();
    assert_eq!(next.scope.entries()[0].filter.as_str(), "yard/a/up");
    assert_eq!(claims(&next.access_token).epochs.device, reader.device_epoch("a"));
    // Without it there is no right, and none that is wider.
    set(&world, "a", json!({ "site": null })).await;
    assert_eq!(reader.read(&world).await.len(), 1);
    assert_eq!(world.refresh(&device).await.err(), Some(RefusalCode::AttributeMissing));
    let seen = world.get("/v1/tenants/default/roles/meter/preview?device=a").await;
    assert_eq!(seen["items"][0]["code"], "attribute_missing");
    assert!(seen["items"][0]["detail"].as_str().unwrap().contains("attribute site"), "{seen}");
    set(&world, "a", json!({ "site": "hall" })).await;
    world.refresh(&device).await.unwrap();
}

#[tokio::test]
async fn a_claim_carries_the_attributes_that_its_role_names() {
    let world = World::new().await;
    role(&world).await;
    let path = "/v1/tenants/default/claims";
    let without = world.operator.post_json(path, &json!({ "role": "meter" })).await;
    assert_eq!(problem(without), (422, "attribute_missing".to_owned()));
    for bad in [json!({ "site": "a/b" }), json!({ "Site": "x" }), json!({ "site": null })] {
        let body = json!({ "role": "meter", "attributes": bad });
        let outcome = world.operator.post_json(path, &body).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{bad}");
    }
    assert_eq!(world.get(path).await["items"], json!([]), "none was made");
    let claim = world.claim(json!({ "role": "meter", "attributes": { "site": "hall" } })).await;
    assert_eq!(world.get(path).await["items"][0]["attributes"], json!({ "site": "hall" }));
    let world = world.restart().await;
    // The role names another one since: the device is not enrolled, and its claim is not used up.
    let body = json!({ "class": "device", "publish": ["{attr.floor}/{device}/up"] });
    let changed = world.operator.put_over("/v1/tenants/default/roles/meter", &body).await.unwrap();
    assert_eq!(changed.json::<Value>().unwrap()["epochs_moved"], "nothing");
    let device = Device::new("a");
    assert_eq!(world.enrol(&device, &claim).await.err(), Some(RefusalCode::AttributeMissing));
    role(&world).await;
    world.enrol(&device, &claim).await.unwrap();
    let shown = world.get(&format!("{DEVICES}/a")).await;
    assert_eq!(shown["attributes"], json!({ "site": "hall" }));
    // A role that is changed says how many devices it leaves without a token.
    let tried = "/v1/tenants/default/roles/meter?dry_run=true";
    let tried: Value = world.operator.put_over(tried, &body).await.unwrap().json().unwrap();
    assert_eq!((&tried["devices"], &tried["devices_refused"]), (&json!(1), &json!(1)));
}
