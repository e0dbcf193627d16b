//! Changes rest on the revision that was read.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpError, HttpResponse, Method, Request, JSON};

use crate::world::{problem, World};

const ROLE: &str = "/v1/tenants/default/roles/meter";

async fn send(
    world: &World,
    method: Method,
    path: &str,
    body: Option<&Value>,
    headers: &[(&str, &str)],
) -> Result<HttpResponse, HttpError> {
    let mut request = Request::new(method, path);
    if let Some(body) = body {
        request = request.body(JSON, body.to_string().into_bytes());
    }
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    world.operator.send(request).await
}

async fn tag(world: &World, path: &str) -> String {
    let answer = world.operator.get(path).await.unwrap();
    answer.header("etag").unwrap_or_else(|| panic!("{path}")).to_owned()
}

/// The tag that a refusal tells.
fn told(outcome: Result<HttpResponse, HttpError>) -> Option<String> {
    let Err(HttpError::Status { response, .. }) = &outcome else { panic!("not refused") };
    let body: Value = response.json().unwrap();
    let header = response.header("etag").map(str::to_owned);
    assert_eq!(body["etag"].as_str(), header.as_deref(), "header and member");
    assert_eq!(problem(outcome), (412, "precondition_failed".to_owned()));
    header
}

/// A record of each kind that can be changed, the change, and whether it deletes.
async fn records(world: &World) -> Vec<(String, Method, Option<Value>)> {
    world.post("/v1/tenants/default/groups", json!({ "group": "hall" })).await;
    world.enrolled("a").await;
    world.enrolled("b").await;
    let body = json!({ "operator": "ann", "roles": ["viewer"], "tenants": "all" });
    world.post("/v1/operators", body).await;
    let role = json!({ "class": "device", "publish": ["d/{device}/x"] });
    send(world, Method::Put, ROLE, Some(&role), &[("if-none-match", "*")]).await.unwrap();
    let claim = world.post("/v1/tenants/default/claims", json!({ "role": "sensor" })).await;
    let claim = claim["claims"][0]["claim"].as_str().unwrap().to_owned();
    let wider = json!({ "class": "device", "publish": ["d/{device}/x", "d/{device}/y"] });
    vec![
        ("/v1/tenants/default".to_owned(), Method::Put, Some(json!({ "bearer": true }))),
        (ROLE.to_owned(), Method::Put, Some(wider)),
        (ROLE.to_owned(), Method::Patch, Some(json!({ "add_publish": ["d/{device}/z"] }))),
        (ROLE.to_owned(), Method::Delete, None),
        (
            "/v1/tenants/default/groups/hall".to_owned(),
            Method::Patch,
            Some(json!({ "reenrol": "device" })),
        ),
        (
            "/v1/tenants/default/groups/hall/ways".to_owned(),
            Method::Put,
            Some(json!({ "ways": ["claim", "key"] })),
        ),
        (format!("/v1/tenants/default/claims/{claim}"), Method::Delete, None),
        (
            "/v1/tenants/default/devices/a".to_owned(),
            Method::Patch,
            Some(json!({ "group": "hall" })),
        ),
        ("/v1/tenants/default/devices/b".to_owned(), Method::Delete, None),
        ("/v1/operators/ann".to_owned(), Method::Delete, None),
    ]
}

#[tokio::test]
async fn every_change_demands_the_revision_that_was_read() {
    let world = World::new().await;
    for (path, method, body) in records(&world).await {
        let what = format!("{method:?} {path}");
        let ask = async |headers: &[(&str, &str)]| {
            send(&world, method, &path, body.as_ref(), headers).await
        };
        let before = world.get(&path).await;
        let now = tag(&world, &path).await;
        assert!(now.starts_with('"') && now.ends_with('"') && now.len() >= 24, "{what}: {now}");
        assert_eq!(tag(&world, &path).await, now, "{what}: it is stable");
        let required = (428, "precondition_required".to_owned());
        assert_eq!(problem(ask(&[]).await), required, "{what}");
        let record = now.split('.').next().unwrap().trim_end_matches('"');
        for wrong in ["\"x\"", "\"x\", \"y\"", &format!("W/{now}")] {
            let there = told(ask(&[("if-match", wrong)]).await).unwrap();
            assert_eq!(there, format!("{record}\""), "{what}: {wrong}");
        }
        for (headers, code) in [
            (&[("if-match", "x")][..], "request_malformed"),
            (&[("if-match", "*"), ("if-none-match", "*")], "request_malformed"),
            (&[("if-none-match", "\"x\"")], "request_malformed"),
        ] {
            assert_eq!(problem(ask(headers).await), (400, code.to_owned()), "{what}: {headers:?}");
        }
        assert_eq!(world.get(&path).await, before, "{what}: nothing was changed");
        let many = format!("\"x\", {now}");
        let done = ask(&[("if-match", &many)]).await.unwrap();
        if method == Method::Delete {
            assert!([200, 204].contains(&done.status), "{what}");
            let gone = ask(&[("if-match", "*")]).await;
            assert_eq!(problem(gone).0, 404, "{what}");
            continue;
        }
        let new = done.header("etag").unwrap_or_else(|| panic!("{what}")).to_owned();
        assert_ne!(new, now, "{what}");
        assert_eq!(
            tag(&world, &path).await,
            new,
            "{what}: the tag of the change is that of a read"
        );
        told(ask(&[("if-match", &now)]).await).unwrap();
        ask(&[("if-match", "*")]).await.unwrap();
    }
}

#[tokio::test]
async fn a_role_is_made_once_when_there_must_be_none() {
    let world = World::new().await;
    let role = json!({ "class": "device", "publish": ["d/{device}/x"] });
    let put = async |headers: &[(&str, &str)]| {
        send(&world, Method::Put, ROLE, Some(&role), headers).await
    };
    assert_eq!(told(put(&[("if-match", "*")]).await), None, "there is none");
    assert_eq!(told(put(&[("if-match", "\"x\"")]).await), None);
    assert_eq!(put(&[("if-none-match", "*")]).await.unwrap().status, 201);
    let there = told(put(&[("if-none-match", "*")]).await);
    assert_eq!(there, Some(tag(&world, ROLE).await));
    // If-None-Match is for a PUT.
    let patch = json!({ "add_publish": ["d/{device}/y"] });
    let patched = send(&world, Method::Patch, ROLE, Some(&patch), &[("if-none-match", "*")]).await;
    assert_eq!(problem(patched), (400, "request_malformed".to_owned()));
    assert_eq!(problem(world.operator.get("/v1/tenants/default/roles/no").await).0, 404);
}

#[tokio::test]
async fn of_many_writers_on_one_revision_one_wins() {
    let world = World::new().await;
    world.enrolled("a").await;
    let path = "/v1/tenants/default/devices/a";
    let read = tag(&world, path).await;
    let writers = (0..64).map(|number| {
        let (world, read) = (&world, &read);
        async move {
            let body = json!({ "attributes": { "site": format!("s-{number}") } });
            send(world, Method::Patch, path, Some(&body), &[("if-match", read)]).await
        }
    });
    let outcomes = futures_util::future::join_all(writers).await;
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for outcome in lost {
        told(outcome).unwrap();
    }
    // The same among those that make one.
    let makers = (0..16).map(|number| {
        let world = &world;
        async move {
            let role = json!({ "class": "device", "publish": [format!("d/{{device}}/{number}")] });
            send(world, Method::Put, ROLE, Some(&role), &[("if-none-match", "*")]).await
        }
    });
    let made = futures_util::future::join_all(makers).await;
    assert_eq!(made.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_view_that_is_known_is_not_sent_again_and_a_new_one_is() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let path = "/v1/tenants/default/devices/a";
    let known = tag(&world, path).await;
    let get =
        async |tag: &str| send(&world, Method::Get, path, None, &[("if-none-match", tag)]).await;
    for same in [known.clone(), format!("W/{known}"), format!("\"x\", {known}"), "*".to_owned()] {
        let answer = get(&same).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{same}");
        assert_eq!(answer.header("etag"), Some(known.as_str()));
    }
    assert_eq!(get("\"x\"").await.unwrap().status, 200);
    // A refresh and a pause of the group change the view, and not the record that a change rests on.
    world.advance(5);
    world.refresh(&device).await.unwrap();
    let refreshed = get(&known).await.unwrap();
    assert_eq!(refreshed.status, 200);
    world.post("/v1/tenants/default/groups/default/suspend", json!({ "reason": null })).await;
    let newest = get(refreshed.header("etag").unwrap()).await.unwrap();
    assert_eq!(newest.json::<Value>().unwrap()["state"], "suspended");
    let body = json!({ "attributes": { "site": "x" } });
    let changed = send(&world, Method::Patch, path, Some(&body), &[("if-match", &known)]).await;
    assert_eq!(changed.unwrap().status, 200);

    // A new group is no change of its tenant, and a new role's tokens that end are none of the role.
    let tenant = tag(&world, "/v1/tenants/default").await;
    world.post("/v1/tenants/default/groups", json!({ "group": "new" })).await;
    assert_eq!(tag(&world, "/v1/tenants/default").await, tenant);
    let made = world.operator.post_json("/v1/tenants", &json!({ "tenant": "acme" })).await.unwrap();
    assert_eq!(made.header("etag").unwrap(), tag(&world, "/v1/tenants/acme").await);
}

#[tokio::test]
async fn a_condition_with_too_many_tags_is_refused() {
    let world = World::new().await;
    let body = json!({ "bearer": true });
    let path = "/v1/tenants/default";
    let many = vec!["\"x\""; 17].join(",");
    let long = format!("\"{}\"", "x".repeat(1100));
    for value in [many.as_str(), &long, "W/x", "\"x"] {
        for (method, name) in [(Method::Put, "if-match"), (Method::Get, "if-none-match")] {
            let body = (method == Method::Put).then_some(&body);
            let outcome = send(&world, method, path, body, &[(name, value)]).await;
            match method {
                Method::Put => assert_eq!(problem(outcome), (400, "request_malformed".to_owned())),
                // A read answers in full what it cannot compare.
                _ => assert_eq!(outcome.unwrap().status, 200),
            }
        }
    }
}
