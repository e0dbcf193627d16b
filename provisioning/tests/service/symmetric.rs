//! Tokens that are bound to a symmetric key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{json, Value};
use tessera_provisioning::{Provisioning, ProvisioningConfig, StartError};
use tessera_runtime::clock::ManualClock;
use tessera_runtime::http::ACE_CBOR;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::secret::write_secret_file;
use tessera_runtime::stop::Stop;
use tessera_token::cbor::{Reader, Writer};
use tessera_token::claims::Claims;
use tessera_token::encoding::{base64url, from_base64url, hex};
use tessera_token::ids::Audience;
use tessera_token::messages::{IssuedKey, TokenAnswer, TokenKind, TokenRequest};
use tessera_token::proof::{DerivationKey, DerivationKeys};
use tessera_token::refusal::RefusalCode;
use tessera_token::seal::OpeningKey;
use tessera_token::time::UnixSeconds;

use crate::world::{opening, problem, random, Device, World, START};

/// Lines of a file of derivation keys, newest first.
fn lines(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("mqtt {}\n", hex::encode([*byte; 32]))).collect()
}

fn keys(bytes: &[u8]) -> DerivationKeys {
    DerivationKeys::parse(&lines(bytes), &Audience::parse("mqtt").unwrap()).unwrap()
}

struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    fn of(bytes: &[u8]) -> Self {
        let keys = Self { folder: tempfile::tempdir().unwrap() };
        keys.replace(bytes);
        keys
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("derivation.keys")
    }

    fn replace(&self, bytes: &[u8]) {
        write_secret_file(&self.path(), lines(bytes).as_bytes()).unwrap();
    }

    async fn world(&self) -> World {
        World::with(|config| {
            config.derivation_key_file = Some(self.path());
            // A caller that waits for the file asks again and again, on a clock that stands still.
            config.admission.wrong.burst = 1_000_000;
            config.admission.device.burst = 1_000_000;
        })
        .await
    }
}

impl World {
    async fn symmetric(&self, device: &Device) -> Result<TokenAnswer, RefusalCode> {
        self.refresh_as(device, self.now(), &random(), TokenKind::Symmetric).await
    }
}

/// The claims of a token, and the bytes of its `cnf`.
fn read(token: &[u8]) -> (Claims, Vec<u8>) {
    let mut reader = Reader::new(&token[3..]);
    reader.array_of(4).unwrap();
    reader.skip().unwrap();
    reader.skip().unwrap();
    let payload = reader.bytes().unwrap();
    let mut items = Reader::new(payload);
    let mut cnf = Vec::new();
    for _ in 0..items.map().unwrap() {
        match items.label().unwrap() {
            Some(8) => cnf = items.item().unwrap().to_vec(),
            _ => items.skip().unwrap(),
        }
    }
    (Claims::from_cbor_without_key(payload).unwrap(), cnf)
}

/// The answer's key is the one that this derivation key makes of its token, under the name in the token.
fn check(answer: &TokenAnswer, by: &DerivationKey) -> IssuedKey {
    let (claims, cnf) = read(&answer.access_token);
    let issued = answer.key.clone().unwrap();
    assert_eq!(issued.kid, by.kid_of(&claims.serial));
    assert!(issued.key == by.key_of(&answer.access_token).unwrap());
    assert_eq!(cnf, Writer::new().map(1).int(3).bytes(&issued.kid).finish());
    assert_eq!((answer.bearer, claims.audience.as_str()), (false, "mqtt"));
    issued
}

#[tokio::test]
async fn without_the_setting_nobody_gets_one() {
    let world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    assert_eq!(world.symmetric(&device).await, Err(RefusalCode::SymmetricNotOffered));
    assert!(first.key.is_none() && world.refresh(&device).await.unwrap().key.is_none());
}

#[tokio::test]
async fn a_device_that_signs_gets_a_key_of_its_own_for_each_token() {
    let file = Keys::of(&[1, 2]);
    let world = file.world().await;
    let (device, _) = world.enrolled("a").await;
    let keys = keys(&[1]);
    let by = keys.newest().unwrap();
    let first = check(&world.symmetric(&device).await.unwrap(), by);
    let second = check(&world.symmetric(&device).await.unwrap(), by);
    assert!(first.kid != second.kid && first.key != second.key);
    // Tokens that were not asked for in this way stay as they were.
    assert!(world.refresh(&device).await.unwrap().key.is_none());
    let thief = Device::new("a");
    assert_eq!(world.symmetric(&thief).await, Err(RefusalCode::ProofInvalid));
    // A request that was signed for another kind of token.
    let mut bent = world.request(&device, TokenKind::Key);
    (bent.kind, bent.answer_key) = (TokenKind::Symmetric, Some(opening().public()));
    let bent = world.ask("/v1/token", bent.to_cbor()).await;
    assert_eq!(bent, Err(RefusalCode::ProofInvalid));
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    assert_eq!(world.symmetric(&device).await, Err(RefusalCode::DeviceRevoked));
}

#[tokio::test]
async fn the_same_request_is_told_the_same_key_again() {
    let file = Keys::of(&[1]);
    let world = file.world().await;
    let (device, _) = world.enrolled("a").await;
    let (time, nonce) = (world.now(), random());
    let ask = |kind| world.refresh_as(&device, time, &nonce, kind);
    let first = ask(TokenKind::Symmetric).await.unwrap();
    let again = ask(TokenKind::Symmetric).await.unwrap();
    assert_eq!((&first.access_token, &first.key), (&again.access_token, &again.key));
    for other in [TokenKind::Key, TokenKind::Bearer] {
        assert_eq!(ask(other).await, Err(RefusalCode::NonceInvalid));
    }
    let nonce = random();
    world.refresh_with(&device, time, &nonce).await.unwrap();
    let other = world.refresh_as(&device, time, &nonce, TokenKind::Symmetric).await;
    assert_eq!(other, Err(RefusalCode::NonceInvalid));
}

#[tokio::test]
async fn a_request_that_was_seen_tells_its_reader_nothing() {
    let file = Keys::of(&[1]);
    let world = file.world().await;
    let (device, _) = world.enrolled("a").await;
    // The request of earlier versions: an observer of its bytes could get the key by them.
    let Device { tenant, id, key } = &device;
    let (time, nonce) = (world.now(), random());
    let open = TokenRequest::sign(key, tenant, id, time, &nonce, TokenKind::Symmetric);
    let asked = world.ask("/v1/token", open.to_cbor()).await;
    assert_eq!(asked, Err(RefusalCode::ChannelInClear));
    // The same bytes again get the same key, which the signer alone can open.
    let request = world.request(&device, TokenKind::Symmetric).to_cbor();
    let issued = world.ask("/v1/token", request.clone()).await.unwrap().key.unwrap();
    let again = world.stranger.post("/v1/token", ACE_CBOR, request.clone()).await.unwrap();
    let secret = issued.key.expose_bytes();
    assert!(!again.body.windows(secret.len()).any(|bytes| bytes == secret));
    assert_eq!(TokenAnswer::from_cbor(&again.body).unwrap().key, None);
    let thief = OpeningKey::from_random([1; 32]);
    assert!(TokenAnswer::from_cbor_for(&again.body, &thief).is_err());
    assert_eq!(TokenAnswer::from_cbor_for(&again.body, &opening()).unwrap().key, Some(issued));
    // Another answer key under the same signature.
    let mut bent = TokenRequest::from_cbor(&request).unwrap();
    bent.answer_key = Some(thief.public());
    let asked = world.ask("/v1/token", bent.to_cbor()).await;
    assert_eq!(asked, Err(RefusalCode::ProofInvalid));
    // A point to which nothing can be sealed, and a key where none is asked for.
    let draft = |kind| TokenRequest::draft(tenant, id, world.now(), &random(), kind);
    let low = draft(TokenKind::Symmetric).answered_to([0; 32]).signed_by(key);
    let asked = world.ask("/v1/token", low.to_cbor()).await;
    assert_eq!(asked, Err(RefusalCode::RequestMalformed));
    let idle = draft(TokenKind::Key).answered_to(thief.public()).signed_by(key);
    let asked = world.ask("/v1/token", idle.to_cbor()).await;
    assert_eq!(asked, Err(RefusalCode::RequestMalformed));
}

#[tokio::test]
async fn a_symmetric_key_that_a_device_brings_is_refused() {
    let file = Keys::of(&[1]);
    let world = file.world().await;
    let (device, _) = world.enrolled("a").await;
    let good = world.request(&device, TokenKind::Symmetric);
    let good = good.to_cbor();
    let mut w = Writer::new();
    w.map(10).int(4).map(1).int(1).map(2).int(1).int(4).int(-1).bytes(&[7; 32]).raw(&good[1..]);
    let brought = world.ask("/v1/token", w.finish()).await;
    assert_eq!(brought, Err(RefusalCode::RequestMalformed));
    assert!(world.ask("/v1/token", good).await.unwrap().key.is_some());
}

#[tokio::test]
async fn the_audit_log_tells_that_and_not_what_and_nothing_else_tells_either() {
    if crate::postgres::has_no_files() {
        return;
    }
    let file = Keys::of(&[1]);
    let world = file.world().await;
    let (device, _) = world.enrolled("a").await;
    let issued = world.symmetric(&device).await.unwrap();
    let key = issued.key.unwrap();
    world.refresh(&device).await.unwrap();
    let audit = world.get("/v1/audit").await;
    let told: Vec<&Value> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["action"] == "token.symmetric")
        .collect();
    assert_eq!(told.len(), 1, "{audit}");
    assert_eq!(
        (told[0]["actor"].as_str(), told[0]["subject"].as_str()),
        (Some("device a"), Some("a"))
    );
    assert!(told[0]["detail"].as_str().unwrap().ends_with(&hex::encode(&key.kid)));
    let metrics = world.stranger.get("/metrics").await.unwrap().text();
    assert!(metrics.contains("issued_total{occasion=\"symmetric\"} 1"), "{metrics}");
    let secret = key.key.expose_bytes();
    for spelt in [hex::encode(secret), base64url(secret)] {
        assert!(!audit.to_string().contains(&spelt) && !metrics.contains(&spelt));
    }
    // Nor is it on disk: the stored answer derives it again.
    assert_eq!(world.stop().await, Vec::<String>::new());
    let mut files = 0;
    let mut folders = vec![world.dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let content = fs::read(&path).unwrap();
                    assert!(!content.windows(32).any(|bytes| bytes == secret), "{path:?}");
                    files += 1;
                }
            }
        }
    }
    assert!(files > 5);
}

#[tokio::test]
async fn json_callers_get_it_sealed_too() {
    let file = Keys::of(&[1]);
    let world = file.world().await;
    let (device, _) = world.enrolled("a").await;
    let request = world.request(&device, TokenKind::Symmetric);
    let body = json!({
        "grant_type": "client_credentials", "client_id": "a", "tenant": "default", "iat": request.time.get(),
        "nonce": base64url(&request.nonce), "signature": base64url(&request.signature), "pop_key": "symmetric",
        "answer_key": base64url(&request.answer_key.unwrap()),
    });
    let answer = world.stranger.post_json("/v1/token", &body).await.unwrap();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer: Value = answer.json().unwrap();
    let token = from_base64url(answer["access_token"].as_str().unwrap()).unwrap();
    let sealed = from_base64url(answer["sealed_cnf"].as_str().unwrap()).unwrap();
    let cnf = opening().open(&sealed, b"tessera-symmetric-key-1", &token).unwrap();
    let expected = keys(&[1]).newest().unwrap().key_of(&token).unwrap();
    assert!(cnf.ends_with(expected.expose_bytes()) && answer.get("cnf").is_none());
    assert_eq!(answer["token_type"], "PoP");
    for (member, value) in [("pop_key", "hmac"), ("token_type", "Bearer")] {
        let mut wrong = body.clone();
        wrong[member] = json!(value);
        let refused = problem(world.stranger.post_json("/v1/token", &wrong).await);
        assert_eq!(refused, (400, "request_malformed".to_owned()), "{member}");
    }
}

#[tokio::test]
async fn a_new_key_is_taken_from_the_file_while_the_service_runs() {
    let file = Keys::of(&[1]);
    let world = file.world().await;
    let (device, _) = world.enrolled("a").await;
    let (time, nonce) = (world.now(), random());
    let first = world.refresh_as(&device, time, &nonce, TokenKind::Symmetric).await.unwrap();
    check(&first, keys(&[1]).newest().unwrap());
    file.replace(&[2, 1]);
    let new = keys(&[2]);
    let by_new = async {
        loop {
            let answer = world.symmetric(&device).await.unwrap();
            if answer.key.as_ref().unwrap().kid.starts_with(new.newest().unwrap().id().as_bytes()) {
                return answer;
            }
            // The answers of a device are few within a minute.
            world.advance(61);
        }
    };
    let patience = Duration::from_secs(30);
    check(&tokio::time::timeout(patience, by_new).await.unwrap(), new.newest().unwrap());
    // An answer by a key that is gone is not answered again: no broker would take it.
    let (time, nonce) = (world.now(), random());
    world.refresh_as(&device, time, &nonce, TokenKind::Symmetric).await.unwrap();
    file.replace(&[3]);
    let gone = async {
        while world.refresh_as(&device, time, &nonce, TokenKind::Symmetric).await.is_ok() {}
        world.refresh_as(&device, time, &nonce, TokenKind::Symmetric).await
    };
    let gone = tokio::time::timeout(patience, gone).await.unwrap();
    assert_eq!(gone, Err(RefusalCode::SymmetricNotOffered));
    check(&world.symmetric(&device).await.unwrap(), keys(&[3]).newest().unwrap());
}

async fn start_with(path: &Path) -> Result<(), StartError> {
    let dir = tempfile::tempdir().unwrap();
    let mut config = ProvisioningConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
    config.derivation_key_file = Some(path.to_owned());
    let (clock, stop) = (ManualClock::at(UnixSeconds::new(START)), Stop::new());
    let random = SystemRandom::shared();
    Provisioning::start(config, clock, random, Metrics::new(), stop).await.map(drop)
}

#[tokio::test]
async fn keys_that_others_know_or_that_are_for_others_stop_the_start() {
    let file = Keys::of(&[1]);
    let open = fs::Permissions::from_mode(0o640);
    fs::set_permissions(file.path(), open).unwrap();
    let refused = start_with(&file.path()).await.unwrap_err().to_string();
    assert!(refused.contains("others can read it"), "{refused}");
    for text in
        [lines(&[1]).replace("mqtt", "mqtt2"), lines(&[1]) + &lines(&[2]).replace("mqtt", "x")]
    {
        write_secret_file(&file.path(), text.as_bytes()).unwrap();
        let refused = start_with(&file.path()).await.unwrap_err().to_string();
        assert!(refused.contains("another audience"), "{refused}");
        assert!(!refused.contains("0101"), "{refused}");
    }
    let missing = start_with(Path::new("/none/derivation.keys")).await;
    assert!(matches!(missing, Err(StartError::Derivation(_))));
}
