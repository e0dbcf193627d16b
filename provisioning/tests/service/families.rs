//! Refresh tokens of devices that cannot sign: rotation, lost replies, reuse, restarts, restorations.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::json;
use tessera_provisioning::Rate;
use tessera_token::hash::TokenHash;
use tessera_token::ids::Audience;
use tessera_token::messages::{AceAnswer, AceGrant, AceRequest, RefreshRequest, TokenKind, Wish};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Permission;
use tessera_token::trust::Change;

use crate::enrol::claims;
use crate::feed::Reader;
use crate::restored::{brought_back, brought_back_marked, copied};
use crate::sweep::{quick, swept};
use crate::token::{asked, post, scope, Refusal};
use crate::world::{random, Device, Forced, World};

const INVALID: Option<Refusal> = Some((400, 3, RefusalCode::RefreshTokenInvalid));
const REUSED: Option<Refusal> = Some((400, 3, RefusalCode::RefreshTokenReused));
const DAY: u64 = 24 * 3600;

async fn set_role(world: &World, refresh_tokens: bool, publish: &[&str]) {
    let body = json!({ "class": "device", "publish": publish, "subscribe": ["d/{device}/cmd"], "refresh_tokens": refresh_tokens });
    world.operator.put_over("/v1/tenants/default/roles/sensor", &body).await.unwrap();
}

async fn set_bearer(world: &World, bearer: bool) {
    world.operator.put_over("/v1/tenants/default", &json!({ "bearer": bearer })).await.unwrap();
}

async fn allow(world: &World) {
    set_bearer(world, true).await;
    set_role(world, true, &["d/{device}/telemetry"]).await;
}

async fn begin_with(world: &World, device: &Device, wish: Wish) -> Result<AceAnswer, Refusal> {
    let wish = Wish { refresh_token: true, ..wish };
    post(world, &asked(world, device, TokenKind::Bearer, wish)).await
}

/// A device with a refresh token.
async fn begun(world: &World, name: &str) -> (Device, Vec<u8>) {
    let (device, _) = world.enrolled(name).await;
    let answer = begin_with(world, &device, Wish::default()).await.unwrap();
    (device, next(&answer))
}

fn next(answer: &AceAnswer) -> Vec<u8> {
    answer.refresh_token.as_ref().unwrap().to_vec()
}

fn request(token: &[u8], nonce: &[u8]) -> AceRequest {
    let grant = AceGrant::Refresh(RefreshRequest::new(token, nonce));
    AceRequest { grant, key: None, profile_asked: false }
}

async fn renew_by(world: &World, token: &[u8], nonce: &[u8]) -> Result<AceAnswer, Refusal> {
    post(world, &request(token, nonce)).await
}

async fn renew(world: &World, token: &[u8]) -> Result<AceAnswer, Refusal> {
    renew_by(world, token, &random()).await
}

async fn proved(world: &World, device: &Device, token: &[u8]) -> Result<AceAnswer, Refusal> {
    let of = (&device.tenant, &device.id);
    let bare = RefreshRequest::new(token, &random());
    let grant = AceGrant::Refresh(bare.signed_by(&device.key, of, world.now(), None));
    post(world, &AceRequest { grant, key: None, profile_asked: false }).await
}

#[tokio::test]
async fn a_refresh_token_is_given_where_tenant_and_role_allow_it_and_to_the_key_alone() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let ask = async || begin_with(&world, &device, Wish::default()).await;
    set_role(&world, true, &["d/{device}/telemetry"]).await;
    assert_eq!(ask().await.err(), Some((400, 4, RefusalCode::BearerNotAllowed)));
    set_bearer(&world, true).await;
    set_role(&world, false, &["d/{device}/telemetry"]).await;
    assert_eq!(ask().await.err(), Some((400, 4, RefusalCode::RefreshNotAllowed)));
    set_role(&world, true, &["d/{device}/telemetry"]).await;
    let answer = ask().await.unwrap();
    let first = next(&answer);
    assert!(first.starts_with(b"tsr_rt_") && answer.token.bearer);
    assert_eq!(claims(&answer.token.access_token).confirmation, None);
    let renewed = renew(&world, &first).await.unwrap();
    assert!(renewed.token.bearer && next(&renewed) != first);
    assert_ne!(renewed.token.access_token, answer.token.access_token);
    // A setting that is turned off later ends it at once; turned on again, it goes on.
    set_role(&world, false, &["d/{device}/telemetry"]).await;
    let refused = renew(&world, &next(&renewed)).await.err();
    assert_eq!(refused, Some((400, 4, RefusalCode::RefreshNotAllowed)));
    set_role(&world, true, &["d/{device}/telemetry"]).await;
    set_bearer(&world, false).await;
    let refused = renew(&world, &next(&renewed)).await.err();
    assert_eq!(refused, Some((400, 4, RefusalCode::BearerNotAllowed)));
    set_bearer(&world, true).await;
    renew(&world, &next(&renewed)).await.unwrap();
}

#[tokio::test]
async fn a_lost_first_answer_comes_again_with_the_same_refresh_token() {
    let world = World::new().await;
    allow(&world).await;
    let (device, _) = world.enrolled("a").await;
    let wish = Wish { refresh_token: true, ..Wish::default() };
    let request = asked(&world, &device, TokenKind::Bearer, wish);
    let first = post(&world, &request).await.unwrap();
    let world = world.restart().await;
    let again = post(&world, &request).await.unwrap();
    assert!(first.token.access_token == again.token.access_token && next(&first) == next(&again));
    renew(&world, &next(&first)).await.unwrap();
    // Now the family has gone on: the first refresh token is not given out again.
    assert_eq!(post(&world, &request).await.err(), INVALID);
}

#[tokio::test]
async fn a_lost_answer_comes_again_also_after_a_restart_and_long_after() {
    let world = World::new().await;
    allow(&world).await;
    let (_, token) = begun(&world, "a").await;
    let nonce = random();
    let first = renew_by(&world, &token, &nonce).await.unwrap();
    world.advance(60);
    let world = world.restart().await;
    let again = renew_by(&world, &token, &nonce).await.unwrap();
    assert_eq!(again.token.access_token, first.token.access_token);
    assert_eq!(again.token.expires_in, first.token.expires_in - 60);
    assert_eq!(next(&again), next(&first));
    // Its access token has expired: another one, and the same successor.
    world.advance(2 * DAY);
    let late = renew_by(&world, &token, &nonce).await.unwrap();
    assert_ne!(late.token.access_token, first.token.access_token);
    assert_eq!(next(&late), next(&first));
    let same = renew_by(&world, &token, &nonce).await.unwrap();
    assert_eq!(same.token.access_token, late.token.access_token);
    renew(&world, &next(&first)).await.unwrap();
}

#[tokio::test]
async fn a_used_token_ends_its_family_and_its_access_tokens_and_not_the_device() {
    let world = World::new().await;
    allow(&world).await;
    let (device, first) = begun(&world, "a").await;
    let other = next(&begin_with(&world, &device, Wish::default()).await.unwrap());
    let second = renew(&world, &first).await.unwrap();
    let third = renew(&world, &next(&second)).await.unwrap();
    let mut reader = Reader::snapshot(&world).await;
    assert_eq!(renew(&world, &first).await.err(), REUSED);
    let changes = reader.read(&world).await;
    for token in [&second, &third] {
        assert!(reader.revoked(&TokenHash::of(&token.token.access_token)));
    }
    // A found token cannot switch the device off.
    assert!(changes.iter().all(|change| matches!(change, Change::Token(_))), "{changes:?}");
    for token in [&first, &next(&second), &next(&third)] {
        assert_eq!(renew(&world, token).await.err(), INVALID);
    }
    renew(&world, &other).await.unwrap();
    let key = post(&world, &asked(&world, &device, TokenKind::Key, Wish::default())).await;
    assert!(key.is_ok());
    let log = world.get("/v1/audit?limit=1000").await.to_string();
    assert_eq!(log.matches("family.reuse").count(), 1, "and once in the audit log");
}

#[tokio::test]
async fn a_used_token_with_the_proof_of_the_device_ends_all_of_its_tokens() {
    let world = World::new().await;
    allow(&world).await;
    let (device, first) = begun(&world, "a").await;
    let other = next(&begin_with(&world, &device, Wish::default()).await.unwrap());
    renew(&world, &first).await.unwrap();
    let mut reader = Reader::snapshot(&world).await;
    let thief = Device::new("a");
    let refused = proved(&world, &thief, &first).await.err();
    assert_eq!(refused, Some((401, 2, RefusalCode::ProofInvalid)), "and nothing is ended by it");
    assert_eq!(proved(&world, &device, &first).await.err(), REUSED);
    reader.read(&world).await;
    let epoch = reader.device_epoch("a");
    assert!(epoch > 0);
    assert_eq!(renew(&world, &other).await.err(), INVALID, "all families of the device");
    // Its key gets it tokens at once.
    let answer = begin_with(&world, &device, Wish::default()).await.unwrap();
    assert_eq!(claims(&answer.token.access_token).epochs.device, epoch);
    renew(&world, &next(&answer)).await.unwrap();
    // A proof with a good token changes nothing but is checked.
    let answer = begin_with(&world, &device, Wish::default()).await.unwrap();
    proved(&world, &device, &next(&answer)).await.unwrap();
}

#[tokio::test]
async fn scope_and_audience_are_bound() {
    let world = World::new().await;
    set_bearer(&world, true).await;
    set_role(&world, true, &["d/{device}/telemetry", "d/{device}/log"]).await;
    let (device, _) = world.enrolled("a").await;
    let two = scope(&[("d/a/telemetry", Permission::Publish), ("d/a/log", Permission::Publish)]);
    let wish = Wish { scope: Some(two.clone()), ..Wish::default() };
    let first = begin_with(&world, &device, wish).await.unwrap();
    assert_eq!(first.token.scope, two);
    let wished = async |token: &[u8], wish: Wish| {
        let grant =
            AceGrant::Refresh(RefreshRequest { wish, ..RefreshRequest::new(token, &random()) });
        post(&world, &AceRequest { grant, key: None, profile_asked: false }).await
    };
    let narrow =
        |topic| Wish { scope: Some(scope(&[(topic, Permission::Publish)])), ..Wish::default() };
    let one = wished(&next(&first), narrow("d/a/log")).await.unwrap();
    assert_eq!(one.token.scope, scope(&[("d/a/log", Permission::Publish)]));
    // Narrowed for one access token, not for the family.
    let whole = renew(&world, &next(&one)).await.unwrap();
    assert_eq!(whole.token.scope, two);
    let cmd = Wish { scope: Some(scope(&[("d/a/cmd", Permission::Subscribe)])), ..Wish::default() };
    let refused = wished(&next(&whole), cmd).await.err();
    assert_eq!(
        refused,
        Some((400, 6, RefusalCode::ScopeNotAllowed)),
        "in the role, not in the family"
    );
    // A right that the role loses is lost, one that it gains is not gained.
    set_role(&world, true, &["d/{device}/telemetry", "d/{device}/new"]).await;
    let less = renew(&world, &next(&whole)).await.unwrap();
    assert_eq!(less.token.scope, scope(&[("d/a/telemetry", Permission::Publish)]));
    set_role(&world, true, &["d/{device}/new"]).await;
    let refused = renew(&world, &next(&less)).await.err();
    assert_eq!(refused, Some((400, 6, RefusalCode::ScopeNotAllowed)));
    set_role(&world, true, &["d/{device}/telemetry"]).await;
    let other = Wish { audience: Some(Audience::parse("other").unwrap()), ..Wish::default() };
    let refused = wished(&next(&less), other).await.err();
    assert_eq!(refused, Some((400, 1, RefusalCode::AudienceMismatch)));
    let last = next(&less);
    let world =
        world.restart_as(|config| config.audience = Audience::parse("other").unwrap()).await;
    let refused = renew(&world, &last).await.err();
    assert_eq!(refused, Some((400, 1, RefusalCode::AudienceMismatch)));
    let world = world.restart().await;
    renew(&world, &last).await.unwrap();
}

#[tokio::test]
async fn names_beside_the_token_must_be_its_own() {
    let world = World::new().await;
    allow(&world).await;
    let (device, token) = begun(&world, "a").await;
    let (other, _) = begun(&world, "b").await;
    let named = async |device: &Device| {
        let mut bare = RefreshRequest::new(&token, &random());
        (bare.tenant, bare.device) = (Some(device.tenant.clone()), Some(device.id.clone()));
        let grant = AceGrant::Refresh(bare);
        post(&world, &AceRequest { grant, key: None, profile_asked: false }).await
    };
    assert_eq!(named(&other).await.err(), INVALID);
    assert_eq!(named(&Device::of("none", "a")).await.err(), INVALID);
    named(&device).await.unwrap();
    for bent in [b"tsr_rt_AAAA".to_vec(), b"x".to_vec(), token[7..].to_vec()] {
        assert_eq!(renew(&world, &bent).await.err(), INVALID);
    }
}

#[tokio::test]
async fn revoked_and_deleted_devices_have_no_refresh_tokens_any_more() {
    let world = World::new().await;
    allow(&world).await;
    let (device, token) = begun(&world, "a").await;
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    let refused = renew(&world, &token).await.err();
    assert_eq!(refused, Some((400, 4, RefusalCode::DeviceRevoked)));
    world.post("/v1/tenants/default/devices/a/reinstate", json!({})).await;
    assert_eq!(renew(&world, &token).await.err(), INVALID, "the revocation ended it for good");
    let token = next(&begin_with(&world, &device, Wish::default()).await.unwrap());
    world.post("/v1/tenants/default/revoke", json!({})).await;
    let refused = renew(&world, &token).await.err();
    assert_eq!(refused, Some((400, 4, RefusalCode::TenantSuspended)));
    world.post("/v1/tenants/default/reinstate", json!({})).await;
    // A group's epoch and another role end access tokens, and not the family.
    world.post("/v1/tenants/default/groups/default/revoke", json!({})).await;
    let token = next(&renew(&world, &token).await.unwrap());
    world.operator.delete_any("/v1/tenants/default/devices/a?force=true").await.unwrap();
    assert_eq!(renew(&world, &token).await.err(), INVALID);
    // Another device of the same id inherits nothing.
    let claim = world.claim(json!({})).await;
    world.enrol(&Device::new("a"), &claim).await.unwrap();
    assert_eq!(renew(&world, &token).await.err(), INVALID);
}

#[tokio::test]
async fn families_end_by_age_and_rest_and_number() {
    let world = World::new().await;
    allow(&world).await;
    let (device, idle) = begun(&world, "a").await;
    world.advance(29 * DAY);
    let mut token = next(&renew(&world, &idle).await.unwrap());
    world.advance(29 * DAY);
    token = next(&renew(&world, &token).await.unwrap());
    world.advance(31 * DAY);
    assert_eq!(renew(&world, &token).await.err(), INVALID, "not used for 30 days");
    let mut token = next(&begin_with(&world, &device, Wish::default()).await.unwrap());
    for _ in 0..18 {
        world.advance(20 * DAY);
        token = next(&renew(&world, &token).await.unwrap());
    }
    world.advance(6 * DAY);
    assert_eq!(renew(&world, &token).await.err(), INVALID, "a year old");
    let mut tokens = Vec::new();
    for _ in 0..5 {
        world.advance(1);
        tokens.push(next(&begin_with(&world, &device, Wish::default()).await.unwrap()));
    }
    assert_eq!(renew(&world, &tokens[0]).await.err(), INVALID, "the oldest made room");
    for token in &tokens[1..] {
        renew(&world, token).await.unwrap();
    }
}

fn without_rates(config: &mut tessera_provisioning::ProvisioningConfig) {
    let rate = Rate { per_second: 1_000_000, burst: 10_000_000 };
    let rates = &mut config.admission;
    (rates.proved, rates.proved_total, rates.device, rates.wrong) = (rate, rate, rate, rate);
    (rates.anonymous, rates.anonymous_total) = (rate, rate);
}

async fn at_once(world: &Arc<World>, requests: Vec<AceRequest>) -> Vec<Result<AceAnswer, Refusal>> {
    let tasks: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let world = world.clone();
            tokio::spawn(async move { post(&world, &request).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_at_once_make_one_successor_of_each_token() {
    let world = World::with(without_rates).await;
    allow(&world).await;
    let (_, mut token) = begun(&world, "a").await;
    let world = Arc::new(world);
    // A server has a turn over the network for each of them.
    let (generations, at_a_time) = if crate::postgres::is_chosen() { (10, 40) } else { (50, 200) };
    for generation in 0..generations {
        let nonce = random();
        let requests = (0..at_a_time).map(|_| request(&token, &nonce)).collect();
        let answers = at_once(&world, requests).await;
        let answers = answers.into_iter().map(|answer| answer.ok().unwrap());
        let each: HashSet<_> =
            answers.map(|answer| (next(&answer), answer.token.access_token)).collect();
        assert_eq!(each.len(), 1, "generation {generation}");
        token = each.into_iter().next().unwrap().0;
    }
    // With nonces of their own they are many holders of one token: one gets a successor, and the family ends.
    let requests = (0..at_a_time).map(|_| request(&token, &random())).collect();
    let answers = at_once(&world, requests).await;
    let (good, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(good.len(), 1);
    let refused: Vec<_> = refused.into_iter().map(Result::err).collect();
    assert!(refused.iter().all(|one| *one == INVALID || *one == REUSED));
    assert_eq!(refused.iter().filter(|one| **one == REUSED).count(), 1);
    let successor = next(good[0].as_ref().ok().unwrap());
    assert_eq!(renew(&world, &successor).await.err(), INVALID);
}

#[tokio::test]
async fn a_marked_copy_serves_no_family_before_an_operator_has_looked() {
    let world = World::new().await;
    allow(&world).await;
    let (_, token) = begun(&world, "a").await;
    let (_, ended) = begun(&world, "b").await;
    let (device, _) = world.enrolled("c").await;
    let world = copied(world).await;
    // The lost part: one family goes on, one is ended.
    let second = next(&renew(&world, &token).await.unwrap());
    let third = next(&renew(&world, &second).await.unwrap());
    let taken = next(&renew(&world, &ended).await.unwrap());
    assert_eq!(renew(&world, &ended).await.err(), REUSED);
    let world = brought_back_marked(world).await;
    let held = Some((503, 1, RefusalCode::NotReady));
    for token in [&token, &third, &ended, &taken] {
        assert_eq!(renew(&world, token).await.err(), held);
    }
    // One that begins now is served.
    let new = next(&begin_with(&world, &device, Wish::default()).await.unwrap());
    let new = next(&renew(&world, &new).await.unwrap());
    world.operator.delete_any("/v1/trust/restored").await.unwrap();
    renew(&world, &new).await.unwrap();
    // The newest token of the lost part goes on, and none before it.
    let nonce = random();
    let fourth = next(&renew_by(&world, &third, &nonce).await.unwrap());
    assert_eq!(next(&renew_by(&world, &third, &nonce).await.unwrap()), fourth);
    assert!(![token, second.clone(), third].contains(&fourth));
    let fifth = next(&renew(&world, &fourth).await.unwrap());
    assert_eq!(renew(&world, &second).await.err(), REUSED);
    assert_eq!(renew(&world, &fifth).await.err(), INVALID);
}

#[tokio::test]
async fn a_copy_without_a_mark_is_told_by_the_first_token_that_it_does_not_know() {
    let world = World::new().await;
    allow(&world).await;
    let (_, token) = begun(&world, "a").await;
    let world = copied(world).await;
    let second = next(&renew(&world, &token).await.unwrap());
    let world = brought_back(world, |_| {}).await;
    assert!(world.get("/v1/trust/restored").await["restorations"].as_array().unwrap().is_empty());
    let held = Some((503, 1, RefusalCode::NotReady));
    assert_eq!(renew(&world, &second).await.err(), held);
    let told = world.get("/v1/trust/restored").await;
    assert_eq!(told["restorations"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["restorations"][0]["why"], "token");
    assert_eq!(renew(&world, &second).await.err(), held, "and it is one restoration");
    let told = world.get("/v1/trust/restored").await;
    assert_eq!(told["restorations"].as_array().unwrap().len(), 1);
    world.operator.delete_any("/v1/trust/restored").await.unwrap();
    let third = next(&renew(&world, &second).await.unwrap());
    renew(&world, &third).await.unwrap();
}

/// Every file of the folder, and what the service tells.
#[tokio::test]
async fn no_refresh_token_is_in_the_folder_the_metrics_or_the_audit_log() {
    let world = World::new().await;
    allow(&world).await;
    let (_, first) = begun(&world, "a").await;
    let second = renew(&world, &first).await.unwrap();
    let third = renew(&world, &next(&second)).await.unwrap();
    assert_eq!(renew(&world, &first).await.err(), REUSED);
    let (_, open) = begun(&world, "b").await;
    let living = renew(&world, &open).await.unwrap();
    let open = next(&living);
    let metrics = world.stranger.get("/metrics").await.unwrap().body;
    let log = world.get("/v1/audit?limit=1000").await.to_string();
    assert!(log.contains("family.begin"));
    let mut told = vec![metrics, log.into_bytes()];
    assert!(world.stop().await.is_empty());
    let mut folders = vec![world.dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => told.push(std::fs::read(path).unwrap()),
            }
        }
    }
    assert!(told.len() > 4);
    for token in [first, next(&second), next(&third), open] {
        let text = &token[7..];
        let whole = tessera_token::encoding::from_base64url(std::str::from_utf8(text).unwrap());
        let whole = whole.unwrap();
        // The last part is the secret one, as text, as bytes and as its hash.
        let hash = tessera_token::hash::sha256(&token);
        for secret in [&text[text.len() - 40..], &whole[32..], &hash] {
            let is_in = |bytes: &Vec<u8>| bytes.windows(secret.len()).any(|part| part == secret);
            assert!(!told.iter().any(is_in));
        }
    }
    // Nor are the bearer tokens of a family.
    for answer in [&second, &third, &living] {
        let bearer = &answer.token.access_token;
        let is_in = |bytes: &Vec<u8>| bytes.windows(bearer.len()).any(|part| part == bearer);
        assert!(!told.iter().any(is_in));
    }
}

#[tokio::test]
async fn a_family_has_so_many_living_access_tokens() {
    let world = World::with(without_rates).await;
    allow(&world).await;
    let (_, mut token) = begun(&world, "a").await;
    for _ in 1..64 {
        token = next(&renew(&world, &token).await.unwrap());
    }
    let nonce = random();
    let refused = renew_by(&world, &token, &nonce).await.err();
    assert_eq!(refused, Some((429, 1, RefusalCode::RateLimited)));
    world.advance(3601);
    renew_by(&world, &token, &nonce).await.unwrap();
}

#[tokio::test]
async fn ended_families_are_swept() {
    let world = quick().await;
    allow(&world).await;
    let (_, token) = begun(&world, "a").await;
    renew(&world, &token).await.unwrap();
    world.advance(31 * DAY);
    swept(&world, "refresh_families", 1).await;
}

#[tokio::test]
async fn a_refresh_token_is_active_until_it_is_used_or_its_family_ends() {
    use crate::introspect::{ask, inactive};
    let world = World::new().await;
    allow(&world).await;
    let (_, first) = begun(&world, "a").await;
    let text = |token: &[u8]| String::from_utf8(token.to_vec()).unwrap();
    let told = ask(&world.operator, &text(&first)).await;
    assert_eq!((&told["active"], &told["token_type"]), (&json!(true), &json!("refresh_token")));
    assert_eq!((&told["sub"], &told["iss"]), (&json!("a"), &json!("default")));
    assert_eq!(told["exp"], json!(world.now().get() + 30 * DAY));
    let second = next(&renew(&world, &first).await.unwrap());
    assert_eq!(ask(&world.operator, &text(&first)).await, inactive());
    assert_eq!(ask(&world.operator, &text(&second)).await["active"], json!(true));
    // To ask is no use of it.
    let third = next(&renew(&world, &second).await.unwrap());
    let body = json!({ "operator": "o", "roles": ["viewer"], "tenants": ["acme"] });
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let made = world.post("/v1/operators", body).await;
    let other = world.with_token(made["token"].as_str().unwrap());
    assert_eq!(ask(&other, &text(&third)).await, inactive());
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    assert_eq!(ask(&world.operator, &text(&third)).await, inactive());
}
