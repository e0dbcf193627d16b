//! Claims are imported as lines; their codes are shown in the answers and come again.

use serde_json::{json, Value};
use tessera_provisioning::limits::CLAIM_IMPORTS;
use tessera_runtime::http::{HttpClient, HttpError, Method, Request};
use tessera_runtime::secret::read_secret_text;
use tessera_token::refusal::RefusalCode;

use crate::imports::{actions, audit, parsed, Slow, NDJSON};
use crate::world::{problem, Device, Forced, World};

const IMPORT: &str = "/v1/tenants/default/import/claims";
const CLAIMS: &str = "/v1/tenants/default/claims?limit=1000";
const KEY: &str = "abcdefghijklmnopqrstuvwxyz";
const OTHER_KEY: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

async fn send(
    client: &HttpClient,
    path: &str,
    key: &str,
    lines: &[Value],
) -> Result<Vec<Value>, HttpError> {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let request = Request::new(Method::Post, path).body(NDJSON, lines.join("\n").into_bytes());
    let answer = client.send(request.header("idempotency-key", key)).await?;
    assert_eq!(answer.content_type, NDJSON);
    Ok(parsed(&answer.body))
}

/// The answers to these lines, and the last line.
async fn import(world: &World, query: &str, key: &str, lines: &[Value]) -> (Vec<Value>, Value) {
    let path = format!("{IMPORT}{query}");
    let mut told = send(&world.operator, &path, key, lines).await.unwrap();
    let last = told.pop().unwrap();
    (told, last)
}

fn all(told: &[Value], member: &str) -> Vec<String> {
    let text = |one: &Value| one[member].as_str().unwrap_or("").to_owned();
    told.iter().map(text).collect()
}

async fn claims(world: &World) -> Vec<Value> {
    world.get(CLAIMS).await["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn imported_claims_let_their_devices_enrol_and_their_codes_come_again() {
    let world = World::new().await;
    let lines = [
        json!({ "role": "sensor", "device": "a" }),
        json!({ "role": "sensor", "attributes": { "site": "hall-2" }, "expires_in": 3600 }),
        json!({ "role": "sensor" }),
        json!({ "role": "sensor", "uses": 2, "pattern": "pump-*" }),
    ];
    let (told, last) = import(&world, "", KEY, &lines).await;
    assert_eq!((&last["done"], &last["imported"]), (&json!(true), &json!(4)), "{told:?}");
    let codes = all(&told, "claim_code");
    assert!(codes.iter().all(|code| code.starts_with("TSR-") && code.len() == 27), "{codes:?}");
    let wanted = json!({
        "line": 1, "device": "a", "outcome": "imported", "claim": told[0]["claim"],
        "claim_code": codes[0], "expires": crate::world::START + 30 * 24 * 3600,
    });
    assert_eq!(told[0], wanted);
    assert_eq!(told[1]["expires"], crate::world::START + 3600);

    let refused = world.enrol(&Device::new("b"), &codes[0]).await;
    assert_eq!(refused.err(), Some(RefusalCode::ClaimMismatch));
    let devices = ["a", "b", "c", "pump-1", "pump-2"];
    let used = [0, 1, 2, 3, 3];
    for (device, code) in devices.into_iter().zip(used) {
        world.enrol(&Device::new(device), &codes[code]).await.unwrap();
    }
    let b = world.get("/v1/tenants/default/devices/b").await;
    assert_eq!(b["attributes"], json!({ "site": "hall-2" }));

    // The same lines once more, also after a stop: the same codes, and nothing new. Another key has others.
    let world = world.restart().await;
    world.advance(60);
    let (again, last) = import(&world, "", KEY, &lines).await;
    assert_eq!((&last["imported"], &last["unchanged"]), (&json!(0), &json!(4)));
    assert_eq!(all(&again, "claim_code"), codes);
    assert_eq!(again[2]["expires"], told[2]["expires"]);
    assert_eq!(claims(&world).await.len(), 4);
    let (others, _) = import(&world, "", OTHER_KEY, &lines).await;
    assert!(all(&others, "claim_code").iter().all(|code| !codes.contains(code)));

    // Another account with the same key has other codes: a key of others tells none.
    let account = json!({ "operator": "ann", "roles": ["fleet"], "tenants": "all" });
    let ann = world.post("/v1/operators", account).await["token"].as_str().unwrap().to_owned();
    let of_ann = send(&world.with_token(&ann), IMPORT, KEY, &lines).await.unwrap();
    assert!(all(&of_ann, "claim_code").iter().all(|code| !codes.contains(code)));

    let entries = audit(&world).await;
    let of: Vec<&Value> = entries.iter().filter(|one| one["action"] == "claim.import").collect();
    assert_eq!((of.len(), &of[0]["subject"]), (12, &told[0]["claim"]));
    let detail = of[0]["detail"].as_str().unwrap();
    assert!(detail.ends_with(" line 1; role sensor group default, device a"), "{detail}");
    for code in &codes {
        assert!(!json!(entries).to_string().contains(code), "a code is in the audit log");
    }
}

/// A list that is sent in parts has the codes of the whole, as long as each part says where it begins.
#[tokio::test]
async fn lines_of_parts_have_the_numbers_and_the_codes_of_the_whole_list() {
    let world = World::new().await;
    let lines: Vec<Value> = (0..6).map(|_| json!({ "role": "sensor" })).collect();
    let (first, _) = import(&world, "", KEY, &lines[..2]).await;
    let (second, _) = import(&world, "?first=3", KEY, &lines[2..4]).await;
    assert_eq!((&second[0]["line"], &second[1]["line"]), (&json!(3), &json!(4)));
    let (whole, last) = import(&world, "", KEY, &lines).await;
    assert_eq!((&last["unchanged"], &last["imported"]), (&json!(4), &json!(2)));
    let codes = all(&whole, "claim_code");
    assert_eq!([all(&first, "claim_code"), all(&second, "claim_code")].concat(), codes[..4]);
    let different: std::collections::BTreeSet<&String> = codes.iter().collect();
    assert_eq!(different.len(), 6);
    for bad in ["?first=0", "?first=1000000001", "?first=x", "?last=1"] {
        let outcome = send(&world.operator, &format!("{IMPORT}{bad}"), KEY, &lines).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{bad}");
    }
}

#[tokio::test]
async fn a_bad_claim_is_answered_with_its_code_and_its_field_and_a_dry_run_shows_no_code() {
    let world = World::new().await;
    let body = json!({ "class": "device", "publish": ["d/{attr.site}/{device}"] });
    world.operator.put_over("/v1/tenants/default/roles/meter", &body).await.unwrap();
    world.post("/v1/tenants/default/groups", json!({ "group": "closed" })).await;
    let ways = "/v1/tenants/default/groups/closed/ways";
    world.operator.put_over(ways, &json!({ "ways": [] })).await.unwrap();
    let of = |more: Value| {
        let mut line = json!({ "role": "sensor" });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let lines = [
        (of(json!({})), "", json!(null)),
        (json!([]), "request_malformed", json!(null)),
        (json!({ "device": "x" }), "request_malformed", json!("role")),
        (of(json!({ "count": 2 })), "request_malformed", json!(null)),
        (of(json!({ "device": "a/b" })), "request_malformed", json!("device")),
        (of(json!({ "device": "a", "uses": 2 })), "request_malformed", json!("device")),
        (of(json!({ "device": "a", "pattern": "a*" })), "request_malformed", json!("device")),
        (of(json!({ "pattern": "**" })), "request_malformed", json!("pattern")),
        (of(json!({ "uses": 0 })), "request_malformed", json!("uses")),
        (of(json!({ "expires_in": 0 })), "request_malformed", json!("expires_in")),
        (of(json!({ "attributes": { "A": "b" } })), "request_malformed", json!("attributes")),
        (of(json!({ "role": "none" })), "role_unknown", json!("role")),
        (of(json!({ "role": "meter" })), "attribute_missing", json!("attributes")),
        (of(json!({ "group": "none" })), "group_unknown", json!("group")),
        (of(json!({ "group": "closed" })), "way_not_taken", json!("group")),
        (of(json!({ "device": "z" })), "", json!(null)),
    ];
    let sent: Vec<Value> = lines.iter().map(|(line, ..)| line.clone()).collect();
    let check = |told: &[Value], shows: bool| {
        assert_eq!(told.len(), lines.len());
        for ((told, (line, code, field)), number) in told.iter().zip(&lines).zip(1..) {
            assert_eq!(told["line"], number, "{line}");
            assert_eq!(told["code"].as_str().unwrap_or(""), *code, "{line}: {told}");
            assert_eq!(told["field"], *field, "{line}: {told}");
            assert_eq!(told["claim_code"].is_string(), shows && code.is_empty(), "{told}");
        }
    };
    let logged = audit(&world).await;
    let (told, last) = import(&world, "?dry_run=true", KEY, &sent).await;
    check(&told, false);
    assert_eq!((&last["imported"], &last["refused"]), (&json!(2), &json!(14)));
    assert_eq!((claims(&world).await.len(), audit(&world).await), (0, logged));
    let (told, last) = import(&world, "", KEY, &sent).await;
    check(&told, true);
    assert_eq!((&last["imported"], &last["refused"]), (&json!(2), &json!(14)));
    assert_eq!(claims(&world).await.len(), 2);
    let (told, _) = import(&world, "?dry_run=true", KEY, &sent).await;
    assert_eq!(told[0]["outcome"], "unchanged");
    check(&told, false);

    // Another line under the same key and number is not taken for the first one.
    for (more, field) in [
        (json!({ "device": "b" }), "device"),
        (json!({ "role": "backend" }), "role"),
        (json!({ "uses": 3 }), "uses"),
        (json!({ "pattern": "a*" }), "pattern"),
        (json!({ "expires_in": 5 }), "expires_in"),
        (json!({ "attributes": { "site": "a" } }), "attributes"),
    ] {
        let (told, _) = import(&world, "", KEY, &[of(more)]).await;
        assert_eq!(told[0]["code"], "idempotency_key_reused", "{told:?}");
        assert_eq!(told[0]["field"], field);
        assert!(told[0].get("claim_code").is_none(), "{told:?}");
    }
}

#[tokio::test]
async fn an_import_of_claims_needs_a_key_its_role_and_its_rights_in_each_batch() {
    let world = World::new().await;
    let lines = [json!({ "role": "sensor" })];
    assert_eq!(problem(send(&world.feed, IMPORT, KEY, &lines).await).0, 403);
    let none = Request::new(Method::Post, IMPORT).body(NDJSON, lines[0].to_string().into_bytes());
    assert_eq!(problem(world.operator.send(none).await).1, "request_malformed");
    let short = send(&world.operator, IMPORT, "short", &lines).await;
    assert_eq!(problem(short).1, "request_malformed");
    assert!(actions(&world).await.is_empty());

    let account = json!({ "operator": "ann", "roles": ["fleet"], "tenants": "all" });
    let ann = world.post("/v1/operators", account).await["token"].as_str().unwrap().to_owned();
    let mut slow = Slow::at(&world, IMPORT, &ann, &format!("idempotency-key: {KEY}\r\n")).await;
    slow.send("{\"role\":\"sensor\"}\n").await;
    assert!(slow.told().await.contains("imported"));
    world.operator.delete_any("/v1/operators/ann").await.unwrap();
    slow.send("{\"role\":\"sensor\"}\n").await;
    let last: Value = serde_json::from_str(&slow.told().await).unwrap();
    assert_eq!((&last["done"], &last["imported"]), (&json!(false), &json!(1)), "{last}");
    assert_eq!(last["code"], "operator_unknown");
    assert_eq!(claims(&world).await.len(), 1);
}

/// A connection that breaks loses answers, and no codes.
#[tokio::test]
async fn a_list_whose_answers_were_lost_is_sent_again() {
    let world = World::new().await;
    let token = read_secret_text(&world.dir.path().join("operator.token")).unwrap();
    let lines: Vec<Value> =
        (0..1200).map(|n| json!({ "role": "sensor", "device": format!("d-{n}") })).collect();
    let key = format!("idempotency-key: {KEY}\r\n");
    let mut slow = Slow::at(&world, IMPORT, token.expose(), &key).await;
    let text: String = lines[..900].iter().map(|line| format!("{line}\n")).collect();
    slow.send(&text).await;
    let first: Value = serde_json::from_str(&slow.told().await).unwrap();
    drop(slow);
    while !actions(&world).await.contains(&"import.end".to_owned()) {
        tokio::task::yield_now().await;
    }
    let before = claims(&world).await.len();
    assert!((1..=900).contains(&before), "{before}");
    let (told, last) = import(&world, "", KEY, &lines).await;
    assert_eq!(told[0]["claim_code"], first["claim_code"]);
    assert_eq!((&last["refused"], &last["lines"]), (&json!(0), &json!(1200)));
    assert_eq!(last["unchanged"], before);
    let codes: std::collections::BTreeSet<String> = all(&told, "claim_code").into_iter().collect();
    assert_eq!(codes.len(), 1200);
    let device = Device::new("d-1199");
    world.enrol(&device, told[1199]["claim_code"].as_str().unwrap()).await.unwrap();
}

/// A code that an operator took back does not come to life again by the line that made it.
#[tokio::test]
async fn a_deleted_claim_is_not_made_anew() {
    let world = crate::sweep::quick().await;
    let lines =
        [json!({ "role": "sensor" }), json!([]), json!({ "role": "sensor", "expires_in": 60 })];
    let (told, _) = import(&world, "", KEY, &lines).await;
    let path = format!("/v1/tenants/default/claims/{}", told[0]["claim"].as_str().unwrap());
    world.operator.delete_any(&path).await.unwrap();
    let mended = [lines[0].clone(), json!({ "role": "sensor" }), lines[2].clone()];
    let (again, last) = import(&world, "", KEY, &mended).await;
    assert_eq!(again[0]["code"], "claim_unknown", "{again:?}");
    assert_eq!((&last["imported"], &last["unchanged"]), (&json!(1), &json!(1)), "the mended line");
    // Nor one that has ended and was swept.
    world.advance(8 * 24 * 3600);
    crate::sweep::swept(&world, "claims", 1).await;
    let (again, _) = import(&world, "", KEY, &mended).await;
    assert_eq!(all(&again, "code"), ["claim_unknown", "", "claim_unknown"]);
    // A month later the key begins another import, with other codes.
    world.advance(31 * 24 * 3600);
    crate::sweep::swept(&world, "claim_imports", 1).await;
    let (anew, last) = import(&world, "", KEY, &mended).await;
    assert_eq!(last["imported"], 3);
    assert!(all(&anew, "claim_code").iter().all(|code| !all(&told, "claim_code").contains(code)));
}

#[tokio::test]
async fn a_tenant_has_a_bound_of_imports_and_each_of_them_goes_on() {
    let world = crate::sweep::quick().await;
    let line = [json!({ "role": "sensor" })];
    let key = |number: usize| format!("{KEY}{number}");
    for number in 0..CLAIM_IMPORTS {
        // A fault in its line: the import alone is remembered.
        import(&world, "", &key(number), &[json!([])]).await;
    }
    let path = IMPORT.to_owned();
    let refused = send(&world.operator, &path, &key(CLAIM_IMPORTS), &line).await;
    assert_eq!(problem(refused), (429, "limit_reached".to_owned()));
    let (told, _) = import(&world, "", &key(7), &line).await;
    assert_eq!(told[0]["outcome"], "imported", "{told:?}");
    let (told, _) = import(&world, "?dry_run=true", &key(CLAIM_IMPORTS), &line).await;
    assert_eq!(told.len(), 1, "a dry run is not remembered");
    world.advance(31 * 24 * 3600);
    crate::sweep::swept(&world, "claim_imports", CLAIM_IMPORTS as u64).await;
    let (told, _) = import(&world, "", &key(CLAIM_IMPORTS), &line).await;
    assert_eq!(told[0]["outcome"], "imported", "{told:?}");
}
