//! Rules reach verifiers, and none is enforced untried.

use std::time::Duration;

use serde_json::{json, Value};
use tessera_rules::rule::{Action, Mode, Rule};
use tessera_runtime::http::{HttpClient, HttpError, HttpResponse, Method, Request, JSON};
use tessera_token::trust::{Change, Step};

use crate::feed::Reader;
use crate::restored::{brought_back, copied, Keeper};
use crate::world::{problem, World};

const PATH: &str = "/v1/tenants/default/rules/no-commands";

fn rule(world: &World, version: u64, more: Value) -> Value {
    let mut rule = json!({
        "id": "no-commands", "version": version, "on": "publish", "text": "bytes > 1024",
        "action": "deny", "not_before": world.now().get(), "expires": world.now().get() + 86_400,
        "author": "maria", "reason": "a test", "selector": { "tenant": "default", "groups": ["default"] },
    });
    for (name, value) in more.as_object().unwrap() {
        rule[name] = value.clone();
    }
    rule
}

async fn put(client: &HttpClient, body: Value) -> Result<HttpResponse, HttpError> {
    let request = Request::new(Method::Put, PATH).body(JSON, body.to_string().into_bytes());
    client.send(request).await
}

async fn good(client: &HttpClient, body: Value) -> Value {
    put(client, body).await.unwrap().json().unwrap()
}

fn told(changes: &[Change]) -> Vec<Option<Rule>> {
    let of = |change: &Change| match change {
        Change::Rule(entry) => Some(Rule::from_cbor(&entry.rule).ok()),
        _ => None,
    };
    changes.iter().filter_map(of).collect()
}

#[tokio::test]
async fn a_rule_is_tried_in_shadow_and_then_enforced_and_removed() {
    let world = World::new().await;
    let mut reader = Reader::snapshot(&world).await;
    let shadow = json!({ "rule": rule(&world, 1, json!({ "mode": "shadow" })) });
    let shown = good(&world.operator, shadow).await;
    assert_eq!((&shown["rule"]["mode"], &shown["by"]), (&json!("shadow"), &json!("bootstrap")));
    let counted = world.get(PATH).await;
    assert_eq!((&counted["rule"], &counted["verifiers"]), (&shown["rule"], &json!([])));
    let changes = reader.read(&world).await;
    // The name of the group comes with its number.
    assert!(changes
        .iter()
        .any(|one| matches!(one, Change::Group(g) if g.group.as_str() == "default")));
    let [Some(first)] = &told(&changes)[..] else { panic!() };
    assert_eq!((first.draft().mode, first.draft().action), (Mode::Shadow, Action::Deny));
    let enforced = |version| json!({ "rule": rule(&world, version, json!({ "mode": "enforce" })) });
    let refused = put(&world.operator, enforced(2)).await;
    assert_eq!(problem(refused), (400, "rule_not_tried".to_owned()));
    world.advance(3600);
    // Another condition was not tried.
    let other = json!({ "mode": "enforce", "text": "bytes > 1" });
    let refused = put(&world.operator, json!({ "rule": rule(&world, 2, other) })).await;
    assert_eq!(problem(refused), (400, "rule_not_tried".to_owned()));
    good(&world.operator, enforced(2)).await;
    let refused = put(&world.operator, enforced(2)).await;
    assert_eq!(problem(refused).1, "precondition_failed");
    let [Some(second)] = &told(&reader.read(&world).await)[..] else { panic!() };
    assert_eq!((second.draft().mode, second.draft().version), (Mode::Enforce, 2));
    // A verifier that starts now has it too.
    let snapshot = Reader::snapshot(&world).await;
    assert_eq!((snapshot.rules(), snapshot.group_epoch(0)), (vec!["no-commands"], 0));
    world.operator.send(Request::new(Method::Delete, PATH)).await.unwrap();
    assert_eq!(told(&reader.read(&world).await), [None]);
    assert_eq!(Reader::snapshot(&world).await.rules(), [] as [&str; 0]);
    let gone = world.operator.send(Request::new(Method::Get, PATH)).await;
    assert_eq!(problem(gone), (404, "not_found".to_owned()));
    let log = world.get("/v1/audit?tenant=default&action=rule.put").await;
    assert_eq!(log["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_rule_at_once_says_why_and_a_wide_one_waits_for_a_second_operator() {
    let world = World::new().await;
    let mut reader = Reader::snapshot(&world).await;
    let enforced = |version| rule(&world, version, json!({ "mode": "enforce" }));
    good(&world.operator, json!({ "rule": enforced(1), "now": "worm on site 3" })).await;
    assert_eq!(told(&reader.read(&world).await).len(), 1);
    let log = world.get("/v1/audit?tenant=default&action=rule.put").await;
    let detail = log["items"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.ends_with("at once: worm on site 3"), "{detail}");
    // A test that shows 5 devices of 100.
    let test = json!({ "rule": enforced(2), "events": 9, "devices": 100, "devices_matched": 5 });
    let kept = world.operator.post_json(&format!("{PATH}/tested"), &test).await;
    assert_eq!(kept.unwrap().status, 204);
    let shown = good(&world.operator, json!({ "rule": enforced(2), "now": "worm" })).await;
    assert_eq!((&shown["rule"]["version"], &shown["waiting"]["version"]), (&json!(1), &json!(2)));
    assert_eq!(told(&reader.read(&world).await), []);
    let approve = format!("{PATH}/approve");
    let own = world.operator.post_json(&approve, &json!({})).await;
    assert_eq!(problem(own), (403, "operator_not_allowed".to_owned()));
    let second = json!({ "operator": "second", "roles": ["security"], "tenants": "all" });
    let made = world.post("/v1/operators", second).await;
    let second = world.with_token(made["token"].as_str().unwrap());
    let shown: Value = second.post_json(&approve, &json!({})).await.unwrap().json().unwrap();
    assert_eq!((&shown["rule"]["version"], &shown["waiting"]), (&json!(2), &Value::Null));
    let [Some(rule)] = &told(&reader.read(&world).await)[..] else { panic!() };
    assert_eq!(rule.draft().version, 2);
}

#[tokio::test]
async fn a_rule_that_is_wrong_changes_nothing() {
    let world = World::new().await;
    let mut reader = Reader::snapshot(&world).await;
    for more in [
        json!({ "text": "bytes > " }),
        json!({ "text": "topic > 3" }),
        json!({ "id": "other" }),
        json!({ "selector": { "tenant": "default" } }),
        json!({ "selector": { "tenant": "other", "groups": ["default"] } }),
        json!({ "selector": { "tenant": "default", "roles": ["sensor"] } }),
        json!({ "text": "role == \"sensor\"" }),
        json!({ "text": "group == \"default\"" }),
        json!({ "text": "severity == \"high\"" }),
        json!({ "text": "score > 5" }),
        json!({ "expires": world.now().get() + 91 * 86_400 }),
        json!({ "expires": "tomorrow" }),
        json!({ "more": 1 }),
    ] {
        let body = json!({ "rule": rule(&world, 1, more.clone()) });
        let refused = problem(put(&world.operator, body).await);
        assert_eq!(refused, (400, "request_malformed".to_owned()), "{more}");
    }
    let unknown = json!({ "selector": { "tenant": "default", "groups": ["none"] } });
    let refused = put(&world.operator, json!({ "rule": rule(&world, 1, unknown) })).await;
    assert_eq!(problem(refused), (404, "group_unknown".to_owned()));
    assert_eq!(reader.read(&world).await, []);
}

#[tokio::test]
async fn a_tenant_has_a_bounded_number_of_rules_and_they_go_when_they_ended() {
    let world = World::with(|config| config.sweep_every = Duration::from_millis(5)).await;
    for number in 0..64 {
        let id = format!("r-{number}");
        let path = format!("/v1/tenants/default/rules/{id}");
        let body = json!({ "rule": rule(&world, 1, json!({ "id": id })) });
        let request = Request::new(Method::Put, &path).body(JSON, body.to_string().into_bytes());
        world.operator.send(request).await.unwrap();
    }
    let refused = put(&world.operator, json!({ "rule": rule(&world, 1, json!({})) })).await;
    assert_eq!(problem(refused).1, "capacity_reached");
    world.advance(9 * 86_400);
    while world.get("/v1/tenants/default/rules").await["items"] != json!([]) {
        tokio::task::yield_now().await;
    }
    good(&world.operator, json!({ "rule": rule(&world, 1, json!({})) })).await;
}

#[tokio::test]
async fn rules_and_restraints_of_a_lost_part_are_taken_from_a_reader() {
    let world = World::new().await;
    world.enrolled("a").await;
    world.enrolled("b").await;
    let mut keeper = Keeper::new(&world).await;
    let world = copied(world).await;
    // The part that will be lost.
    let shadow = json!({ "mode": "shadow" });
    good(&world.operator, json!({ "rule": rule(&world, 3, shadow.clone()) })).await;
    let hold = json!({ "step": "quarantine", "seconds": 3600, "reason": "worm" });
    for device in ["a", "b"] {
        world.post(&format!("/v1/tenants/default/devices/{device}/restrain"), hold.clone()).await;
    }
    world.advance(1);
    world.post("/v1/tenants/default/devices/b/release", json!({ "reason": "cleaned" })).await;
    keeper.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    assert_eq!(Reader::snapshot(&world).await.rules(), [] as [&str; 0]);
    assert_eq!(keeper.poll(&world).await, Err(409));
    assert_eq!(keeper.show(&world).await.unwrap(), 204);
    let reader = Reader::snapshot(&world).await;
    assert_eq!(reader.rules(), ["no-commands"]);
    // Only what refuses more: a release is not taken back.
    assert_eq!((reader.held("a"), reader.held("b")), (Some(Step::Quarantine), None));
    assert_eq!(world.get(PATH).await["rule"]["version"], 3);
    let found = world.get("/v1/trust/restored").await;
    let kinds: Vec<&Value> =
        found["items"].as_array().unwrap().iter().map(|item| &item["kind"]).collect();
    assert!(kinds.contains(&&json!("rule")) && kinds.contains(&&json!("restraint")), "{found}");
    let refused = put(&world.operator, json!({ "rule": rule(&world, 3, shadow) })).await;
    assert_eq!(problem(refused).1, "precondition_failed");
}

async fn count(
    world: &World,
    verifier: &str,
    line: &str,
    version: u64,
    [asked, matched]: [u64; 2],
) -> Result<HttpResponse, HttpError> {
    let rule = json!({
        "tenant": "default", "rule": "no-commands", "version": version, "asked": asked, "matched": matched,
        "broke": 0, "suspended": false, "code": null,
    });
    let body = json!({ "line": line, "rules": [rule] }).to_string().into_bytes();
    let request = Request::new(Method::Post, "/v1/trust/rules").body(JSON, body);
    world.feed.send(request.header("tessera-verifier", verifier)).await
}

#[tokio::test]
async fn counts_of_verifiers_add_up_by_version_and_over_their_restarts() {
    let world = World::new().await;
    let total = async || {
        let shown = world.get(PATH).await;
        (shown["asked"].as_u64().unwrap(), shown["matched"].as_u64().unwrap())
    };
    let (one, two) = ("00112233445566ff", "00112233445566aa");
    count(&world, "mqtt-1", one, 1, [10, 2]).await.unwrap();
    let shadow = |version| json!({ "rule": rule(&world, version, json!({ "mode": "shadow" })) });
    good(&world.operator, shadow(1)).await;
    assert_eq!(total().await, (0, 0), "there was no such rule");
    for _ in 0..2 {
        count(&world, "mqtt-1", one, 1, [10, 2]).await.unwrap();
    }
    count(&world, "mqtt-2", two, 1, [5, 1]).await.unwrap();
    assert_eq!(total().await, (15, 3));
    // A report that comes late, and a process that began anew.
    count(&world, "mqtt-1", one, 1, [9, 1]).await.unwrap();
    count(&world, "mqtt-2", one, 1, [4, 0]).await.unwrap();
    assert_eq!(total().await, (19, 3));
    let unread = json!({
        "tenant": "default", "rule": "no-commands", "version": 0, "asked": 0, "matched": 0, "broke": 0,
        "suspended": false, "code": "rule_unsupported",
    });
    let body = json!({ "line": one, "rules": [unread] }).to_string().into_bytes();
    let request = Request::new(Method::Post, "/v1/trust/rules").body(JSON, body);
    world.feed.send(request.header("tessera-verifier", "old")).await.unwrap();
    let shown = world.get(PATH).await;
    let states: Vec<(&str, &str)> = shown["verifiers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["verifier"].as_str().unwrap(), one["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("mqtt-1", "applied"), ("mqtt-2", "applied"), ("old", "not_applied")]);
    assert_eq!(shown["verifiers"][2]["code"], "rule_unsupported");
    // Another version begins anew.
    good(&world.operator, shadow(2)).await;
    assert_eq!(total().await, (0, 0));
    count(&world, "mqtt-1", one, 2, [3, 3]).await.unwrap();
    assert_eq!(total().await, (3, 3));
    for line in ["", "00112233445566f", "00112233445566zz"] {
        assert_eq!(problem(count(&world, "mqtt-1", line, 2, [1, 1]).await).0, 400);
    }
    assert_eq!(problem(count(&world, "a b", one, 2, [1, 1]).await).0, 400);
    for number in 0..260 {
        count(&world, &format!("v{number}"), one, 2, [1, 0]).await.unwrap();
    }
    assert_eq!(world.get(PATH).await["verifiers"].as_array().unwrap().len(), 256);
    world.operator.send(Request::new(Method::Delete, PATH)).await.unwrap();
    good(&world.operator, shadow(3)).await;
    assert_eq!(world.get(PATH).await["verifiers"], json!([]));
}
