//! The stream of events: entries of the audit log as they are made.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, Method, Request};
use tessera_token::encoding::{from_base64url, hex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::world::{problem, Forced, World};

/// An event of a stream.
#[derive(Debug, Default, Clone, PartialEq)]
struct Event {
    /// The number of the entry, and the beginning of its hash.
    id: String,
    kind: String,
    data: Value,
}

/// The events of the text of a stream.
fn parsed(text: &str) -> Vec<Event> {
    let (mut found, mut event) = (Vec::new(), Event::default());
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => event.id = id.to_owned(),
            Some(("event", kind)) => event.kind = kind.to_owned(),
            Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
            Some(("retry", millis)) => assert_eq!(millis, "2000"),
            None if line.is_empty() => found.push(std::mem::take(&mut event)),
            _ => assert_eq!(line, ": here"),
        }
    }
    found.retain(|event| !event.data.is_null());
    found
}

/// The events up to the newest entry.
async fn now(client: &HttpClient, query: &str) -> Vec<Event> {
    let answer = client.get(&format!("/v1/events?seconds=0&{query}")).await.unwrap();
    assert_eq!(answer.content_type, "text/event-stream");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    parsed(&answer.text())
}

/// A stream of new groups that is read as it comes: the service makes entries of its own too.
struct Live(BufReader<TcpStream>);

impl Live {
    async fn begin(world: &World, token: &str, more: &str) -> Self {
        let mut socket = TcpStream::connect(world.handle.addr()).await.unwrap();
        let head = format!(
            "GET /v1/events?action=group.create HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{more}\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut live = Self(BufReader::new(socket));
        assert_eq!(live.line().await, "HTTP/1.1 200 OK");
        while live.line().await != "retry: 2000" {}
        live
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.0.read_line(&mut line).await.unwrap(), 0, "it ended");
        line.trim_end().to_owned()
    }

    async fn next(&mut self) -> Event {
        let mut text = String::new();
        loop {
            let line = self.line().await;
            let is_part = ["id: ", "data: ", "event: "].iter().any(|name| line.starts_with(name));
            if is_part {
                text.push_str(&line);
                text.push('\n');
            }
            if line.is_empty() && text.contains("data: ") {
                text.push('\n');
                return parsed(&text).remove(0);
            }
        }
    }
}

async fn account(world: &World, name: &str, roles: &[&str], tenants: Value) -> String {
    let body = json!({ "operator": name, "roles": roles, "tenants": tenants });
    world.post("/v1/operators", body).await["token"].as_str().unwrap().to_owned()
}

async fn group(world: &World, tenant: &str, name: &str) {
    world.post(&format!("/v1/tenants/{tenant}/groups"), json!({ "group": name })).await;
}

#[tokio::test]
async fn a_reader_that_comes_back_gets_each_event_once_and_in_order() {
    let world = World::new().await;
    let guard = account(&world, "guard", &["security"], json!("all")).await;
    let mut live = Live::begin(&world, &guard, "").await;
    let mut seen = Vec::new();
    for n in 0..5 {
        group(&world, "default", &format!("a{n}")).await;
        seen.push(live.next().await);
    }
    drop(live);
    for n in 0..150 {
        group(&world, "default", &format!("b{n}")).await;
    }
    let world = world.restart().await;
    let last = seen.last().unwrap().id.clone();
    let mut live = Live::begin(&world, &guard, &format!("last-event-id: {last}\r\n")).await;
    while seen.len() < 155 {
        seen.push(live.next().await);
    }
    let names: Vec<&str> = seen.iter().map(|one| one.data["subject"].as_str().unwrap()).collect();
    let wanted: Vec<String> =
        (0..5).map(|n| format!("a{n}")).chain((0..150).map(|n| format!("b{n}"))).collect();
    assert_eq!(names, wanted);
    let numbers: Vec<u64> = seen.iter().map(|one| one.data["seq"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    for one in &seen {
        let hash = from_base64url(one.data["hash"].as_str().unwrap()).unwrap();
        let id = format!("{}-{}", one.data["seq"], hex::encode(&hash[..4]));
        assert_eq!((&one.id, &one.data["outcome"]), (&id, &json!("done")));
    }
    // The header of a browser goes before the query, and the log itself has the same entries.
    let client = world.with_token(&guard);
    let again = Request::new(Method::Get, "/v1/events?seconds=0&after=0&action=group.create")
        .header("last-event-id", seen[150].id.clone());
    assert_eq!(parsed(&client.send(again).await.unwrap().text()), seen[151..]);
    let all = now(&client, "after=0&action=group.create").await;
    assert_eq!(all, seen);
}

#[tokio::test]
async fn a_stream_is_of_the_tenants_and_the_rights_of_its_account() {
    let world = World::new().await;
    for tenant in ["acme", "other"] {
        world.post("/v1/tenants", json!({ "tenant": tenant })).await;
    }
    let guard = account(&world, "guard", &["security"], json!(["acme"])).await;
    let viewer = account(&world, "viewer", &["viewer"], json!("all")).await;
    let refused = world.with_token(&viewer).get("/v1/events?seconds=0").await;
    assert_eq!(problem(refused), (403, "operator_not_allowed".to_owned()));
    let mut live = Live::begin(&world, &guard, "").await;
    group(&world, "other", "o").await;
    group(&world, "acme", "a").await;
    assert_eq!(live.next().await.data["tenant"], "acme");
    let all = now(&world.with_token(&guard), "after=0").await;
    assert!(!all.is_empty() && all.iter().all(|one| one.data["tenant"] == "acme"));
    assert_eq!(now(&world.with_token(&guard), "after=0&tenant=other").await, []);
    // The account ends, and the stream with it, before the next event.
    world.operator.delete_any("/v1/operators/guard").await.unwrap();
    group(&world, "acme", "b").await;
    let end = live.next().await;
    assert_eq!((end.kind.as_str(), &end.data), ("end", &json!({ "code": "operator_unknown" })));
    // The last part of the answer.
    loop {
        let line = live.line().await;
        assert!(!line.contains("data:"), "{line}");
        if line == "0" {
            break;
        }
    }
}

#[tokio::test]
async fn streams_are_bounded_and_bad_places_are_refused() {
    let world = World::new().await;
    let guard = account(&world, "guard", &["security"], json!("all")).await;
    let client = world.with_token(&guard);
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(Live::begin(&world, &guard, "").await);
    }
    let more = client.get("/v1/events?seconds=0").await;
    assert_eq!(problem(more), (429, "limit_reached".to_owned()));
    assert_eq!(now(&world.operator, "").await, []);
    for bad in [
        "after=x",
        "after=-1",
        "after=x-00000000",
        "after=99999999999999999999",
        "seconds=x",
        "no=1",
        "tenant=",
    ] {
        let refused = world.operator.get(&format!("/v1/events?{bad}")).await;
        assert_eq!(problem(refused), (400, "request_malformed".to_owned()), "{bad}");
    }
    // A place that the log does not have is one of before a restore: the reader is told.
    for lost in ["999999", "999999-00000000", "1-00000000"] {
        let beyond = world.operator.get(&format!("/v1/events?after={lost}")).await;
        assert_eq!(problem(beyond), (404, "not_found".to_owned()), "{lost}");
    }
    // A stream that its reader has left is free again when the service next writes to it.
    drop(open);
    world.advance(16);
    for n in 0.. {
        group(&world, "default", &format!("g{n}")).await;
        if client.get("/v1/events?seconds=0").await.is_ok() {
            break;
        }
    }
}

/// A part without an event is no end: very many entries of others stand between two of one tenant.
#[tokio::test]
async fn entries_of_others_hold_up_no_stream() {
    let world = World::with(|config| config.admission.anonymous.burst = 1_000_000).await;
    for tenant in ["acme", "busy"] {
        world.post("/v1/tenants", json!({ "tenant": tenant })).await;
    }
    let role = json!({ "class": "device", "publish": ["d/{device}"] }).to_string().into_bytes();
    let put = Request::new(Method::Put, "/v1/tenants/busy/roles/sensor");
    let put = put.header("if-none-match", "*").body(tessera_runtime::http::JSON, role);
    world.operator.send(put).await.unwrap();
    let guard = account(&world, "guard", &["security"], json!(["acme", "default"])).await;
    let mut live = Live::begin(&world, &guard, "").await;
    let first = world.get("/v1/audit?last=1").await["items"][0]["seq"].clone();
    for _ in 0..42 {
        let made = (0..50).map(|_| async {
            world.post("/v1/tenants/busy/claims", json!({ "role": "sensor" })).await
        });
        futures_util::future::join_all(made).await;
    }
    group(&world, "acme", "a").await;
    assert_eq!(live.next().await.data["subject"], "a");
    let client = world.with_token(&guard);
    let all = now(&client, &format!("after={first}&action=claim.create")).await;
    assert_eq!(all, []);
    let text = client.get(&format!("/v1/events?seconds=0&after={first}")).await.unwrap().text();
    assert_eq!(parsed(&text).len(), 1);
    assert!(text.matches("id: ").count() > 2, "places are told on the way: {text}");
}
