//! `docs/device.md`: each byte on it is in the vectors, and each vector is what the code makes.
//!
//! `TESSERA_WRITE_VECTORS=1` writes `enrol.json` and `refresh.json` anew; then `git diff` must be empty.

use std::path::PathBuf;

use serde_json::{json, Value};
use tessera_tests::process::root;
use tessera_token::encoding::hex;
use tessera_token::hash::sha256;
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::messages::{
    AceError, EnrolRequest, NonceAnswer, RefusalAnswer, TokenAnswer, TokenKind, TokenRequest,
};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicFilter;

const NOW: u64 = 1_790_000_000;
const TENANT: &str = "acme";
const DEVICE: &str = "device-0001";
const CLAIM: &str = "TSR-QEDQF-7KTHF-C6F1F-X0WDM";
const REFRESHED: u64 = NOW + 2_500;
/// The context of a proof, whose signature is over the whole.
const CONNECT: &str = "tessera-connect-1";

fn folder() -> PathBuf {
    root().join("tests/vectors/ace")
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}

/// Bytes that count up.
fn counted<const N: usize>(from: u8) -> [u8; N] {
    std::array::from_fn(|at| from + u8::try_from(at).unwrap())
}

/// An item of a signed array, written by hand: the vectors do not rest on the writer of the product.
enum Item<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Number(u64),
}

fn head(major: u8, n: u64) -> Vec<u8> {
    let short = |more: u8, bytes: &[u8]| [&[major << 5 | more], bytes].concat();
    match n {
        0..24 => short(u8::try_from(n).unwrap(), &[]),
        24..256 => short(24, &[u8::try_from(n).unwrap()]),
        256..65_536 => short(25, &u16::try_from(n).unwrap().to_be_bytes()),
        _ => short(26, &u32::try_from(n).unwrap().to_be_bytes()),
    }
}

fn array(items: &[Item<'_>]) -> Vec<u8> {
    let mut all = head(4, items.len() as u64);
    for item in items {
        all.extend(match item {
            Item::Text(text) => [head(3, text.len() as u64), text.as_bytes().to_vec()].concat(),
            Item::Bytes(bytes) => [head(2, bytes.len() as u64), bytes.to_vec()].concat(),
            Item::Number(n) => head(0, *n),
        });
    }
    all
}

fn signed(message: &[u8], signature: &[u8; 64]) -> String {
    assert!(key().public().verifies(message, signature), "{}", hex::encode(message));
    hex::encode(message)
}

fn answer(token: &[u8], at: u64) -> String {
    let entry = |topic: &str, permission| ScopeEntry {
        filter: TopicFilter::parse(topic).unwrap(),
        permission,
    };
    let scope = Scope::new(vec![
        entry("d/device-0001/telemetry", Permission::Publish),
        entry("d/device-0001/cmd", Permission::Subscribe),
    ]);
    let answer = TokenAnswer {
        access_token: token.to_vec(),
        expires_in: 3600,
        bearer: false,
        key: None,
        audience: Audience::parse("mqtt").unwrap(),
        scope: scope.unwrap(),
        server_time: UnixSeconds::new(at),
    };
    hex::encode(answer.to_cbor())
}

fn enrol(token: &[u8]) -> Value {
    let (tenant, device) = (TenantId::parse(TENANT).unwrap(), DeviceId::parse(DEVICE).unwrap());
    let nonce: [u8; 32] = counted(0xc0);
    let request = EnrolRequest::sign(&key(), &tenant, &device, CLAIM, &nonce);
    let public = key().public();
    let nonce_answer =
        NonceAnswer { nonce: nonce.to_vec(), expires_in: 120, server_time: UnixSeconds::new(NOW) };
    let message = array(&[
        Item::Text("tessera-enrol-1"),
        Item::Text(TENANT),
        Item::Text(DEVICE),
        Item::Bytes(public.thumbprint().as_bytes()),
        Item::Bytes(&sha256(CLAIM.as_bytes())),
        Item::Bytes(&nonce),
    ]);
    json!({
        "tenant": TENANT, "device": DEVICE, "claim": CLAIM, "key": "keys.json, clients.ed25519",
        "claim_sha256": hex::encode(sha256(CLAIM.as_bytes())),
        "thumbprint": hex::encode(public.thumbprint().as_bytes()),
        "nonce": hex::encode(nonce),
        "nonce_answer": hex::encode(nonce_answer.to_cbor()),
        "signed_bytes": signed(&message, &request.signature),
        "signature": hex::encode(request.signature),
        "request": hex::encode(request.to_cbor()),
        "answer": answer(token, NOW),
    })
}

fn refresh(token: &[u8]) -> Value {
    let (tenant, device) = (TenantId::parse(TENANT).unwrap(), DeviceId::parse(DEVICE).unwrap());
    let (nonce, cnonce): ([u8; 16], [u8; 32]) = (counted(0xd0), counted(0xc0));
    let (key, time, kind) = (key(), UnixSeconds::new(REFRESHED), TokenKind::Key);
    let of_time = TokenRequest::sign(&key, &tenant, &device, time, &nonce, kind);
    let of_nonce = TokenRequest::sign_nonce(&key, &tenant, &device, &cnonce, &nonce, kind);
    let thumbprint = key.public().thumbprint();
    let message = |context, fresh| {
        let head = [Item::Text(context), Item::Text(TENANT), Item::Text(DEVICE)];
        let rest =
            [Item::Bytes(thumbprint.as_bytes()), fresh, Item::Bytes(&nonce), Item::Number(2)];
        array(&head.into_iter().chain(rest).collect::<Vec<_>>())
    };
    let by_time = message("tessera-refresh-1", Item::Number(REFRESHED));
    let by_nonce = message("tessera-refresh-nonce-1", Item::Bytes(&cnonce));
    let refusal = RefusalAnswer::new(AceError::InvalidGrant, RefusalCode::ProofNotFresh, time)
        .with_cnonce(&cnonce);
    json!({
        "tenant": TENANT, "device": DEVICE, "key": "keys.json, clients.ed25519",
        "nonce": hex::encode(nonce), "token_type": 2,
        "by_time": {
            "iat": REFRESHED,
            "signed_bytes": signed(&by_time, &of_time.signature),
            "signature": hex::encode(of_time.signature),
            "request": hex::encode(of_time.to_cbor()),
        },
        "refusal": hex::encode(refusal.to_cbor()),
        "by_nonce": {
            "cnonce": hex::encode(cnonce),
            "signed_bytes": signed(&by_nonce, &of_nonce.signature),
            "signature": hex::encode(of_nonce.signature),
            "request": hex::encode(of_nonce.to_cbor()),
        },
        "answer": answer(token, REFRESHED),
    })
}

/// The parts of the password that `connect_proof.json` holds as one.
fn connect() -> Value {
    let text = std::fs::read_to_string(folder().join("connect_proof.json")).unwrap();
    let vector: Value = serde_json::from_str(&text).unwrap();
    let password = hex::decode(vector["cases"]["ed25519"]["password"].as_str().unwrap()).unwrap();
    let (token, proof) = password.split_at(password.len() - 74);
    let number = |at: usize| u32::from_be_bytes(proof[at..at + 4].try_into().unwrap());
    let message = array(&[
        Item::Text(CONNECT),
        Item::Text("mqtt"),
        Item::Text(DEVICE),
        Item::Bytes(&sha256(token)),
        Item::Number(number(2).into()),
        Item::Number(number(6).into()),
    ]);
    json!({
        "token": hex::encode(token),
        "token_sha256": hex::encode(sha256(token)),
        "signed_bytes": signed(&message, proof[10..].try_into().unwrap()),
        "proof": hex::encode(proof),
        "password": hex::encode(&password),
    })
}

/// All vectors of the page, by the names of its examples.
fn vectors() -> Value {
    let connect = connect();
    let token = hex::decode(connect["token"].as_str().unwrap()).unwrap();
    let keys = std::fs::read_to_string(folder().join("keys.json")).unwrap();
    let keys: Value = serde_json::from_str(&keys).unwrap();
    json!({
        "key": keys["clients"]["ed25519"], "connect": connect,
        "enrol": enrol(&token), "refresh": refresh(&token),
    })
}

#[test]
fn committed_vectors_are_what_the_code_makes() {
    let vectors = vectors();
    for name in ["enrol", "refresh"] {
        let path = folder().join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&vectors[name]).unwrap() + "\n";
        if std::env::var_os("TESSERA_WRITE_VECTORS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap();
        assert!(committed == text, "{name}.json differs: TESSERA_WRITE_VECTORS=1 writes it anew");
    }
}

/// The examples of the page: those in a block ```` ```hex NAME ````, without the words behind `#`.
fn examples(page: &str) -> Vec<(String, String)> {
    let blocks = page.split("\n```hex ").skip(1);
    let one = |block: &str| {
        let (name, rest) = block.split_once('\n').unwrap();
        let (body, _) = rest.split_once("\n```").unwrap();
        let bytes = body.lines().map(|line| line.split('#').next().unwrap());
        let hex: String = bytes.collect::<String>().split_whitespace().collect();
        (name.trim().to_owned(), hex)
    };
    blocks.map(one).collect()
}

#[test]
fn every_byte_on_the_page_is_in_the_vectors() {
    let page = std::fs::read_to_string(root().join("docs/device.md")).unwrap();
    let vectors = vectors();
    let examples = examples(&page);
    for (name, hex) in &examples {
        let pointer = format!("/{}", name.replace('.', "/"));
        let vector = vectors.pointer(&pointer).unwrap_or_else(|| panic!("no vector {name}"));
        assert_eq!(hex, vector, "{name}");
    }
    // Nothing that a device sends or signs is left out.
    let wanted = [
        "key.cose_key",
        "key.thumbprint",
        "enrol.claim_sha256",
        "enrol.signed_bytes",
        "enrol.request",
        "connect.signed_bytes",
        "connect.proof",
        "refresh.by_time.signed_bytes",
        "refresh.by_time.request",
        "refresh.by_nonce.signed_bytes",
        "refresh.by_nonce.request",
        "refresh.refusal",
    ];
    for name in wanted {
        assert!(examples.iter().any(|(shown, _)| shown == name), "{name} is not on the page");
    }
    // Short values in the text.
    for name in ["enrol.claim", "enrol.tenant", "enrol.device"] {
        let pointer = format!("/{}", name.replace('.', "/"));
        assert!(page.contains(vectors.pointer(&pointer).unwrap().as_str().unwrap()), "{name}");
    }
}
