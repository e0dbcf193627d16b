//! Webhooks: events of a tenant for a receiver, signed, at least once, and never into the own network.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, Method, Request, JSON};
use tessera_runtime::proxy::Source;
use tessera_token::encoding::from_base64url;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::world::{problem, Forced, World};

const HOOKS: &str = "/v1/tenants/default/webhooks";
const DAY: u64 = 24 * 3600;
/// An answer with a body that is larger than any that is read.
const LARGE: &str = "200 Large";

/// A request that a receiver got.
#[derive(Debug, Clone)]
struct Got {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A receiver of webhooks: it answers with these heads in turn, the last one for ever.
#[derive(Clone)]
struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<Vec<&'static str>>>,
}

impl Receiver {
    async fn begin(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = Arc::new(Mutex::new(answers.to_vec()));
        let own = Self { port, got: Arc::default(), answers };
        let receiver = own.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(receiver.clone().serve(socket));
            }
        });
        own
    }

    async fn serve(self, socket: TcpStream) -> Option<()> {
        let mut socket = BufReader::new(socket);
        let mut line = String::new();
        socket.read_line(&mut line).await.ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = Vec::new();
        loop {
            line.clear();
            socket.read_line(&mut line).await.ok()?;
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await.ok()?;
        let mut answers = self.answers.lock().await;
        let answer = match answers.len() {
            1 => answers[0],
            _ => answers.remove(0),
        };
        drop(answers);
        self.got.lock().await.push(Got { path, headers, body });
        let large = if answer == LARGE { 200_000 } else { 0 };
        let text =
            format!("HTTP/1.1 {answer}\r\ncontent-length: {large}\r\nconnection: close\r\n\r\n");
        socket.get_mut().write_all(text.as_bytes()).await.ok()?;
        socket.get_mut().write_all(&vec![b'x'; large]).await.ok()
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/in", self.port)
    }

    /// All requests, once there are so many.
    async fn got(&self, count: usize) -> Vec<Got> {
        loop {
            let got = self.got.lock().await;
            if got.len() >= count {
                return got.clone();
            }
            drop(got);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn world(receiver: &Receiver) -> World {
    let port = receiver.port;
    World::with(move |config| allow(config, port)).await
}

fn allow(config: &mut tessera_provisioning::ProvisioningConfig, port: u16) {
    config.webhooks.places.ports = vec![port];
    config.webhooks.places.networks = vec![Source::parse("127.0.0.0/8").unwrap()];
    config.webhooks.places.in_clear = true;
    config.sweep_every = Duration::from_millis(20);
}

async fn make(world: &World, url: &str, actions: &[&str]) -> Value {
    world.post(HOOKS, json!({ "url": url, "actions": actions })).await
}

async fn group(world: &World, tenant: &str, name: &str) {
    world.post(&format!("/v1/tenants/{tenant}/groups"), json!({ "group": name })).await;
}

/// The entry of the newest group: the service makes entries of its own behind it.
async fn newest_group(world: &World) -> Value {
    let log = world.get("/v1/audit?action=group.create&limit=1000").await;
    log["items"].as_array().unwrap().last().unwrap().clone()
}

async fn change(client: &HttpClient, id: &str, body: Value) -> Value {
    let path = format!("{HOOKS}/{id}");
    let request = Request::new(Method::Patch, &path).header("if-match", "*");
    let answer = client.send(request.body(JSON, body.to_string().into_bytes())).await.unwrap();
    answer.json().unwrap()
}

async fn show(world: &World, id: &str) -> Value {
    world.get(&format!("{HOOKS}/{id}")).await
}

async fn attempts(world: &World, id: &str) -> Vec<Value> {
    let list = world.get(&format!("{HOOKS}/{id}/attempts")).await;
    list["items"].as_array().unwrap().clone()
}

/// Waits until this many attempts are on record.
async fn attempted(world: &World, id: &str, count: usize) -> Vec<Value> {
    loop {
        let found = attempts(world, id).await;
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn of(got: &[Got]) -> Vec<String> {
    got.iter().map(|one| one.json()["data"]["subject"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn events_that_are_wanted_arrive_signed() {
    let receiver = Receiver::begin(&["204 No Content"]).await;
    let world = world(&receiver).await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    group(&world, "default", "before").await;
    let made = make(&world, &receiver.url(), &["group.*"]).await;
    let id = made["webhook"].as_str().unwrap();
    let (secret, public) = (made["secret"].as_str().unwrap(), made["public_key"].as_str().unwrap());
    group(&world, "acme", "theirs").await;
    world.claim(json!({})).await;
    group(&world, "default", "hall").await;
    let got = receiver.got(1).await;
    assert_eq!(of(&got), ["hall"]);
    let got = &got[0];
    assert_eq!((got.path.as_str(), got.header("content-type")), ("/in", "application/json"));
    let data = got.json();
    assert_eq!(
        (&data["type"], &data["data"]["tenant"]),
        (&json!("group.create"), &json!("default"))
    );
    assert_eq!(data["data"]["outcome"], "done");
    assert!(data["data"].get("before").is_none() && data["data"].get("after").is_none());
    let (name, time) = (got.header("webhook-id"), got.header("webhook-timestamp"));
    let entry = newest_group(&world).await;
    let hash = from_base64url(entry["hash"].as_str().unwrap()).unwrap();
    let mark = tessera_token::encoding::hex::encode(&hash[..4]);
    assert_eq!(name, format!("evt_{}_{mark}", data["data"]["seq"]));
    assert_eq!(time, world.now().get().to_string());
    let signed = [name.as_bytes(), b".", time.as_bytes(), b".", &got.body].concat();
    assert!(verifies(&signed, got.header("webhook-signature"), secret, public));
    let mut changed = signed.clone();
    changed[5] ^= 1;
    assert!(!verifies(&changed, got.header("webhook-signature"), secret, public));
    // The secret is shown once; the audit log and the lists hold neither it nor the path of the URL.
    let shown = show(&world, id).await;
    assert_eq!((&shown["state"], &shown["public_key"]), (&json!("active"), &json!(public)));
    let log = world.get("/v1/audit?limit=1000").await.to_string();
    for text in [shown.to_string(), world.get(HOOKS).await.to_string(), log.clone()] {
        assert!(!text.contains(secret) && !text.contains("whsec_"), "{text}");
    }
    assert!(log.contains("webhook.create") && !log.contains("/in"), "{log}");
    let tried = attempted(&world, id, 1).await;
    assert_eq!((&tried[0]["outcome"], &tried[0]["status"]), (&json!("delivered"), &json!(204)));
}

/// Whether both signatures are there and right.
fn verifies(signed: &[u8], header: &str, secret: &str, public: &str) -> bool {
    use hmac::{Hmac, Mac};
    let base = |text: &str| base64(text);
    let key = base(secret.strip_prefix("whsec_").unwrap());
    let public = base(public.strip_prefix("whpk_").unwrap());
    let public = tessera_token::key::PublicKey::from_bytes(&public).unwrap();
    let (mut mac_is_right, mut signature_is_right) = (false, false);
    for part in header.split(' ') {
        match part.split_once(',').unwrap() {
            ("v1", text) => {
                let mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
                mac_is_right |= mac.chain_update(signed).verify_slice(&base(text)).is_ok();
            }
            ("v1a", text) => signature_is_right |= public.verifies(signed, &base(text)),
            other => panic!("{other:?}"),
        }
    }
    mac_is_right && signature_is_right
}

/// Base64 with padding.
fn base64(text: &str) -> Vec<u8> {
    let url = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    from_base64url(&url).unwrap()
}

#[tokio::test]
async fn a_failed_message_comes_again_under_its_id_also_after_a_restart() {
    let receiver =
        Receiver::begin(&["500 No", "302 Found\r\nlocation: http://127.0.0.1:1/", "200 OK"]).await;
    let world = world(&receiver).await;
    let made = make(&world, &receiver.url(), &["group.create"]).await;
    let id = made["webhook"].as_str().unwrap().to_owned();
    group(&world, "default", "hall").await;
    attempted(&world, &id, 1).await;
    assert_eq!(show(&world, &id).await["failing_since"], world.now().get());
    let port = receiver.port;
    let world = world.restart_as(move |config| allow(config, port)).await;
    world.advance(7);
    attempted(&world, &id, 2).await;
    // The second pause is of minutes.
    world.advance(200);
    group(&world, "default", "other").await;
    let got = receiver.got(3).await;
    assert_eq!(of(&got), ["hall", "hall", "other"]);
    world.advance(200);
    let got = receiver.got(4).await;
    assert_eq!(of(&got), ["hall", "hall", "other", "hall"]);
    let ids: Vec<&str> = got.iter().map(|one| one.header("webhook-id")).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[3] && ids[0] != ids[2]);
    let times: Vec<&str> = got.iter().map(|one| one.header("webhook-timestamp")).collect();
    assert_ne!(times[0], times[3]);
    let tried = attempted(&world, &id, 4).await;
    let told: Vec<(Value, Value)> =
        tried.iter().map(|one| (one["nth"].clone(), one["outcome"].clone())).collect();
    let wanted = [(3, "delivered"), (1, "delivered"), (2, "failed"), (1, "failed")];
    assert_eq!(told, wanted.map(|(nth, outcome)| (json!(nth), json!(outcome))));
    assert!(
        tried[2]["reason"].as_str().unwrap().contains("302: redirects are not followed"),
        "{}",
        tried[2]
    );
    assert_eq!(show(&world, &id).await["failing_since"], Value::Null);
}

#[tokio::test]
async fn a_message_is_given_up_after_three_days_and_a_webhook_ends_after_five() {
    let receiver = Receiver::begin(&["503 No"]).await;
    let world = world(&receiver).await;
    let made = make(&world, &receiver.url(), &["group.create"]).await;
    let id = made["webhook"].as_str().unwrap().to_owned();
    group(&world, "default", "hall").await;
    for (at, pause) in tessera_provisioning::limits::WEBHOOK_PAUSES.into_iter().enumerate() {
        attempted(&world, &id, at + 1).await;
        world.advance(pause * 6 / 5 + 1);
    }
    let last = &attempted(&world, &id, 10).await[0];
    assert_eq!((&last["nth"], &last["outcome"]), (&json!(10), &json!("given_up")));
    assert_eq!(show(&world, &id).await["state"], "active");
    group(&world, "default", "next").await;
    attempted(&world, &id, 11).await;
    world.advance(2 * DAY);
    attempted(&world, &id, 12).await;
    let shown = show(&world, &id).await;
    assert_eq!(shown["state"], "disabled", "{shown}");
    assert!(shown["reason"].as_str().unwrap().contains("no attempt has succeeded"), "{shown}");
    let log = world.get("/v1/audit?action=webhook.disable").await;
    assert_eq!(log["items"][0]["actor"], "service");
    // An operator makes it active again; it begins anew.
    *receiver.answers.lock().await = vec!["200 OK"];
    let changed = change(&world.operator, &id, json!({ "state": "active" })).await;
    assert_eq!((&changed["state"], &changed["reason"]), (&json!("active"), &Value::Null));
    assert_eq!(changed["failing_since"], Value::Null);
    let before = receiver.got.lock().await.len();
    group(&world, "default", "other").await;
    assert_eq!(of(&receiver.got(before + 1).await).last().unwrap(), "other");
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_its_webhook_at_once() {
    let receiver = Receiver::begin(&["410 Gone"]).await;
    let world = world(&receiver).await;
    let made = make(&world, &receiver.url(), &["group.create"]).await;
    let id = made["webhook"].as_str().unwrap();
    group(&world, "default", "hall").await;
    loop {
        let shown = show(&world, id).await;
        if shown["state"] == "disabled" {
            assert!(shown["reason"].as_str().unwrap().contains("410"), "{shown}");
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    group(&world, "default", "other").await;
    let tested = world.operator.post_json(&format!("{HOOKS}/{id}/test"), &json!({})).await;
    assert_eq!(problem(tested), (429, "limit_reached".to_owned()));
    assert_eq!(receiver.got.lock().await.len(), 1);
}

#[tokio::test]
async fn an_operator_pauses_tests_rotates_and_replays() {
    let receiver = Receiver::begin(&["200 OK"]).await;
    let world = world(&receiver).await;
    let made = make(&world, &receiver.url(), &["group.create"]).await;
    let id = made["webhook"].as_str().unwrap();
    world.post(&format!("{HOOKS}/{id}/test"), json!({})).await;
    let got = receiver.got(1).await;
    assert_eq!((&got[0].json()["type"], got.len()), (&json!("webhook.test"), 1));
    // While it is paused messages wait.
    change(&world.operator, id, json!({ "state": "paused" })).await;
    group(&world, "default", "held").await;
    let entry = newest_group(&world).await["seq"].clone();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(receiver.got.lock().await.len(), 1);
    change(&world.operator, id, json!({ "state": "active" })).await;
    assert_eq!(of(&receiver.got(2).await)[1..], ["held"]);
    // It is sent again under its id, as often as an operator asks.
    let replay = format!("{HOOKS}/{id}/replay");
    let answer = world.post(&replay, json!({ "first": entry })).await;
    assert_eq!(answer["replayed"], 1);
    let got = receiver.got(3).await;
    assert_eq!(of(&got)[2..], ["held"]);
    assert_eq!(got[2].header("webhook-id"), got[1].header("webhook-id"));
    assert!(got[2].header("webhook-id").starts_with(&format!("evt_{entry}_")));
    for (body, code) in [
        (json!({ "first": 999_999 }), (404, "not_found")),
        (json!({ "first": 0, "last": 1000 }), (400, "request_malformed")),
        (json!({ "first": 5, "last": 4 }), (400, "request_malformed")),
        (json!({}), (400, "request_malformed")),
    ] {
        let told = problem(world.operator.post_json(&replay, &body).await);
        assert_eq!(told, (code.0, code.1.to_owned()), "{body}");
    }
    // For a day both secrets sign, then the new one alone.
    let path = format!("{HOOKS}/{id}/rotate");
    let once =
        Request::new(Method::Post, &path).header("idempotency-key", "ThisKeyHas22Characters");
    let once = once.body(JSON, b"{}".to_vec());
    let rotated = world.operator.send(once.clone()).await.unwrap();
    assert_eq!(world.operator.send(once).await.unwrap().body, rotated.body);
    let rotated: Value = rotated.json().unwrap();
    assert_ne!(rotated["secret"], made["secret"]);
    let again = world.operator.post_json(&format!("{HOOKS}/{id}/rotate"), &json!({})).await;
    assert_eq!(problem(again), (409, "already_exists".to_owned()));
    let signs = |got: &Got, by: &Value| {
        let (name, time) = (got.header("webhook-id"), got.header("webhook-timestamp"));
        let signed = [name.as_bytes(), b".", time.as_bytes(), b".", &got.body].concat();
        let header = got.header("webhook-signature");
        verifies(
            &signed,
            header,
            by["secret"].as_str().unwrap(),
            by["public_key"].as_str().unwrap(),
        )
    };
    group(&world, "default", "both").await;
    let got = receiver.got(4).await;
    assert!(signs(&got[3], &made) && signs(&got[3], &rotated));
    world.advance(DAY);
    group(&world, "default", "new").await;
    let got = receiver.got(5).await;
    assert!(!signs(&got[4], &made) && signs(&got[4], &rotated));
}

#[tokio::test]
async fn a_webhook_leads_nowhere_but_to_places_of_the_settings() {
    // Without settings only public addresses and port 443.
    let world = World::new().await;
    for url in [
        "http://hooks.example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://10.0.0.1/",
        "https://169.254.169.254/",
        "https://0x7f000001/",
        "https://[::ffff:10.0.0.1]/",
        "https://hooks.example.com:8080/",
        "https://user:secret@hooks.example.com/",
        "file:///etc/passwd",
        "nothing",
        "",
    ] {
        let told = world.operator.post_json(HOOKS, &json!({ "url": url, "actions": ["*"] })).await;
        assert_eq!(problem(told), (400, "request_malformed".to_owned()), "{url}");
    }
    // A name is checked where it is resolved: this one is of this machine.
    let receiver = Receiver::begin(&["200 OK"]).await;
    let port = receiver.port;
    let world = World::with(move |config| {
        config.webhooks.places.ports = vec![port];
        config.webhooks.places.networks = vec![Source::parse("10.0.0.0/8").unwrap()];
        config.webhooks.places.in_clear = true;
    })
    .await;
    let made = make(&world, &format!("http://localhost:{port}/in"), &["group.create"]).await;
    let id = made["webhook"].as_str().unwrap();
    group(&world, "default", "hall").await;
    let tried = attempted(&world, id, 1).await;
    assert_eq!((&tried[0]["outcome"], &tried[0]["status"]), (&json!("failed"), &Value::Null));
    // The words are those for a name that does not exist too: they tell nothing of the network here.
    let why = tried[0]["reason"].as_str().unwrap();
    assert!(why.contains("no address that may be called") && !why.contains("127."), "{why}");
    assert_eq!(receiver.got.lock().await.len(), 0);
}

#[tokio::test]
async fn webhooks_are_bounded_and_wrong_ones_are_refused() {
    let receiver = Receiver::begin(&["200 OK"]).await;
    let world = world(&receiver).await;
    let url = receiver.url();
    for (extra, code) in [
        (json!({ "actions": [] }), "request_malformed"),
        (json!({ "actions": ["Device.revoke"] }), "request_malformed"),
        (json!({ "actions": ["a*"] }), "request_malformed"),
        (json!({ "actions": [".*"] }), "request_malformed"),
        (json!({ "actions": [""] }), "request_malformed"),
        (json!({ "actions": vec!["a.b"; 33] }), "request_malformed"),
        (json!({ "actions": ["x".repeat(65)] }), "request_malformed"),
        (json!({ "purpose": "x".repeat(101) }), "request_malformed"),
        (json!({ "purpose": "a\nb" }), "request_malformed"),
        (json!({ "state": "paused" }), "request_malformed"),
    ] {
        let mut body = json!({ "url": url, "actions": ["*"] });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let told = problem(world.operator.post_json(HOOKS, &body).await);
        assert_eq!(told, (400, code.to_owned()), "{extra}");
    }
    let mut made = Vec::new();
    for _ in 0..10 {
        made.push(make(&world, &url, &["device.revoke"]).await);
    }
    let more = world.operator.post_json(HOOKS, &json!({ "url": url, "actions": ["*"] })).await;
    assert_eq!(problem(more), (429, "limit_reached".to_owned()));
    assert_eq!(world.get(HOOKS).await["items"].as_array().unwrap().len(), 10);
    let id = made[0]["webhook"].as_str().unwrap();
    let bad = change(&world.operator, id, json!({ "purpose": "ops" })).await;
    assert_eq!(bad["purpose"], "ops");
    let path = format!("{HOOKS}/{id}");
    let bare = world.operator.send(Request::new(Method::Patch, &path).body(JSON, b"{}".to_vec()));
    assert_eq!(problem(bare.await), (428, "precondition_required".to_owned()));
    world.operator.delete_any(&path).await.unwrap();
    assert_eq!(problem(world.operator.get(&path).await), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn the_head_of_an_answer_counts() {
    let receiver = Receiver::begin(&[LARGE]).await;
    let world = world(&receiver).await;
    let made = make(&world, &receiver.url().replace("/in", "/i\tn"), &["group.create"]).await;
    assert_eq!(made["url"], receiver.url(), "a URL is kept as it is called");
    let id = made["webhook"].as_str().unwrap();
    group(&world, "default", "hall").await;
    let tried = attempted(&world, id, 1).await;
    assert_eq!((&tried[0]["outcome"], &tried[0]["status"]), (&json!("delivered"), &json!(200)));
    assert_eq!(attempts(&world, id).await.len(), 1);
}

/// Nothing is sent in clear beyond the networks of the settings: not by a name either.
#[tokio::test]
async fn in_clear_is_for_the_own_networks_alone() {
    let receiver = Receiver::begin(&["200 OK"]).await;
    let port = receiver.port;
    let world = World::with(move |config| {
        allow(config, port);
        config.webhooks.places.networks = vec![Source::parse("10.0.0.0/8").unwrap()];
    })
    .await;
    for (url, is_taken) in [
        (format!("http://1.1.1.1:{port}/"), false),
        (format!("http://10.0.0.1:{port}/"), true),
        (format!("http://localhost:{port}/"), true),
    ] {
        let answer =
            world.operator.post_json(HOOKS, &json!({ "url": url, "actions": ["a.b"] })).await;
        assert_eq!(answer.is_ok(), is_taken, "{url}");
    }
}

/// Two processes of one database make each message once, and one of them sends it.
#[tokio::test]
async fn of_two_processes_one_sends_each_event() {
    fn everywhere(config: &mut tessera_provisioning::ProvisioningConfig) {
        allow(config, 1);
        config.webhooks.places.ports = (1..=u16::MAX).collect();
    }
    let Some(two) = crate::several::two_with(everywhere).await else { return };
    let receiver = Receiver::begin(&["200 OK"]).await;
    let made = make(&two.one, &receiver.url(), &["group.create"]).await;
    let id = made["webhook"].as_str().unwrap();
    for n in 0..40 {
        let world = if n % 2 == 0 { &two.one } else { &two.other };
        group(world, "default", &format!("g{n}")).await;
    }
    attempted(&two.one, id, 40).await;
    let mut names = of(&receiver.got(40).await);
    names.sort_unstable();
    let mut wanted: Vec<String> = (0..40).map(|n| format!("g{n}")).collect();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    // And each has one entry in the log.
    let log = two.one.get("/v1/audit?action=group.create&limit=1000").await;
    let entries = log["items"].as_array().unwrap().iter();
    let mut subjects: Vec<&str> = entries.map(|one| one["subject"].as_str().unwrap()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, wanted);
}
