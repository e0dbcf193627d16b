//! The audit log in depth: how, credential, network, outcome, the change itself, conditions, and entries of earlier versions.

use std::time::Duration;

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, Method, Request, JSON};
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::head::ServiceHead;

use crate::operators::chained;
use crate::world::{problem, World};

async fn entries(client: &HttpClient, query: &str) -> Vec<Value> {
    let mut path = format!("/v1/audit?{query}");
    let mut found = Vec::new();
    loop {
        let page: Value = client.get(&path).await.unwrap().json().unwrap();
        found.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/audit?{query}&cursor={next}"),
            None => return found,
        }
    }
}

async fn actions(client: &HttpClient, query: &str) -> Vec<String> {
    let found = entries(client, query).await.into_iter();
    found.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

async fn account(world: &World, name: &str, roles: &[&str], tenants: Value) -> HttpClient {
    let body = json!({ "operator": name, "roles": roles, "tenants": tenants });
    let made = world.post("/v1/operators", body).await;
    world.with_token(made["token"].as_str().unwrap())
}

#[tokio::test]
async fn an_entry_says_how_by_which_token_from_where_and_what_changed() {
    let world = World::new().await;
    world.enrolled("a").await;
    let path = "/v1/tenants/default/devices/a/suspend";
    let cli = Request::new(Method::Post, path).header("user-agent", "tessera/1.0");
    world.operator.send(cli.body(JSON, b"{}".to_vec())).await.unwrap();
    let made = world
        .post("/v1/api-tokens", json!({ "purpose": "x", "roles": ["security"], "tenants": "all" }))
        .await;
    let program = world.with_token(made["token"].as_str().unwrap());
    program.post_json("/v1/tenants/default/devices/a/reinstate", &json!({})).await.unwrap();
    let all = entries(&world.operator, "").await;
    let of = |action: &str| -> &Value {
        all.iter().find(|entry| entry["action"] == action).unwrap_or_else(|| panic!("{action}"))
    };
    let suspended = of("device.suspend");
    let token = std::fs::read_to_string(world.dir.path().join("operator.token")).unwrap();
    let id = tessera_runtime::credential::id(token.trim());
    let told = ["how", "credential", "network", "outcome"].map(|name| suspended[name].clone());
    assert_eq!(told, [json!("cli"), json!(id), json!("127.0.0.1"), json!("done")]);
    let json_of = |entry: &Value, name: &str| -> Value {
        serde_json::from_str(entry[name].as_str().unwrap()).unwrap()
    };
    let (before, after) = (json_of(suspended, "before"), json_of(suspended, "after"));
    assert_eq!(before["suspended_at"], Value::Null);
    assert_eq!(after["suspended_at"], json!(world.now().get()));
    assert_eq!(after["suspended_by"], json!("bootstrap"));
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64() && after.get("role").is_none());
    let reinstated = of("device.reinstate");
    assert_eq!((&reinstated["how"], &reinstated["actor"]), (&json!("api"), &json!("bootstrap")));
    assert_eq!(reinstated["credential"], made["api_token"]);
    let new = json_of(of("api-token.create"), "after");
    assert_eq!((&new["token_hash"], &new["purpose"]), (&json!("(masked)"), &json!("x")));
    // Devices have neither an address nor columns there.
    let enrolled = of("device.enrol");
    assert_eq!(enrolled["how"], json!("device"));
    for name in ["credential", "network", "before", "after"] {
        assert_eq!(enrolled[name], json!(""), "{name}");
    }
    assert_eq!(of("service.found")["how"], json!("system"));
    let mut previous = vec![0; 32];
    for entry in &all {
        let bytes = tessera_token::encoding::from_base64url(entry["previous"].as_str().unwrap());
        assert_eq!(bytes.unwrap(), previous);
        previous = chained(entry);
        let hash = tessera_token::encoding::from_base64url(entry["hash"].as_str().unwrap());
        assert_eq!(hash.unwrap(), previous, "{entry}");
    }
}

#[tokio::test]
async fn refused_attempts_of_operators_are_audited_and_bounded() {
    let world = World::with(|config| config.sweep_every = Duration::from_millis(5)).await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let ann = account(&world, "ann", &["viewer"], json!(["acme"])).await;
    let rotate = "/v1/tenants/acme/keys/rotate";
    assert_eq!(problem(ann.post_json(rotate, &json!({})).await).0, 403);
    assert_eq!(problem(ann.get("/v1/tenants/default/devices").await).0, 404);
    assert_eq!(problem(ann.get("/v1/tenants/acme/devices/none").await).0, 404);
    let role = "/v1/tenants/default/roles/sensor";
    let bad = world
        .operator
        .send(Request::new(Method::Put, role).body(JSON, b"{}".to_vec()).header("if-match", "*"));
    assert_eq!(problem(bad.await).0, 400);
    let query = "action=request.refused";
    let refused = entries(&world.operator, query).await;
    let told = |entry: &Value| -> Vec<String> {
        let names = ["actor", "tenant", "subject", "outcome"];
        names.iter().map(|name| entry[name].as_str().unwrap().to_owned()).collect()
    };
    let told: Vec<_> = refused.iter().map(told).collect();
    assert_eq!(
        told,
        [
            ["ann", "acme", "POST /v1/tenants/acme/keys/rotate", "operator_not_allowed"],
            // The tenant of others learns nothing; that of the account does.
            ["ann", "acme", "GET /v1/tenants/default/devices", "tenant_unknown"],
            ["bootstrap", "default", "PUT /v1/tenants/default/roles/sensor", "request_malformed"],
        ]
    );
    let guard = account(&world, "guard", &["security"], json!(["acme"])).await;
    assert_eq!(entries(&guard, query).await.len(), 2);
    // A loop writes a few, and one sum.
    for _ in 0..40 {
        let _ = ann.post_json(rotate, &json!({})).await;
    }
    assert_eq!(entries(&guard, query).await.len(), 20);
    world.advance(61);
    let sum = loop {
        if let [sum] = &entries(&guard, "action=requests.refused").await[..] {
            break sum.clone();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&sum["subject"], &sum["tenant"]), (&json!("ann"), &json!("acme")), "{sum}");
    assert_eq!(sum["detail"], "22 more refused requests of the account");
    // A guesser without an account writes nothing.
    let others = async || {
        let all = entries(&world.operator, "").await;
        // The sum of strangers is due each minute.
        all.iter().filter(|entry| entry["action"] != "strangers.refused").count()
    };
    let before = others().await;
    for _ in 0..30 {
        let _ = world.with_token(&format!("tsr_op_{}", "B".repeat(43))).get("/v1/tenants").await;
    }
    assert_eq!(others().await, before);
}

#[tokio::test]
async fn entries_are_found_by_tenant_actor_action_subject_time_and_from_the_end() {
    let world = World::new().await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let ann = account(&world, "ann", &["fleet", "viewer"], json!(["acme"])).await;
    let start = world.now().get();
    for n in 0..5 {
        world.advance(100);
        let group = json!({ "group": format!("g{n}") });
        ann.post_json("/v1/tenants/acme/groups", &group).await.unwrap();
        world.post("/v1/tenants/default/groups", group).await;
    }
    let o = &world.operator;
    assert_eq!(entries(o, "actor=ann").await.len(), 5);
    assert_eq!(entries(o, "action=group.create&limit=3").await.len(), 10);
    assert_eq!(entries(o, "subject=g3").await.len(), 2);
    assert_eq!(entries(o, "subject=g3&tenant=acme").await.len(), 1);
    assert_eq!(entries(o, "tenant=default&action=group.create").await.len(), 5);
    assert_eq!(actions(o, "actor=ann&subject=g9").await, Vec::<String>::new());
    let since = |seconds: u64| start + seconds;
    assert_eq!(entries(o, &format!("since={}", since(300))).await.len(), 6);
    assert_eq!(entries(o, &format!("since={}", since(301))).await.len(), 4);
    assert_eq!(entries(o, &format!("since={}", since(501))).await.len(), 0);
    let some = format!("since={}&until={}&actor=ann", since(200), since(400));
    assert_eq!(entries(o, &some).await.len(), 3);
    let all = entries(o, "").await;
    assert_eq!(entries(o, "since=0").await, all);
    assert_eq!(entries(o, "last=4").await, all[all.len() - 4..]);
    assert_eq!(entries(o, "last=1000").await, all);
    let page = world.get("/v1/audit?last=1").await;
    assert_eq!((&page["next"], &page["seen"]), (&Value::Null, &json!(all.len())));
    let behind = world.get(&format!("/v1/audit?cursor={}", page["seen"])).await;
    assert_eq!((&behind["items"], &behind["seen"]), (&json!([]), &page["seen"]));
    for bad in ["actor=", "subject=", "since=x", "last=-1", "actor=a&actor=b", "who=a", "cursor=x"]
    {
        let refused = problem(o.get(&format!("/v1/audit?{bad}")).await);
        assert_eq!(refused, (400, "request_malformed".to_owned()), "{bad}");
    }
    // Entries of other tenants are never found.
    let guard = account(&world, "guard", &["security"], json!(["acme"])).await;
    for query in ["tenant=default", "actor=bootstrap&action=group.create", "subject=default"] {
        assert_eq!(entries(&guard, query).await, Vec::<Value>::new(), "{query}");
    }
    assert_eq!(entries(&guard, "subject=g3").await.len(), 1);
}

#[tokio::test]
async fn while_the_log_grows_an_entry_of_each_hour_holds_its_signed_head() {
    let world = World::with(|config| config.sweep_every = Duration::from_millis(5)).await;
    let heads = async || entries(&world.operator, "action=audit.head").await;
    let mut found = Vec::new();
    // The first one is of the founding.
    while found.is_empty() {
        tokio::task::yield_now().await;
        found = heads().await;
    }
    for hour in 1..=3_usize {
        let group = json!({ "group": format!("g{hour}") });
        world.post("/v1/tenants/default/groups", group).await;
        world.advance(3601);
        while found.len() <= hour {
            tokio::task::yield_now().await;
            found = heads().await;
        }
        // A head is no news: without another entry there is none, however long it takes.
        world.advance(7200);
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert_eq!(heads().await.len(), hour + 1);
        }
    }
    let all = entries(&world.operator, "").await;
    let root = world.handle.root_thumbprint();
    for entry in &found {
        let after: Value = serde_json::from_str(entry["after"].as_str().unwrap()).unwrap();
        let signed = from_base64url(after["signed"].as_str().unwrap()).unwrap();
        let head = ServiceHead::open(&signed, &root).unwrap();
        assert_eq!((&entry["actor"], &entry["tenant"]), (&json!("service"), &json!("")));
        assert!(head.audit > 0 && head.audit < entry["seq"].as_u64().unwrap());
        let place = usize::try_from(head.audit).unwrap() - 1;
        assert_eq!(all[place]["hash"], base64url(&head.audit_hash));
    }
}
