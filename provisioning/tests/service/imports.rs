//! Devices are imported and exported as lines.

use serde_json::{json, Value};
use tessera_provisioning::TrustLimits;
use tessera_runtime::http::{HttpClient, HttpError, Method, Request, JSON};
use tessera_token::encoding::base64url;
use tessera_token::key::{PublicKey, SecretKey};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Change;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::feed::Reader;
use crate::world::{problem, Device, Forced, World};

const IMPORT: &str = "/v1/tenants/default/import/devices";
const EXPORT: &str = "/v1/tenants/default/export/devices";
pub const NDJSON: &str = "application/x-ndjson";

fn line(device: &Device, more: Value) -> String {
    let key = base64url(&device.key.public().to_cose_key());
    let mut line = json!({ "device": device.id.as_str(), "key": key, "role": "sensor" });
    line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    line.to_string()
}

async fn send(client: &HttpClient, path: &str, lines: &[String]) -> Result<Vec<Value>, HttpError> {
    let body = lines.join("\n").into_bytes();
    let answer = client.send(Request::new(Method::Post, path).body(NDJSON, body)).await?;
    assert_eq!(answer.content_type, NDJSON);
    Ok(parsed(&answer.body))
}

pub fn parsed(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The answers to these lines, and the last line.
async fn import(world: &World, query: &str, lines: &[String]) -> (Vec<Value>, Value) {
    let mut told = send(&world.operator, &format!("{IMPORT}{query}"), lines).await.unwrap();
    let last = told.pop().unwrap();
    (told, last)
}

async fn export(world: &World, tenant: &str, query: &str) -> String {
    let path = format!("/v1/tenants/{tenant}/export/devices{query}");
    let answer = world.operator.get(&path).await.unwrap();
    assert_eq!(answer.content_type, NDJSON);
    String::from_utf8(answer.body).unwrap()
}

pub async fn audit(world: &World) -> Vec<Value> {
    world.get("/v1/audit?limit=1000").await["items"].as_array().unwrap().clone()
}

pub async fn actions(world: &World) -> Vec<String> {
    let of = |entry: &Value| entry["action"].as_str().unwrap().to_owned();
    audit(world).await.iter().map(of).filter(|action| action.contains("import")).collect()
}

#[tokio::test]
async fn imported_devices_get_their_first_token_by_their_keys() {
    let world = World::new().await;
    let devices: Vec<Device> = (0..3).map(|n| Device::new(&format!("d-{n}"))).collect();
    let lines: Vec<String> = devices.iter().map(|device| line(device, json!({}))).collect();
    let before = world.refresh(&devices[0]).await;
    assert!(before.is_err());
    let (told, last) = import(&world, "", &lines).await;
    let wanted: Vec<Value> = (0..3)
        .map(|n| json!({ "line": n + 1, "device": format!("d-{n}"), "outcome": "imported" }))
        .collect();
    assert_eq!(told, wanted);
    assert_eq!(last["done"], true);
    assert_eq!((&last["lines"], &last["imported"]), (&json!(3), &json!(3)));
    for device in &devices {
        world.refresh(device).await.unwrap();
    }
    let shown = world.get("/v1/tenants/default/devices/d-1").await;
    let of = shown["claim"].as_str().unwrap().to_owned();
    assert!(of.starts_with("import-"), "{shown}");
    assert_eq!((&shown["state"], &shown["group"]), (&json!("active"), &json!("default")));

    // The same lines once more change nothing.
    let (told, last) = import(&world, "", &lines).await;
    assert!(told.iter().all(|one| one["outcome"] == "unchanged"), "{told:?}");
    assert_eq!((&last["imported"], &last["unchanged"]), (&json!(0), &json!(3)));

    let wanted = ["import.begin", "device.import", "device.import", "device.import", "import.end"];
    assert_eq!(actions(&world).await, [&wanted[..], &["import.begin", "import.end"]].concat());
    let log = audit(&world).await;
    let ends: Vec<&Value> = log.iter().filter(|entry| entry["action"] == "import.end").collect();
    assert_eq!(ends[0]["detail"], "3 lines: 3 imported, 0 unchanged, 0 refused");
    assert_eq!(ends[0]["subject"], of);
    let history = world.get("/v1/tenants/default/devices/d-1/history").await;
    assert_eq!(history["items"][0]["action"], "device.import");
    let detail = history["items"][0]["detail"].as_str().unwrap();
    assert_eq!(detail, format!("{of} line 2; role sensor group default"));
}

#[tokio::test]
async fn a_bad_line_is_answered_with_its_code_and_its_field_and_stops_no_other() {
    let world = World::new().await;
    let roles = "/v1/tenants/default/roles/meter";
    let body = json!({ "class": "device", "publish": ["d/{attr.site}/{device}"] });
    let body = body.to_string().into_bytes();
    world
        .operator
        .send(Request::new(Method::Put, roles).header("if-none-match", "*").body(JSON, body))
        .await
        .unwrap();
    let (taken, _) = world.enrolled("taken").await;
    let (good, other) = (Device::new("good"), Device::new("other"));
    let of_issuer = issuer_key(&world).await;
    let weak = {
        // A point of small order.
        let mut key = SecretKey::from_seed(&[7; 32]).public().to_cose_key();
        let at = key.len() - 32;
        key[at..].fill(0);
        base64url(&key)
    };
    let jwk =
        json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(other.key.public().as_bytes()) });
    let lines = [
        (line(&good, json!({})), "imported", Value::Null, Value::Null),
        ("{".to_owned(), "refused", json!("request_malformed"), Value::Null),
        ("[]".to_owned(), "refused", json!("request_malformed"), Value::Null),
        (r#"{"device":"x"}"#.to_owned(), "refused", json!("request_malformed"), json!("key")),
        (
            line(&Device::new("a"), json!({ "no": 1 })),
            "refused",
            json!("request_malformed"),
            Value::Null,
        ),
        (
            line(&Device::new("a"), json!({ "device": "a/b" })),
            "refused",
            json!("request_malformed"),
            json!("device"),
        ),
        (
            line(&Device::new("a"), json!({ "role": "none" })),
            "refused",
            json!("role_unknown"),
            json!("role"),
        ),
        (
            line(&Device::new("a"), json!({ "group": "none" })),
            "refused",
            json!("group_unknown"),
            json!("group"),
        ),
        (
            line(&Device::new("a"), json!({ "role": "meter" })),
            "refused",
            json!("attribute_missing"),
            json!("attributes"),
        ),
        (
            line(&Device::new("a"), json!({ "attributes": { "A": "b" } })),
            "refused",
            json!("request_malformed"),
            json!("attributes"),
        ),
        (
            line(&Device::new("a"), json!({ "key": "!" })),
            "refused",
            json!("confirmation_key"),
            json!("key"),
        ),
        (
            line(&Device::new("a"), json!({ "key": weak })),
            "refused",
            json!("confirmation_key"),
            json!("key"),
        ),
        (
            line(&Device::new("a"), json!({ "key": of_issuer })),
            "refused",
            json!("confirmation_key"),
            json!("key"),
        ),
        (
            line(&Device { id: "b".parse().unwrap(), ..copy(&taken) }, json!({})),
            "refused",
            json!("already_exists"),
            json!("key"),
        ),
        (line(&Device::new("taken"), json!({})), "refused", json!("already_exists"), json!("key")),
        (
            line(&taken, json!({ "role": "backend" })),
            "refused",
            json!("already_exists"),
            json!("role"),
        ),
        (
            line(&taken, json!({ "state": "revoked" })),
            "refused",
            json!("already_exists"),
            json!("state"),
        ),
        (line(&taken, json!({})), "unchanged", Value::Null, Value::Null),
        // Of two lines in one batch the first counts.
        (line(&good, json!({})), "unchanged", Value::Null, Value::Null),
        (
            line(&good, json!({ "role": "backend" })),
            "refused",
            json!("already_exists"),
            json!("device"),
        ),
        (
            line(&Device { id: "c".parse().unwrap(), ..copy(&good) }, json!({})),
            "refused",
            json!("already_exists"),
            json!("key"),
        ),
        (
            format!("{{\"device\":\"{}\"}}", "x".repeat(5000)),
            "refused",
            json!("request_malformed"),
            Value::Null,
        ),
        (
            line(
                &other,
                json!({ "key": jwk, "role": "meter", "attributes": { "site": "hall-2" } }),
            ),
            "imported",
            Value::Null,
            Value::Null,
        ),
    ];
    let sent: Vec<String> = lines.iter().map(|(line, ..)| line.clone()).collect();
    let check = |told: &[Value]| {
        assert_eq!(told.len(), lines.len());
        for ((told, (line, outcome, code, field)), n) in told.iter().zip(&lines).zip(1..) {
            assert_eq!(told["line"], n, "{line}");
            assert_eq!(told["outcome"], *outcome, "{line}: {told}");
            assert_eq!((&told["code"], &told["field"]), (code, field), "{line}: {told}");
        }
    };
    let before = world.get("/v1/tenants/default/devices").await;
    let logged = audit(&world).await;
    let (told, dry) = import(&world, "?dry_run=true", &sent).await;
    check(&told);
    assert_eq!(world.get("/v1/tenants/default/devices").await, before, "a dry run writes nothing");
    assert_eq!(audit(&world).await, logged);
    let (told, last) = import(&world, "", &sent).await;
    check(&told);
    assert_eq!((dry["imported"].clone(), dry["refused"].clone()), (json!(2), json!(19)));
    assert_eq!(last["imported"], dry["imported"]);
    let listed = world.get("/v1/tenants/default/devices").await;
    let names: Vec<&str> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["device"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["good", "other", "taken"]);
    let found = world.get("/v1/tenants/default/devices?attr.site=hall-2").await;
    assert_eq!(found["items"][0]["device"], "other", "it is found by its attribute");
    world.refresh(&taken).await.unwrap();
}

fn copy(device: &Device) -> Device {
    let key = SecretKey::from_seed(&device.key.expose_seed());
    Device { tenant: device.tenant.clone(), id: device.id.clone(), key }
}

/// The COSE_Key of an issuer.
async fn issuer_key(world: &World) -> String {
    let reader = Reader::snapshot(world).await;
    let key = reader.keys().next().unwrap();
    base64url(&key.key.to_cose_key())
}

#[tokio::test]
async fn what_is_exported_is_imported_elsewhere_and_exported_again_as_the_same() {
    let world = World::new().await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    for tenant in ["default", "acme"] {
        world.post(&format!("/v1/tenants/{tenant}/groups"), json!({ "group": "hall" })).await;
        let role = json!({ "class": "device", "publish": ["d/{device}/telemetry"] });
        let path = format!("/v1/tenants/{tenant}/roles/plain");
        let body = role.to_string().into_bytes();
        world
            .operator
            .send(Request::new(Method::Put, &path).header("if-none-match", "*").body(JSON, body))
            .await
            .unwrap();
    }
    let mut lines = Vec::new();
    for number in 0..1203 {
        let more = match number % 3 {
            0 => json!({ "role": "plain" }),
            1 => {
                json!({ "role": "plain", "group": "hall", "attributes": { "site": "s1", "floor": "2" } })
            }
            _ => json!({ "role": "plain", "state": "suspended" }),
        };
        lines.push(line(&Device::new(&format!("d-{number:04}")), more));
    }
    // P-256: the base point.
    let x = "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY";
    let y = "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU";
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
    lines.push(line(&Device::new("p"), json!({ "key": jwk, "role": "plain", "state": "revoked" })));
    let (told, last) = import(&world, "", &lines).await;
    assert_eq!((told.len(), &last["imported"]), (1204, &json!(1204)), "{told:?}");
    let first = export(&world, "default", "").await;
    assert_eq!(first.lines().count(), 1204);
    let sent: Vec<String> = first.lines().map(str::to_owned).collect();
    let into = "/v1/tenants/acme/import/devices";
    let told = send(&world.operator, into, &sent).await.unwrap();
    assert_eq!(told.last().unwrap()["imported"], 1204, "{:?}", told.first());
    assert_eq!(export(&world, "acme", "").await, first);
    let again = send(&world.operator, into, &sent).await.unwrap();
    assert_eq!(again.last().unwrap()["unchanged"], 1204);
    // From a device on, for an export that broke off.
    let rest = export(&world, "acme", "?after=d-1201").await;
    assert_eq!(rest.lines().count(), 2, "{rest}");
    assert_eq!(export(&world, "acme", "?after=zz").await, "");

    // A revoked one stays revoked, a suspended one waits.
    let state = async |device: &str| {
        world.get(&format!("/v1/tenants/acme/devices/{device}")).await["state"].clone()
    };
    assert_eq!(state("p").await, "revoked");
    assert_eq!(state("d-0002").await, "suspended");
    assert_eq!(problem(world.operator.get(&format!("{EXPORT}?after=%2F")).await).0, 400);
}

#[tokio::test]
async fn a_suspended_device_gets_no_token_until_it_is_reinstated() {
    let world = World::new().await;
    let (paused, ended) = (Device::new("paused"), Device::new("ended"));
    let lines = [
        line(&paused, json!({ "state": "suspended" })),
        line(&ended, json!({ "state": "revoked" })),
    ];
    import(&world, "", &lines).await;
    assert_eq!(world.refresh(&paused).await.err(), Some(RefusalCode::DeviceSuspended));
    assert_eq!(world.refresh(&ended).await.err(), Some(RefusalCode::DeviceRevoked));
    world.post("/v1/tenants/default/devices/paused/reinstate", json!({})).await;
    world.refresh(&paused).await.unwrap();
}

#[tokio::test]
async fn verifiers_hear_of_imported_keys_and_what_they_cannot_hold_is_refused_line_by_line() {
    let most = TrustLimits { device_keys: 5, ..TrustLimits::default() };
    let world = World::with(|config| config.trust = most).await;
    let body = json!({ "confirmation": "kid" }).to_string().into_bytes();
    let path = "/v1/tenants/default";
    world
        .operator
        .send(Request::new(Method::Put, path).header("if-match", "*").body(JSON, body))
        .await
        .unwrap();
    let mut reader = Reader::snapshot(&world).await;
    let devices: Vec<Device> = (0..8).map(|n| Device::new(&format!("d-{n}"))).collect();
    let lines: Vec<String> = devices.iter().map(|device| line(device, json!({}))).collect();
    let outcomes = |told: &[Value]| -> Vec<String> {
        told.iter().map(|one| one["code"].as_str().unwrap_or("good").to_owned()).collect()
    };
    let full = "capacity_reached";
    let wanted = ["good", "good", "good", "good", "good", full, full, full];
    let (told, _) = import(&world, "?dry_run=true", &lines).await;
    assert_eq!(outcomes(&told), wanted);
    assert!(reader.read(&world).await.is_empty());
    let (told, last) = import(&world, "", &lines).await;
    assert_eq!(outcomes(&told), wanted);
    assert_eq!((&last["imported"], &last["refused"]), (&json!(5), &json!(3)));
    let told = reader.read(&world).await;
    let keys: Vec<&[u8]> = told
        .iter()
        .map(|change| match change {
            Change::DeviceKey(one) => one.key.as_slice(),
            other => panic!("{other:?}"),
        })
        .collect();
    let wanted: Vec<PublicKey> = devices[..5].iter().map(|device| device.key.public()).collect();
    assert_eq!(keys, wanted.iter().map(PublicKey::as_bytes).collect::<Vec<_>>());
    assert_eq!(world.refresh(&devices[7]).await.err(), Some(RefusalCode::ProofInvalid));
    world.refresh(&devices[4]).await.unwrap();
}

/// An import over a socket, whose lines come one by one.
pub struct Slow {
    socket: BufReader<TcpStream>,
}

impl Slow {
    async fn begin(world: &World) -> Self {
        let token = std::fs::read_to_string(world.dir.path().join("operator.token")).unwrap();
        Self::of(world, &token).await
    }

    async fn of(world: &World, token: &str) -> Self {
        Self::at(world, IMPORT, token, "").await
    }

    /// One to another path, with more lines in its head.
    pub async fn at(world: &World, path: &str, token: &str, more: &str) -> Self {
        let mut socket = TcpStream::connect(world.handle.addr()).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: {NDJSON}\r\n{more}transfer-encoding: chunked\r\n\r\n",
            token.trim()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        Self { socket: BufReader::new(socket) }
    }

    pub async fn send(&mut self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.socket.get_mut().write_all(chunk.as_bytes()).await.unwrap();
    }

    /// The next line of the answer that is JSON, or its status line.
    pub async fn told(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.socket.read_line(&mut line).await.unwrap(), 0, "it ended");
            if line.starts_with('{') || line.starts_with("HTTP/1.1 4") {
                return line.trim().to_owned();
            }
        }
    }
}

#[tokio::test]
async fn lines_are_answered_before_the_last_one_came_and_a_broken_import_is_on_record() {
    let world = World::new().await;
    let (first, second, third) = (Device::new("a"), Device::new("b"), Device::new("c"));
    let mut slow = Slow::begin(&world).await;
    slow.send(&format!("{}\n", line(&first, json!({})))).await;
    assert_eq!(slow.told().await, r#"{"device":"a","line":1,"outcome":"imported"}"#);
    world.refresh(&first).await.unwrap();
    let rest = line(&second, json!({}));
    slow.send(&rest[..20]).await;
    slow.send(&format!("{}\r\n\n", &rest[20..])).await;
    assert_eq!(slow.told().await, r#"{"device":"b","line":2,"outcome":"imported"}"#);
    // An empty line is none, and has its number.
    slow.send(&line(&third, json!({}))[..20]).await;
    drop(slow);
    let end = loop {
        let log = audit(&world).await;
        if let Some(end) = log.iter().find(|entry| entry["action"] == "import.end") {
            break end.clone();
        }
        tokio::task::yield_now().await;
    };
    let wanted = "2 lines: 2 imported, 0 unchanged, 0 refused; it did not come to its end";
    assert_eq!(end["detail"], wanted);
    let lines = [&first, &second, &third].map(|device| line(device, json!({})));
    let (told, _) = import(&world, "", &lines).await;
    let outcomes: Vec<&str> = told.iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["unchanged", "unchanged", "imported"]);
}

/// The rights of an import are asked for in each batch, not at its beginning alone.
#[tokio::test]
async fn an_import_ends_with_its_account_or_its_token() {
    let world = World::new().await;
    let account = json!({ "operator": "ann", "roles": ["fleet", "viewer"], "tenants": "all" });
    let ann = world.post("/v1/operators", account).await["token"].as_str().unwrap().to_owned();
    let api_token = json!({ "purpose": "import", "roles": ["fleet"], "tenants": ["default"] });
    let made = world.with_token(&ann).post_json("/v1/api-tokens", &api_token).await.unwrap();
    let made: Value = made.json().unwrap();
    let id = made["api_token"].as_str().unwrap();
    let tokens = [made["token"].as_str().unwrap(), &ann];
    let ends = [format!("/v1/api-tokens/{id}"), "/v1/operators/ann".to_owned()];
    for (n, (token, end)) in tokens.into_iter().zip(ends).enumerate() {
        let [first, second] =
            ["a", "b"].map(|name| line(&Device::new(&format!("{name}-{n}")), json!({})) + "\n");
        let mut slow = Slow::of(&world, token).await;
        slow.send(&first).await;
        assert!(slow.told().await.contains("imported"));
        world.operator.delete_any(&end).await.unwrap();
        slow.send(&second).await;
        let last: Value = serde_json::from_str(&slow.told().await).unwrap();
        assert_eq!((&last["done"], &last["imported"]), (&json!(false), &json!(1)), "{last}");
        assert_eq!(last["code"], "operator_unknown");
        let path = format!("/v1/tenants/default/devices/b-{n}");
        assert_eq!(problem(world.operator.get(&path).await).1, "device_unknown");
    }
}

/// Empty lines are lines: they count, and lines before them are answered.
#[tokio::test]
async fn empty_lines_hold_nothing_open() {
    let world = World::new().await;
    let mut slow = Slow::begin(&world).await;
    slow.send(&format!("{}\n", line(&Device::new("a"), json!({})))).await;
    assert!(slow.told().await.contains("imported"));
    slow.send(&format!("{}\n", line(&Device::new("b"), json!({})))).await;
    for _ in 0..8 {
        slow.send(&"\n".repeat(25_000)).await;
    }
    assert!(slow.told().await.contains("\"line\":2,\"outcome\":\"imported\""));
    let last: Value = serde_json::from_str(&slow.told().await).unwrap();
    assert_eq!((&last["code"], &last["imported"]), (&json!("limit_reached"), &json!(2)), "{last}");
}

#[tokio::test]
async fn so_many_imports_of_a_tenant_run_at_a_time() {
    let world = World::new().await;
    let mut running = Vec::new();
    for name in ["a", "b"] {
        let mut slow = Slow::begin(&world).await;
        slow.send(&format!("{}\n", line(&Device::new(name), json!({})))).await;
        slow.told().await;
        running.push(slow);
    }
    let more = send(&world.operator, IMPORT, &[line(&Device::new("c"), json!({}))]).await;
    assert_eq!(problem(more), (429, "limit_reached".to_owned()));
    assert_eq!(problem(world.operator.get(EXPORT).await).1, "limit_reached");
    let mut first = running.remove(0);
    first.socket.get_mut().write_all(b"0\r\n\r\n").await.unwrap();
    let last: Value = serde_json::from_str(&first.told().await).unwrap();
    assert_eq!(last["done"], true);
    let (told, _) = import(&world, "", &[line(&Device::new("c"), json!({}))]).await;
    assert_eq!(told[0]["outcome"], "imported");
}

#[tokio::test]
async fn an_import_is_for_its_role_its_media_type_and_its_tenant() {
    let world = World::new().await;
    let lines = [line(&Device::new("a"), json!({}))];
    assert_eq!(problem(send(&world.stranger, IMPORT, &lines).await).0, 401);
    assert_eq!(problem(send(&world.feed, IMPORT, &lines).await).0, 403);
    let gone = send(&world.operator, "/v1/tenants/none/import/devices", &lines).await;
    assert_eq!(problem(gone), (404, "tenant_unknown".to_owned()));
    let asked = Request::new(Method::Post, IMPORT).body(JSON, lines[0].clone().into_bytes());
    assert_eq!(problem(world.operator.send(asked).await).0, 415);
    let wrong = send(&world.operator, &format!("{IMPORT}?dry=1"), &lines).await;
    assert_eq!(problem(wrong).0, 400);
    assert!(actions(&world).await.is_empty());
    let (told, last) = import(&world, "", &[]).await;
    assert_eq!((told.len(), &last["done"]), (0, &json!(true)));
}

/// A deleted device and an imported one of its id are two devices.
#[tokio::test]
async fn an_id_that_is_not_free_yet_is_refused_and_begins_anew_when_it_is() {
    let world = World::new().await;
    let (_, _) = world.enrolled("a").await;
    world.operator.delete_any("/v1/tenants/default/devices/a").await.unwrap();
    let next = Device::new("a");
    let (told, _) = import(&world, "", &[line(&next, json!({}))]).await;
    assert_eq!((&told[0]["code"], &told[0]["field"]), (&json!("already_exists"), &json!("device")));
    world.operator.delete_any("/v1/tenants/default/devices/a?force=true").await.unwrap();
    let (told, _) = import(&world, "", &[line(&next, json!({}))]).await;
    assert_eq!(told[0]["outcome"], "imported", "{told:?}");
    let history = world.get("/v1/tenants/default/devices/a/history").await;
    let numbers: Vec<u64> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["device_number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 1, 1, 2]);
    world.refresh(&next).await.unwrap();
}

#[tokio::test]
async fn claims_are_made_for_named_devices_and_exported_without_codes() {
    let world = World::new().await;
    let path = "/v1/tenants/default/claims";
    let body = json!({ "role": "sensor", "devices": ["a", "b", "c"] });
    let made = world.post(path, body).await;
    let claims = made["claims"].as_array().unwrap();
    let of = |name: &str| claims.iter().map(|one| one[name].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(of("device"), ["a", "b", "c"]);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let codes = of("code");
    assert_eq!(world.enrol(&b, codes[0]).await.err(), Some(RefusalCode::ClaimMismatch));
    world.enrol(&a, codes[0]).await.unwrap();
    let many: Vec<String> = (0..401).map(|number| format!("d-{number}")).collect();
    for bad in [
        json!({ "role": "sensor", "devices": [] }),
        json!({ "role": "sensor", "devices": many }),
        json!({ "role": "sensor", "devices": ["a"], "device": "a" }),
        json!({ "role": "sensor", "devices": ["a", "b"], "count": 3 }),
        json!({ "role": "sensor", "device": "a", "count": 2 }),
        json!({ "role": "sensor", "count": null }),
        json!({ "role": "sensor", "devices": ["a/b"] }),
    ] {
        let outcome = world.operator.post_json(path, &bad).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{bad}");
    }
    let more = json!({ "role": "sensor", "count": 700 });
    world.post(path, more).await;
    let answer = world.operator.get("/v1/tenants/default/export/claims").await.unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    for code in codes {
        assert!(!text.contains(code), "a code is in the export");
    }
    let lines = parsed(text.as_bytes());
    assert_eq!(lines.len(), 703);
    let used: Vec<&Value> = lines.iter().filter(|line| line["state"] == "used").collect();
    assert_eq!((used.len(), &used[0]["used_by"]), (1, &json!("a")));
}
