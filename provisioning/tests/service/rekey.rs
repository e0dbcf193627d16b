//! A device gets another key: by its former key, by the approval of an operator, and by a fresh claim.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpError, Method, Request, ACE_CBOR, JSON};
use tessera_runtime::random::{bytes, SystemRandom};
use tessera_token::encoding::base64url;
use tessera_token::key::SecretKey;
use tessera_token::messages::{EnrolRequest, RekeyRequest, TokenAnswer};
use tessera_token::refusal::RefusalCode;

use crate::enrol::claims;
use crate::feed::Reader;
use crate::world::{problem, Device, Forced, World};

const DEVICES: &str = "/v1/tenants/default/devices";
const GROUP: &str = "/v1/tenants/default/groups/default";
const LIST: &str = "/v1/tenants/default/rekeys";

/// The same device with another key.
fn renewed(device: &Device) -> Device {
    let key = SecretKey::from_seed(&bytes(&SystemRandom).unwrap());
    Device { tenant: device.tenant.clone(), id: device.id.clone(), key }
}

fn thumbprint(device: &Device) -> String {
    base64url(device.key.public().thumbprint().as_bytes())
}

async fn rekey(world: &World, old: &Device, new: &Device) -> Result<TokenAnswer, RefusalCode> {
    let nonce = world.nonce().await;
    let request = RekeyRequest::sign(&old.key, &new.key, &new.tenant, &new.id, &nonce);
    world.ask("/v1/rekey", request.to_cbor()).await
}

async fn lost(world: &World, new: &Device) -> Result<TokenAnswer, RefusalCode> {
    let nonce = world.nonce().await;
    let request = RekeyRequest::sign_lost(&new.key, &new.tenant, &new.id, &nonce);
    world.ask("/v1/rekey", request.to_cbor()).await
}

/// The list, once it has so many requests: a request is put on it beside its answer.
async fn waiting(world: &World, count: usize) -> Vec<Value> {
    for _ in 0..10_000 {
        let items = world.get(LIST).await["items"].as_array().unwrap().clone();
        if items.len() == count {
            return items;
        }
    }
    panic!("there are never {count} requests");
}

async fn decide(world: &World, new: &Device, verb: &str) -> Result<(), HttpError> {
    let path = format!("{DEVICES}/{}/rekey/{verb}", new.id);
    world.operator.post_json(&path, &json!({ "thumbprint": thumbprint(new) })).await.map(drop)
}

async fn reenrol(world: &World, how: &str) {
    let body = json!({ "reenrol": how }).to_string().into_bytes();
    let request = Request::new(Method::Patch, GROUP).header("if-match", "*").body(JSON, body);
    let shown: Value = world.operator.send(request).await.unwrap().json().unwrap();
    assert_eq!(shown["reenrol"], how);
    assert_eq!(world.get(GROUP).await, shown);
}

#[tokio::test]
async fn a_device_exchanges_its_key_and_tokens_of_the_former_one_end() {
    let world = World::new().await;
    let (old, first) = world.enrolled("a").await;
    let mut reader = Reader::snapshot(&world).await;
    let new = renewed(&old);
    let answer = rekey(&world, &old, &new).await.unwrap();
    let token = claims(&answer.access_token);
    assert_eq!(token.confirmation, Some(new.key.public()));
    reader.read(&world).await;
    let ended = reader.device_epoch("a");
    assert!(ended > claims(&first.access_token).epochs.device);
    assert_eq!(token.epochs.device, ended, "the new token is good");
    assert_eq!(world.get(&format!("{DEVICES}/a")).await["thumbprint"], thumbprint(&new));
    assert_eq!(world.refresh(&old).await, Err(RefusalCode::ProofInvalid));
    world.refresh(&new).await.unwrap();

    // Asked twice, as after a lost answer: the same outcome, and nothing moves.
    let world = world.restart().await;
    let again = claims(&rekey(&world, &old, &new).await.unwrap().access_token);
    assert_eq!((again.confirmation, again.epochs.device), (Some(new.key.public()), ended));
    assert!(reader.read(&world).await.is_empty());
    // The former key belongs to no device: it gives no third key.
    assert_eq!(rekey(&world, &old, &renewed(&old)).await, Err(RefusalCode::ProofInvalid));
    // It comes back, by the new one.
    rekey(&world, &new, &old).await.unwrap();
    world.refresh(&old).await.unwrap();
}

#[tokio::test]
async fn verifiers_of_a_tenant_with_published_keys_hear_the_new_one() {
    let world = World::new().await;
    let (old, _) = world.enrolled("a").await;
    let body = br#"{"confirmation":"kid"}"#.to_vec();
    let set =
        Request::new(Method::Put, "/v1/tenants/default").header("if-match", "*").body(JSON, body);
    world.operator.send(set).await.unwrap();
    let mut reader = Reader::snapshot(&world).await;
    assert_eq!(reader.device_keys["a"], old.key.public().as_bytes());
    let new = renewed(&old);
    rekey(&world, &old, &new).await.unwrap();
    assert_eq!(reader.read(&world).await.len(), 2, "epoch and key");
    assert_eq!(reader.device_keys["a"], new.key.public().as_bytes());
    assert_eq!(Reader::snapshot(&world).await.device_keys["a"], new.key.public().as_bytes());
}

#[tokio::test]
async fn keys_that_are_weak_or_belong_to_others_are_refused_at_enrolment_and_after() {
    let world = World::new().await;
    let (a, _) = world.enrolled("a").await;
    let (b, _) = world.enrolled("b").await;
    assert_eq!(
        rekey(&world, &a, &Device { key: b.key.clone(), ..renewed(&a) }).await,
        Err(RefusalCode::AlreadyExists)
    );
    let claim = world.claim(json!({})).await;
    let twin = Device { key: b.key.clone(), ..Device::new("c") };
    assert_eq!(world.enrol(&twin, &claim).await, Err(RefusalCode::AlreadyExists));
    let weak = [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }];
    for key in weak {
        let nonce = world.nonce().await;
        let mut request = RekeyRequest::sign(&a.key, &b.key, &a.tenant, &a.id, &nonce);
        request.key = key.to_vec();
        let refused = world.ask("/v1/rekey", request.to_cbor()).await;
        assert_eq!(refused, Err(RefusalCode::ConfirmationKey));
    }
    // An issuer's key and the root key: their seeds are in the folder of the service.
    if crate::postgres::has_no_files() {
        return;
    }
    let mut tried = 0;
    for entry in std::fs::read_dir(world.dir.path().join("provisioning/keys")).unwrap() {
        let Ok(seed) = std::fs::read(entry.unwrap().path()).unwrap().try_into() else { continue };
        let issuer = Device { key: SecretKey::from_seed(&seed), ..renewed(&a) };
        assert_eq!(rekey(&world, &a, &issuer).await, Err(RefusalCode::ConfirmationKey));
        let other = Device { key: SecretKey::from_seed(&seed), ..Device::new("d") };
        assert_eq!(world.enrol(&other, &claim).await, Err(RefusalCode::ConfirmationKey));
        tried += 1;
    }
    assert!(tried >= 3, "root, active and next key: {tried}");
    // The claim is still good, and so is the key in another tenant.
    world.enrol(&Device::new("c"), &claim).await.unwrap();
    world.post("/v1/tenants", json!({ "tenant": "other" })).await;
    let path = "/v1/tenants/other/roles/sensor";
    let role = json!({ "class": "device", "publish": ["d/{device}/telemetry"] });
    world.operator.put_over(path, &role).await.unwrap();
    let made = world.post("/v1/tenants/other/claims", json!({ "role": "sensor" })).await;
    let elsewhere = Device { key: b.key.clone(), ..Device::of("other", "x") };
    world.enrol(&elsewhere, made["claims"][0]["code"].as_str().unwrap()).await.unwrap();
    world.refresh(&a).await.unwrap();
    world.refresh(&b).await.unwrap();
}

#[tokio::test]
async fn of_two_devices_that_take_one_key_at_once_one_gets_it() {
    let world = World::new().await;
    let (a, _) = world.enrolled("a").await;
    let (b, _) = world.enrolled("b").await;
    let key = renewed(&a).key;
    let (of_a, of_b) = (Device { key: key.clone(), ..renewed(&a) }, Device { key, ..renewed(&b) });
    let both = tokio::join!(rekey(&world, &a, &of_a), rekey(&world, &b, &of_b));
    let refused = [both.0.err(), both.1.err()];
    assert_eq!(refused.iter().flatten().collect::<Vec<_>>(), [&RefusalCode::AlreadyExists]);
}

#[tokio::test]
async fn a_device_that_may_have_no_token_gets_no_key_by_itself() {
    let world = World::new().await;
    let (old, _) = world.enrolled("a").await;
    let new = renewed(&old);
    for (verb, code) in [
        ("devices/a/suspend", RefusalCode::DeviceSuspended),
        ("devices/a/revoke", RefusalCode::DeviceRevoked),
        ("groups/default/suspend", RefusalCode::GroupSuspended),
        ("revoke", RefusalCode::TenantSuspended),
    ] {
        world.post(&format!("/v1/tenants/default/{verb}"), json!({})).await;
        assert_eq!(rekey(&world, &old, &new).await, Err(code), "{verb}");
        for back in ["devices/a/reinstate", "groups/default/reinstate", "reinstate"] {
            world.post(&format!("/v1/tenants/default/{back}"), json!({})).await;
        }
    }
    rekey(&world, &old, &new).await.unwrap();
}

#[tokio::test]
async fn an_operator_approves_the_key_of_a_device_that_lost_its_own() {
    let world = World::new().await;
    let (old, first) = world.enrolled("a").await;
    let (new, other) = (renewed(&old), renewed(&old));
    assert_eq!(lost(&world, &new).await, Err(RefusalCode::ApprovalPending));
    assert_eq!(lost(&world, &new).await, Err(RefusalCode::ApprovalPending));
    assert_eq!(lost(&world, &other).await, Err(RefusalCode::ApprovalPending));
    let rows = waiting(&world, 2).await;
    let row = rows.iter().find(|row| row["thumbprint"] == thumbprint(&new)).unwrap();
    assert_eq!((&row["device"], &row["asked"]), (&json!("a"), &json!(world.now().get())));
    world.refresh(&old).await.unwrap();

    let mut reader = Reader::snapshot(&world).await;
    let stranger = renewed(&old);
    assert_eq!(problem(decide(&world, &stranger, "approve").await), (404, "not_found".to_owned()));
    decide(&world, &new, "approve").await.unwrap();
    assert!(waiting(&world, 0).await.is_empty());
    reader.read(&world).await;
    assert!(reader.device_epoch("a") > claims(&first.access_token).epochs.device);
    assert_eq!(world.refresh(&old).await, Err(RefusalCode::ProofInvalid));
    let world = world.restart().await;
    let token = claims(&lost(&world, &new).await.unwrap().access_token);
    assert_eq!(
        (token.confirmation, token.epochs.device),
        (Some(new.key.public()), reader.device_epoch("a"))
    );
    lost(&world, &new).await.unwrap();
    world.refresh(&new).await.unwrap();
    assert_eq!(lost(&world, &other).await, Err(RefusalCode::ApprovalPending));
    waiting(&world, 1).await;
    decide(&world, &other, "refuse").await.unwrap();
    waiting(&world, 0).await;
    world.refresh(&new).await.unwrap();
}

#[tokio::test]
async fn a_revoked_device_gets_its_new_key_before_it_is_reinstated() {
    let world = World::new().await;
    let (old, _) = world.enrolled("a").await;
    let new = renewed(&old);
    world.post(&format!("{DEVICES}/a/revoke"), json!({})).await;
    let _ = lost(&world, &new).await;
    waiting(&world, 1).await;
    decide(&world, &new, "approve").await.unwrap();
    assert_eq!(lost(&world, &new).await, Err(RefusalCode::DeviceRevoked));
    world.post(&format!("{DEVICES}/a/reinstate"), json!({})).await;
    assert_eq!(world.refresh(&old).await, Err(RefusalCode::ProofInvalid), "the stolen key");
    lost(&world, &new).await.unwrap();
}

#[tokio::test]
async fn requests_of_strangers_are_bounded_end_and_say_nothing() {
    let world = World::with(|config| config.admission.wrong.burst = 1_000_000).await;
    let (known, _) = world.enrolled("known").await;
    world.post("/v1/tenants", json!({ "tenant": "other" })).await;
    let mut answers = Vec::new();
    for (tenant, device) in
        [("default", "known"), ("default", "unknown"), ("other", "known"), ("nothing", "known")]
    {
        let new = Device::of(tenant, device);
        let nonce = world.nonce().await;
        let asked = RekeyRequest::sign_lost(&new.key, &new.tenant, &new.id, &nonce).to_cbor();
        let former = Device::of(tenant, device);
        let both = RekeyRequest::sign(&former.key, &new.key, &new.tenant, &new.id, &nonce);
        let mut shown = Vec::new();
        for body in [asked, both.to_cbor()] {
            match world.stranger.post("/v1/rekey", ACE_CBOR, body).await {
                Err(HttpError::Status { response, .. }) => {
                    shown.push((response.status, response.body.to_vec()));
                }
                _ => panic!("not refused"),
            }
        }
        answers.push(shown);
    }
    assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
    let metrics = world.stranger.get("/metrics").await.unwrap().text();
    assert!(!metrics.contains("refusals_total{code=\"device_unknown\""), "{metrics}");
    waiting(&world, 1).await;
    // Of one device, and of all.
    for _ in 0..6 {
        let _ = lost(&world, &renewed(&known)).await;
    }
    let rows = waiting(&world, 4).await;
    assert!(rows.iter().all(|row| row["device"] == "known"));
    // They end by themselves, and the sweep takes them away.
    world.advance(7 * 24 * 3600 + 1);
    waiting(&world, 0).await;
    let late = renewed(&known);
    let _ = lost(&world, &late).await;
    waiting(&world, 1).await;
}

#[tokio::test]
async fn a_fresh_claim_gives_a_key_where_the_group_allows_it() {
    let world = World::new().await;
    let (old, first) = world.enrolled("a").await;
    let new = renewed(&old);
    let bound = world.claim(json!({ "device": "a" })).await;
    let free = world.claim(json!({})).await;
    assert_eq!(world.get(GROUP).await["reenrol"], "off");
    for claim in [&bound, &free] {
        assert_eq!(world.enrol(&new, claim).await, Err(RefusalCode::DeviceKeyMismatch));
    }
    reenrol(&world, "device").await;
    assert_eq!(world.enrol(&new, &free).await, Err(RefusalCode::ClaimMismatch));
    let other_role = world.claim(json!({ "device": "a", "role": "backend" })).await;
    assert_eq!(world.enrol(&new, &other_role).await, Err(RefusalCode::ClaimMismatch));
    world.post(&format!("{DEVICES}/a/revoke"), json!({})).await;
    assert_eq!(world.enrol(&new, &bound).await, Err(RefusalCode::DeviceRevoked));
    world.post(&format!("{DEVICES}/a/reinstate"), json!({})).await;

    let mut reader = Reader::snapshot(&world).await;
    let token = claims(&world.enrol(&new, &bound).await.unwrap().access_token);
    reader.read(&world).await;
    assert!(reader.device_epoch("a") > claims(&first.access_token).epochs.device);
    assert_eq!(
        (token.confirmation, token.epochs.device),
        (Some(new.key.public()), reader.device_epoch("a"))
    );
    assert_eq!(world.refresh(&old).await, Err(RefusalCode::ProofInvalid));
    // A lost answer can be asked again; the claim is used up for every other key.
    let world = world.restart().await;
    world.enrol(&new, &bound).await.unwrap();
    assert!(reader.read(&world).await.is_empty());
    assert_eq!(world.enrol(&renewed(&old), &bound).await, Err(RefusalCode::ClaimUsed));
    assert_eq!(world.enrol(&new, &free).await, Err(RefusalCode::AlreadyExists), "it has this key");
    reenrol(&world, "group").await;
    let third = renewed(&old);
    world.enrol(&third, &free).await.unwrap();
    reenrol(&world, "off").await;
    let bound = world.claim(json!({ "device": "a" })).await;
    assert_eq!(world.enrol(&old, &bound).await, Err(RefusalCode::DeviceKeyMismatch));
    world.refresh(&third).await.unwrap();
}

#[tokio::test]
async fn a_rekey_request_in_json() {
    let world = World::new().await;
    let (old, _) = world.enrolled("a").await;
    let new = renewed(&old);
    let nonce = world.nonce().await;
    let request = RekeyRequest::sign(&old.key, &new.key, &new.tenant, &new.id, &nonce);
    let former = request.former.unwrap();
    let body = json!({
        "client_id": "a", "tenant": "default", "nonce": base64url(&nonce),
        "req_cnf": { "jwk": { "kty": "OKP", "crv": "Ed25519", "x": base64url(&request.key) } },
        "signature": base64url(&request.signature),
        "former_thumbprint": base64url(former.thumbprint.as_bytes()),
        "former_signature": base64url(&former.signature),
    });
    let mut half = body.clone();
    half.as_object_mut().unwrap().remove("former_signature");
    let refused = problem(world.stranger.post_json("/v1/rekey", &half).await);
    assert_eq!(refused, (400, "request_malformed".to_owned()));
    let answer: Value = world.stranger.post_json("/v1/rekey", &body).await.unwrap().json().unwrap();
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("PoP"), &json!(3600)));
    // The same bytes once more: the nonce is used up, and the refusal brings another.
    let refused = world.stranger.post_json("/v1/rekey", &body).await;
    let Err(HttpError::Status { response, .. }) = &refused else { panic!("not refused") };
    assert!(response.json::<Value>().unwrap()["cnonce"].is_string());
    assert_eq!(problem(refused).1, "nonce_invalid");
}

#[tokio::test]
async fn a_claim_of_another_device_renews_nothing() {
    let world = World::new().await;
    let (old, _) = world.enrolled("a").await;
    reenrol(&world, "group").await;
    let claim = world.claim(json!({ "device": "b" })).await;
    let nonce = world.nonce().await;
    let new = renewed(&old);
    let request = EnrolRequest::sign(&new.key, &new.tenant, &new.id, &claim, &nonce);
    let refused = world.ask("/v1/enrol", request.to_cbor()).await;
    assert_eq!(refused, Err(RefusalCode::ClaimMismatch));
    world.refresh(&old).await.unwrap();
}
