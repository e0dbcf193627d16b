use std::time::Duration;

use serde_json::{json, Value};
use tessera_runtime::http::{HttpError, Method, Request, ACE_CBOR, JSON};
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::messages::{EnrolRequest, RefusalAnswer, TokenKind};
use tessera_token::refusal::RefusalCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::enrol::claims;
use crate::world::{problem, Device, World};

fn enrol_json(request: &EnrolRequest) -> Value {
    json!({
        "client_id": request.device.as_str(),
        "req_cnf": { "jwk": { "kty": "OKP", "crv": "Ed25519", "x": base64url(&request.key) } },
        "tenant": request.tenant.as_str(),
        "claim": request.claim(),
        "nonce": base64url(&request.nonce),
        "signature": base64url(&request.signature),
    })
}

#[tokio::test]
async fn devices_may_speak_json() {
    let world = World::new().await;
    let device = Device::new("a");
    let claim = world.claim(json!({})).await;
    let nonce: Value =
        world.stranger.post("/v1/enrol/nonce", JSON, Vec::new()).await.unwrap().json().unwrap();
    assert_eq!(
        (&nonce["expires_in"], &nonce["server_time"]),
        (&json!(120), &json!(world.now().get()))
    );
    let nonce = from_base64url(nonce["cnonce"].as_str().unwrap()).unwrap();
    let request = EnrolRequest::sign(&device.key, &device.tenant, &device.id, &claim, &nonce);
    let answer = world.stranger.post_json("/v1/enrol", &enrol_json(&request)).await.unwrap();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer: Value = answer.json().unwrap();
    assert_eq!(answer["token_type"], "PoP");
    assert_eq!(answer["audience"], "mqtt");
    assert_eq!(answer["scope"], json!([["d/a/telemetry", ["pub"]], ["d/a/cmd", ["sub"]]]));
    let token = from_base64url(answer["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(claims(&token).device.as_str(), "a");
    let request = world.request(&device, TokenKind::Key);
    let body = json!({
        "grant_type": "client_credentials", "client_id": "a", "tenant": "default",
        "iat": request.time.get(), "nonce": base64url(&request.nonce), "signature": base64url(&request.signature),
    });
    let answer: Value = world.stranger.post_json("/v1/token", &body).await.unwrap().json().unwrap();
    assert_eq!(answer["expires_in"], 3600);
    let mut wrong = body.clone();
    wrong["iat"] = json!(request.time.get() - 1);
    let refused = world.stranger.post_json("/v1/token", &wrong).await;
    let Err(HttpError::Status { response, .. }) = &refused else { panic!("not refused") };
    assert_eq!(response.json::<Value>().unwrap()["server_time"], world.now().get());
    assert_eq!(problem(refused), (401, "proof_invalid".to_owned()));
}

#[tokio::test]
async fn malformed_device_messages() {
    let world = World::new().await;
    let device = Device::new("a");
    let good = world.request(&device, TokenKind::Key);
    let good = good.to_cbor();
    let cut = |end: usize| good[..end].to_vec();
    for body in
        [Vec::new(), vec![0xa0], vec![0xff], cut(good.len() - 1), [good.clone(), vec![0]].concat()]
    {
        for path in ["/v1/token", "/v1/enrol"] {
            assert_eq!(world.ask(path, body.clone()).await, Err(RefusalCode::RequestMalformed));
        }
    }
    let body = json!({ "grant_type": "password", "client_id": "a", "tenant": "default", "iat": 0, "nonce": "", "signature": "" });
    assert_eq!(
        problem(world.stranger.post_json("/v1/token", &body).await),
        (400, "request_malformed".to_owned())
    );
    let text =
        world.stranger.send(Request::new(Method::Post, "/v1/token").body("text/plain", good)).await;
    assert_eq!(problem(text), (415, "request_malformed".to_owned()));
}

#[tokio::test]
async fn refusals_in_cbor_carry_the_numbers_of_the_framework() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    let request = world.request(&device, TokenKind::Key);
    let Err(HttpError::Status { response, status, .. }) =
        world.stranger.post("/v1/token", ACE_CBOR, request.to_cbor()).await
    else {
        panic!("not refused")
    };
    assert_eq!((status, response.content_type.as_str()), (403, ACE_CBOR));
    let refusal = RefusalAnswer::from_cbor(&response.body).unwrap();
    assert_eq!((refusal.error, refusal.code), (4, Some(RefusalCode::DeviceRevoked)));
    assert_eq!(refusal.description, RefusalCode::DeviceRevoked.words());
}

#[tokio::test]
async fn huge_bodies_are_refused_and_change_nothing() {
    let world = World::new().await;
    let huge = vec![b' '; 64 * 1024];
    let outcome = world
        .operator
        .send(Request::new(Method::Post, "/v1/tenants").body(JSON, huge.clone()))
        .await;
    assert_eq!(problem(outcome), (413, "request_malformed".to_owned()));
    assert_eq!(world.ask("/v1/token", huge).await, Err(RefusalCode::RequestMalformed));
    assert_eq!(world.ask("/v1/token", vec![0; 10_000]).await, Err(RefusalCode::RequestMalformed));
    let form =
        world.operator.send(Request::new(Method::Post, "/v1/tenants").body("text/plain", vec![]));
    assert_eq!(problem(form.await), (415, "request_malformed".to_owned()));
}

#[tokio::test]
async fn slow_heads_and_bodies_are_cut_off() {
    let world = World::new().await;
    let head = async {
        let mut socket = TcpStream::connect(world.handle.addr()).await.unwrap();
        socket.write_all(b"POST /v1/token HTTP/1.1\r\nhost: x\r\n").await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    };
    let body = async {
        let mut socket = TcpStream::connect(world.handle.addr()).await.unwrap();
        let start = b"POST /v1/token HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc";
        socket.write_all(start).await.unwrap();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
    };
    tokio::join!(head, body);
}

#[tokio::test]
async fn paths_that_are_nothing() {
    let world = World::new().await;
    for path in ["/", "/v1", "/v1/tenants/", "/v2/token", "/v1/tenants/default/devices/../keys/x"] {
        assert_eq!(
            problem(world.operator.get(path).await),
            (404, "not_found".to_owned()),
            "{path}"
        );
    }
    let slash = world.operator.get("/v1/tenants/default/devices/a%2Fb").await;
    assert_eq!(problem(slash), (400, "request_malformed".to_owned()));
}

#[tokio::test]
async fn metrics_tell_refusals_by_code_and_no_secret() {
    let world = World::new().await;
    let (device, answer) = world.enrolled("a").await;
    world.refresh(&device).await.unwrap();
    let _ = world.refresh(&Device::new("b")).await;
    let text = world.stranger.get("/metrics").await.unwrap().text();
    assert!(
        text.contains("tessera_provisioning_refusals_total{code=\"proof_invalid\"} 1"),
        "{text}"
    );
    assert!(text.contains("tessera_provisioning_issued_total{occasion=\"enrol\"} 1"));
    assert!(text.contains("tessera_provisioning_issued_total{occasion=\"refresh\"} 1"));
    assert!(text.contains("route=\"/v1/tenants/{tenant}/claims\""));
    assert!(!text.contains(&base64url(&answer.access_token)[..40]));
    assert!(!text.contains("TSR-") && !text.contains("tsr_op_"));
    let ready: Value = world.stranger.get("/readyz").await.unwrap().json().unwrap();
    assert_eq!(ready["status"], "ready");
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let long = Duration::from_secs(60);
    let world = World::with(|config| (config.head_time, config.drain) = (long, long)).await;
    let mut fresh = TcpStream::connect(world.handle.addr()).await.unwrap();
    let mut used = TcpStream::connect(world.handle.addr()).await.unwrap();
    used.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    used.read_exact(&mut answer).await.unwrap();
    // Less than the time for a head, for an idle connection (30 s) and for running requests.
    let stopped = tokio::time::timeout(Duration::from_secs(20), world.stop()).await;
    assert_eq!(stopped.unwrap(), Vec::<String>::new());
    let mut rest = Vec::new();
    let _ = used.read_to_end(&mut rest).await;
    let _ = fresh.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn paths_tell_their_methods() {
    let world = World::new().await;
    for (method, path, allow) in [
        ("GET", "/v1/token", "POST"),
        ("PUT", "/v1/tenants", "GET, POST, HEAD"),
        ("TRACE", "/healthz", "GET, HEAD"),
        ("PUT", "/v1/tenants/default/devices/x", "GET, PATCH, DELETE, HEAD"),
        ("OPTIONS", "/v1/trust/restored", "GET, DELETE, HEAD"),
    ] {
        let (head, body) = raw(&world, method, path, "").await;
        assert!(head.starts_with("HTTP/1.1 405 "), "{method} {path}: {head}");
        assert!(head.contains(&format!("\r\nallow: {allow}\r\n")), "{method} {path}: {head}");
        assert!(body.contains("\"method_not_allowed\""), "{body}");
    }
    let (head, body) = raw(&world, "HEAD", "/healthz", "").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-length: 18"), "{head}");
    assert_eq!(body, "");
}

async fn raw(world: &World, method: &str, path: &str, more: &str) -> (String, String) {
    let mut socket = TcpStream::connect(world.handle.addr()).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (format!("{head}\r\n"), body.to_owned())
}

#[tokio::test]
async fn media_types_have_no_case_and_may_have_parameters() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    for (kind, wanted) in [
        ("Application/ACE+CBOR", 200),
        ("application/ace+cbor; x=y", 200),
        ("application/ace+cbor-seq", 415),
        ("text/plain", 415),
    ] {
        let body = world.request(&device, TokenKind::Key).to_cbor();
        let asked = Request::new(Method::Post, "/v1/token").accept(ACE_CBOR).body(kind, body);
        let status = match world.stranger.send(asked).await {
            Ok(answer) => answer.status,
            Err(error) => error.status().unwrap(),
        };
        assert_eq!(status, wanted, "{kind}");
    }
    let group = |name: &str| format!("{{\"group\":\"{name}\"}}").into_bytes();
    for (kind, name, wanted) in [
        ("Application/Json", "a", 201),
        ("application/json;charset=\"UTF-8\"", "b", 201),
        ("application/json; charset=utf-16", "c", 415),
    ] {
        let path = "/v1/tenants/default/groups";
        let asked = Request::new(Method::Post, path).body(kind, group(name));
        let status = match world.operator.send(asked).await {
            Ok(answer) => answer.status,
            Err(error) => error.status().unwrap(),
        };
        assert_eq!(status, wanted, "{kind}");
    }
}

#[tokio::test]
async fn numbers_out_of_their_range_are_refused_as_the_document_says() {
    let world = World::new().await;
    let lists = [
        "tenants",
        "tenants/default/roles",
        "tenants/default/groups",
        "tenants/default/claims",
        "tenants/default/devices",
        "audit",
        "trust/restored",
    ];
    for list in lists {
        for limit in ["0", "1001", "-1", "x", "", "1.5", "99999999999999999999"] {
            let path = format!("/v1/{list}?limit={limit}");
            let refused = problem(world.operator.get(&path).await);
            assert_eq!(refused, (400, "request_malformed".to_owned()), "{path}");
        }
        for limit in ["1", "1000"] {
            world.get(&format!("/v1/{list}?limit={limit}")).await;
        }
    }
    let refused = problem(world.feed.get("/v1/trust/events?after=0&wait=61").await);
    assert_eq!(refused, (400, "request_malformed".to_owned()));
}

/// Of two members of one name none is taken: not of a type, not of a map, not in a line of an import, not from a device.
#[tokio::test]
async fn a_member_of_a_json_body_that_comes_twice_is_refused() {
    let world = World::new().await;
    let sent = async |path: &str, body: &str| {
        let request = Request::new(Method::Post, path).body(JSON, body.as_bytes().to_vec());
        world.operator.send(request).await
    };
    let claims = "/v1/tenants/default/claims";
    let malformed = (400, "request_malformed".to_owned());
    for body in [
        r#"{"role":"sensor","role":"sensor"}"#,
        r#"{"role":"sensor","attributes":{"site":"a","site":"b"}}"#,
        r#"{"role":"sensor","attributes":{"site":"a","s\u0069te":"a"}}"#,
        r#"{"role":"sensor","none":[{"a":1,"a":1}]}"#,
    ] {
        let refused = sent(claims, body).await;
        let Err(HttpError::Status { response, .. }) = &refused else { panic!("{body}") };
        let told = response.text();
        assert!(told.contains("twice"), "{told}");
        assert_eq!(problem(refused), malformed, "{body}");
    }
    assert_eq!(world.get(claims).await["items"], json!([]));
    // The same name in two objects is none twice.
    sent(claims, r#"{"role":"sensor","attributes":{"role":"a"}}"#).await.unwrap();
    let line = r#"{"role":"sensor","attributes":{"site":"a","site":"b"}}"#;
    let path = "/v1/tenants/default/import/claims";
    let request = Request::new(Method::Post, path).body("application/x-ndjson", line.into());
    let request = request.header("idempotency-key", "abcdefghijklmnopqrstuvwxyz");
    let told = world.operator.send(request).await.unwrap();
    assert!(told.text().contains("request_malformed"), "{}", told.text());
    let body = r#"{"tenant":"default","tenant":"default","device":"a","claim":"x"}"#;
    let refused =
        world.stranger.send(Request::new(Method::Post, "/v1/enrol").body(JSON, body.into()));
    assert_eq!(problem(refused.await), malformed);
}
