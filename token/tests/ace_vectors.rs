//! The vectors in `tests/vectors/ace/`: made here, compared with what is committed.
//!
//! `TESSERA_WRITE_VECTORS=1 cargo test -p tessera-token --test ace_vectors` writes them anew; then
//! `git diff` must be empty.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::path::PathBuf;

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{json, Map, Value};
use tessera_token::ace::{self, AuthData, ChallengeProof, ExporterProof};
use tessera_token::ace::{BoundNonce, BoundProof, BoundResponse, Channel, Meant};
use tessera_token::ace::{ExporterSecret, Nonce, Response};
use tessera_token::claims::{Claims, ConfirmationForm, Epochs, Serial};
use tessera_token::encoding::hex;
use tessera_token::hash::TokenHash;
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::issue::{issue_as, issue_symmetric};
use tessera_token::key::{Algorithm, PublicKey, SecretKey};
use tessera_token::messages::{IssuedKey, TokenAnswer, TokenKind, TokenRequest};
use tessera_token::proof::{
    ConnectProof, Credential, DerivationId, DerivationKey, DerivationKeys, Derived, Pop, PopKey,
    SymmetricKey, TicketKey,
};
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::seal::OpeningKey;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicFilter;

const NOW: u64 = 1_790_000_000;
const DEVICE: &str = "device-0001";
const BROKER: [u8; 8] = [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7];
const CLIENT: [u8; 8] = [0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7];

/// A client of one kind of key.
enum Client {
    Ed25519(SecretKey),
    P256(SigningKey),
    Hmac(SymmetricKey),
}

impl Client {
    fn all() -> [(&'static str, Self); 3] {
        [
            ("ed25519", Self::Ed25519(SecretKey::from_seed(&[3; 32]))),
            ("p256", Self::P256(SigningKey::from_slice(&[4; 32]).unwrap())),
            ("hmac_sha256", Self::Hmac(SymmetricKey::from_bytes(&[5; 32]).unwrap())),
        ]
    }

    fn sign(&self, message: &[u8]) -> Pop {
        match self {
            Self::Ed25519(key) => Pop::Signature(key.sign(message)),
            // Deterministic (RFC 6979), so that the vectors are too.
            Self::P256(key) => {
                let signature: Signature = key.sign(message);
                Pop::Signature(signature.to_bytes().into())
            }
            Self::Hmac(key) => key.prove(message),
        }
    }

    fn key(&self) -> PopKey {
        match self {
            Self::Ed25519(key) => PopKey::Public(key.public()),
            Self::P256(key) => {
                let point = key.verifying_key().to_encoded_point(false);
                PopKey::Public(PublicKey::from_bytes(point.as_bytes()).unwrap())
            }
            Self::Hmac(key) => {
                let by = DerivationId::from_bytes([1; 4]);
                PopKey::Symmetric(Derived { key: key.clone(), by })
            }
        }
    }

    /// The token of this client. A symmetric key never stands in a token: the broker finds it by the
    /// kid, which here is borrowed from the Ed25519 client.
    fn token(&self) -> Vec<u8> {
        let (key, form) = match self.key() {
            PopKey::Public(key) => (key, ConfirmationForm::Key),
            PopKey::Symmetric(_) => {
                (SecretKey::from_seed(&[3; 32]).public(), ConfirmationForm::KeyId)
            }
        };
        issue_as(&claims(key), form, Algorithm::Ed25519, &issuer()).unwrap()
    }

    fn describe(&self) -> Value {
        match self {
            Self::Ed25519(key) => json!({
                "seed": hex::encode(key.expose_seed().as_slice()),
                "public": hex::encode(key.public_bytes()),
                "cose_key": hex::encode(key.public().to_cose_key()),
                "thumbprint": hex::encode(key.public().thumbprint().as_bytes()),
            }),
            Self::P256(key) => {
                let PopKey::Public(public) = self.key() else { unreachable!() };
                json!({
                    "secret": hex::encode(key.to_bytes()),
                    "public": hex::encode(public.as_bytes()),
                    "cose_key": hex::encode(public.to_cose_key()),
                    "thumbprint": hex::encode(public.thumbprint().as_bytes()),
                })
            }
            Self::Hmac(_) => json!({ "key": hex::encode([5; 32]) }),
        }
    }
}

fn issuer() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn claims(key: PublicKey) -> Claims {
    let entry = |filter: &str, permission| ScopeEntry {
        filter: TopicFilter::parse(filter).unwrap(),
        permission,
    };
    Claims {
        tenant: TenantId::parse("acme").unwrap(),
        device: DeviceId::parse(DEVICE).unwrap(),
        audience: Audience::parse("mqtt").unwrap(),
        expires: UnixSeconds::new(NOW + 3600),
        not_before: None,
        issued: UnixSeconds::new(NOW),
        serial: Serial::from_counter(4711),
        confirmation: Some(key),
        scope: Scope::new(vec![
            entry("d/device-0001/telemetry", Permission::Publish),
            entry("d/device-0001/cmd", Permission::Subscribe),
        ])
        .unwrap(),
        epochs: Epochs::default(),
    }
}

fn exporter() -> [u8; 32] {
    core::array::from_fn(|i| i as u8)
}

fn for_each(make: impl Fn(&Client) -> Value) -> Value {
    Client::all()
        .iter()
        .map(|(name, client)| (name.to_string(), make(client)))
        .collect::<Map<_, _>>()
        .into()
}

/// An MQTT string or binary field.
fn field(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// A number of one to four bytes, seven bits each.
fn variable(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number % 128) as u8;
        number /= 128;
        bytes.push(if number > 0 { low | 128 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

fn packet(first: u8, body: Vec<u8>) -> Vec<u8> {
    [vec![first], variable(body.len()), body].concat()
}

fn properties(method: &str, data: &[u8]) -> Vec<u8> {
    let list = [vec![0x15], field(method.as_bytes()), vec![0x16], field(data)].concat();
    [variable(list.len()), list].concat()
}

fn connect5(data: &[u8]) -> String {
    connect5_by(ace::METHOD, data)
}

fn connect5_by(method: &str, data: &[u8]) -> String {
    let head = [field(b"MQTT"), vec![5, 0x02, 0, 60]].concat();
    hex::encode(packet(0x10, [head, properties(method, data), field(DEVICE.as_bytes())].concat()))
}

fn auth(reason: u8, data: &[u8]) -> String {
    auth_by(ace::METHOD, reason, data)
}

fn auth_by(method: &str, reason: u8, data: &[u8]) -> String {
    hex::encode(packet(0xf0, [vec![reason], properties(method, data)].concat()))
}

fn connect311(username: &str, password: &[u8]) -> String {
    let head = [field(b"MQTT"), vec![4, 0xc2, 0, 60]].concat();
    let payload = [field(DEVICE.as_bytes()), field(username.as_bytes()), field(password)].concat();
    hex::encode(packet(0x10, [head, payload].concat()))
}

fn challenge_response() -> Value {
    for_each(|client| {
        let (broker, nonce) = (Nonce::from_bytes(BROKER), Nonce::from_bytes(CLIENT));
        let token = AuthData::Token(client.token()).to_bytes().unwrap();
        let response = Response::make_by(|m| client.sign(m), broker, nonce);
        let data = response.to_bytes();
        assert_eq!(Response::parse(&data).as_ref(), Ok(&response));
        let pop = hex::encode(response.pop.as_bytes());
        assert!(ChallengeProof { broker, response }.verifies(&client.key()));
        json!({
            "token": hex::encode(client.token()),
            "token_hash": hex::encode(TokenHash::of(&client.token()).as_bytes()),
            "connect_authentication_data": hex::encode(&token),
            "rs_nonce": hex::encode(BROKER),
            "client_nonce": hex::encode(CLIENT),
            "signed_bytes": hex::encode([BROKER, CLIENT].concat()),
            "pop": pop,
            "client_auth_authentication_data": hex::encode(&data),
            "packets": {
                "connect": connect5(&token),
                "broker_auth_0x18": auth(0x18, &BROKER),
                "client_auth_0x18": auth(0x18, &data),
                "client_auth_0x19": auth(0x19, &token),
            },
        })
    })
}

/// Not of RFC 9431: the method whose answer is bound, in clear and over a channel with an assumed binding.
fn bound_challenge() -> Value {
    let one = |client: &Client, channel: &Channel, binding: &[u8]| {
        let (broker, nonce) =
            (BoundNonce::from_bytes([0xa5; 16]), BoundNonce::from_bytes([0xb5; 16]));
        let token = client.token();
        let meant = Meant { audience: "mqtt", client_id: DEVICE, token: &token };
        let mut signed = Vec::new();
        let sign = |message: &[u8]| {
            signed = message.to_vec();
            client.sign(message)
        };
        let response = BoundResponse::make_by(sign, meant, channel, broker, nonce);
        let data = response.to_bytes();
        assert_eq!(BoundResponse::parse(&data).as_ref(), Ok(&response));
        let pop = hex::encode(response.pop.as_bytes());
        let proof = BoundProof { broker, channel: channel.clone(), response };
        assert!(proof.verifies(&client.key(), meant));
        let begin = AuthData::Token(token.clone()).to_bytes().unwrap();
        json!({
            "token": hex::encode(&token),
            "channel_binding": hex::encode(binding),
            "connect_authentication_data": hex::encode(&begin),
            "broker_nonce": hex::encode(broker.as_bytes()),
            "client_nonce": hex::encode(nonce.as_bytes()),
            "signed_bytes": hex::encode(signed),
            "pop": pop,
            "client_auth_authentication_data": hex::encode(&data),
            "packets": {
                "connect": connect5_by(ace::BOUND_METHOD, &begin),
                "broker_auth_0x18": auth_by(ace::BOUND_METHOD, 0x18, broker.as_bytes()),
                "client_auth_0x18": auth_by(ace::BOUND_METHOD, 0x18, &data),
                "client_auth_0x19": auth_by(ace::BOUND_METHOD, 0x19, &begin),
            },
        })
    };
    let tls = Channel::Tls(ExporterSecret::from_bytes(&exporter()));
    json!({
        "method": ace::BOUND_METHOD,
        "audience": "mqtt",
        "client_id": DEVICE,
        "binding_label": ace::BINDING_LABEL,
        "clear": for_each(|client| one(client, &Channel::Clear, &[])),
        "tls": for_each(|client| one(client, &tls, &exporter())),
    })
}

fn tls_exporter() -> Value {
    for_each(|client| {
        let exporter = ExporterSecret::from_bytes(&exporter());
        let (token, pop) = (client.token(), exporter.prove_by(|m| client.sign(m)));
        let username = ace::to_username(&token);
        assert!(ExporterProof { exporter, pop }.verifies(&client.key()));
        let data = AuthData::Proved { token, pop }.to_bytes().unwrap();
        json!({
            "label": ace::EXPORTER_LABEL,
            "context": "",
            "exporter_output": hex::encode(self::exporter()),
            "pop": hex::encode(pop.as_bytes()),
            "authentication_data": hex::encode(&data),
            "packets": {
                "mqtt5_connect": connect5(&data),
                "mqtt311_connect": connect311(&username, pop.as_bytes()),
            },
        })
    })
}

fn malformed() -> Value {
    let client = SecretKey::from_seed(&[3; 32]);
    let token = Client::Ed25519(client.clone()).token();
    let whole = |pop: &[u8]| [&(token.len() as u16).to_be_bytes(), token.as_slice(), pop].concat();
    let pop = client.sign(&exporter());
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("token length 0", vec![0, 0]),
        ("one byte", vec![0]),
        ("proof without a token", [&[0, 0], pop.as_slice()].concat()),
        ("token length beyond the data", whole(&[])[..100].to_vec()),
        ("token length above 4 KiB", vec![0xff, 0xff, 0xd8]),
        ("signature of 63 bytes", whole(&pop[..63])),
        ("signature of 65 bytes", whole(&[pop.as_slice(), &[0]].concat())),
        ("length in front of the signature (drafts)", whole(&[&[0, 64], pop.as_slice()].concat())),
    ];
    let judge = |data: &[u8]| match AuthData::parse(data) {
        Ok(AuthData::NoToken) => "no token",
        Ok(_) => "accepted",
        Err(code) => code.as_str(),
    };
    let cases = cases.iter().map(|(name, data)| {
        json!({ "name": name, "authentication_data": hex::encode(data), "outcome": judge(data) })
    });
    let response = Response::make(&client, Nonce::from_bytes(BROKER), Nonce::from_bytes(CLIENT));
    let whole = response.to_bytes();
    let responses: Vec<(&str, Vec<u8>)> = vec![
        ("client nonce of 7 bytes", whole[1..].to_vec()),
        ("nonce alone", whole[..8].to_vec()),
        ("trailing byte", [whole.as_slice(), &[0]].concat()),
        ("empty", vec![]),
    ];
    let responses = responses.iter().map(|(name, data)| {
        let outcome = Response::parse(data).unwrap_err().as_str();
        json!({ "name": name, "authentication_data": hex::encode(data), "outcome": outcome })
    });
    json!({ "connect": cases.collect::<Vec<_>>(), "response": responses.collect::<Vec<_>>() })
}

/// Not of RFC 9431: how a Tessera device proves itself in one MQTT 3.1.1 password.
fn connect_proofs() -> Value {
    let time = UnixSeconds::new(NOW);
    let mut cases = for_each(|client| {
        let token = client.token();
        let proof = ConnectProof::make_by(|m| client.sign(m), "mqtt", DEVICE, &token, time, 1);
        assert!(proof.verifies_by(&client.key(), "mqtt", DEVICE, &token));
        json!({ "password": hex::encode(Credential { token, proof: Some(proof) }.to_password()) })
    });
    let token = Client::Ed25519(SecretKey::from_seed(&[3; 32])).token();
    let key = SecretKey::from_seed(&[3; 32]).public().thumbprint();
    let audience = Audience::parse("mqtt").unwrap();
    let ticket = TicketKey::from_bytes(&[6; 32]);
    let secret = ticket.secret_of(&audience, &key, &TokenHash::of(&token));
    let proof = ConnectProof::resume(&secret, "mqtt", DEVICE, &token, time, 2);
    assert!(proof.resumes(&secret, "mqtt", DEVICE, &token));
    cases["resumption"] = json!({
        "ticket_key": hex::encode([6; 32]),
        "key_name": hex::encode(key.as_bytes()),
        "secret": hex::encode(secret.expose_bytes()),
        "password": hex::encode(Credential { token, proof: Some(proof) }.to_password()),
    });
    json!({ "audience": "mqtt", "client_id": DEVICE, "time": NOW, "cases": cases })
}

/// The same password for a verifier that has a name of its own, and the bytes that are signed.
fn connect_proof_for_a_named_verifier() -> Value {
    const VERIFIER: &str = "gw-line-3";
    let time = UnixSeconds::new(NOW);
    let key = SecretKey::from_seed(&[3; 32]);
    let token = Client::Ed25519(key).token();
    let mut signed = Vec::new();
    let sign = |message: &[u8]| {
        signed = message.to_vec();
        Pop::Signature(SecretKey::from_seed(&[3; 32]).sign(message))
    };
    let proof = ConnectProof::make_by(sign, VERIFIER, DEVICE, &token, time, 1);
    let public = SecretKey::from_seed(&[3; 32]).public();
    assert!(proof.verifies(&public, VERIFIER, DEVICE, &token));
    assert!(!proof.verifies(&public, "mqtt", DEVICE, &token));
    json!({
        "audience": "mqtt",
        "verifier": VERIFIER,
        "client_id": DEVICE,
        "time": NOW,
        "counter": 1,
        "signed_bytes": hex::encode(signed),
        "password": hex::encode(Credential { token, proof: Some(proof) }.to_password()),
    })
}

/// A symmetric key on its way to the signer of its request: HPKE in base mode, to an X25519 key of that request.
fn sealed_key() -> Value {
    let by = DerivationKey::new(&[7; 32], Audience::parse("mqtt").unwrap()).unwrap();
    let claims = claims(SecretKey::from_seed(&[3; 32]).public());
    let token = issue_symmetric(&claims, &by, Algorithm::Ed25519, &issuer()).unwrap();
    let issued = IssuedKey { kid: by.kid_of(&claims.serial), key: by.key_of(&token).unwrap() };
    let opens = OpeningKey::from_random([8; 32]);
    let time = UnixSeconds::new(NOW);
    let request =
        TokenRequest::draft(&claims.tenant, &claims.device, time, &[1; 16], TokenKind::Symmetric)
            .answered_to(opens.public())
            .signed_by(&SecretKey::from_seed(&[3; 32]));
    let answer = TokenAnswer {
        access_token: token.clone(),
        expires_in: 3600,
        bearer: false,
        key: Some(issued.clone()),
        audience: claims.audience.clone(),
        scope: claims.scope.clone(),
        server_time: time,
    };
    let sealed = answer.seal_key(&opens.public(), [9; 32]).unwrap();
    let whole = answer.to_cbor_sealed(&sealed);
    assert_eq!(TokenAnswer::from_cbor_for(&whole, &opens), Ok(answer));
    json!({
        "opening_key_random": hex::encode([8; 32]),
        "answer_key": hex::encode(opens.public()),
        "token_request": hex::encode(request.to_cbor()),
        "token": hex::encode(token),
        "info": hex::encode(b"tessera-symmetric-key-1"),
        "ephemeral_random": hex::encode([9; 32]),
        "sealed_cnf": hex::encode(sealed),
        "kid": hex::encode(&issued.kid),
        "key": hex::encode(issued.key.expose_bytes()),
        "token_answer": hex::encode(whole),
    })
}

fn keys() -> Value {
    let issuer = issuer();
    json!({
        "issuer": {
            "seed": hex::encode(issuer.expose_seed().as_slice()),
            "public": hex::encode(issuer.public_bytes()),
            "kid": hex::encode(issuer.public().key_id().as_bytes()),
        },
        "clients": for_each(Client::describe),
    })
}

/// RFC 9202 section 3.3.2: the key of a token that names no public key, and the proofs that it makes.
fn derived_key() -> Value {
    let derivation = [7; 32];
    let by = DerivationKey::new(&derivation, Audience::parse("mqtt").unwrap()).unwrap();
    let claims = claims(SecretKey::from_seed(&[3; 32]).public());
    let token = issue_symmetric(&claims, &by, Algorithm::Ed25519, &issuer()).unwrap();
    let key = by.key_of(&token).unwrap();
    let kid = by.kid_of(&claims.serial);
    let lines = format!("mqtt {}\n", hex::encode(derivation));
    let keys = DerivationKeys::parse(&lines, &claims.audience).unwrap();
    assert!(keys.key_behind(&kid, &token).unwrap().key == key);
    let (broker, nonce) = (Nonce::from_bytes(BROKER), Nonce::from_bytes(CLIENT));
    let response = Response::make_by(|m| key.prove(m), broker, nonce);
    let time = UnixSeconds::new(NOW);
    let proof = ConnectProof::make_by(|m| key.prove(m), "mqtt", DEVICE, &token, time, 1);
    let answer = TokenAnswer {
        access_token: token.clone(),
        expires_in: 3600,
        bearer: false,
        key: Some(IssuedKey { kid: kid.clone(), key: key.clone() }),
        audience: claims.audience.clone(),
        scope: claims.scope.clone(),
        server_time: time,
    };
    json!({
        "derivation_key": hex::encode(derivation),
        "derivation_key_id": hex::encode(by.id().as_bytes()),
        "audience": "mqtt",
        "cti": hex::encode(claims.serial.as_bytes()),
        "kid": hex::encode(kid),
        "token": hex::encode(&token),
        "key": hex::encode(key.expose_bytes()),
        "token_answer": hex::encode(answer.to_cbor()),
        "signed_bytes": hex::encode([BROKER, CLIENT].concat()),
        "client_auth_authentication_data": hex::encode(response.to_bytes()),
        "connect": { "client_id": DEVICE, "time": NOW, "counter": 1,
            "password": hex::encode(Credential { token, proof: Some(proof) }.to_password()) },
    })
}

#[test]
fn committed_vectors_are_what_the_code_makes() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/ace");
    let write = std::env::var_os("TESSERA_WRITE_VECTORS").is_some();
    for (name, value) in [
        ("keys.json", keys()),
        ("challenge_response.json", challenge_response()),
        ("bound_challenge.json", bound_challenge()),
        ("tls_exporter.json", tls_exporter()),
        ("malformed.json", malformed()),
        ("connect_proof.json", connect_proofs()),
        ("connect_proof_verifier.json", connect_proof_for_a_named_verifier()),
        ("derived_key.json", derived_key()),
        ("sealed_key.json", sealed_key()),
    ] {
        let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
        if write {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(name), &text).unwrap();
        }
        let committed = std::fs::read_to_string(dir.join(name)).unwrap();
        assert!(committed == text, "{name} differs: TESSERA_WRITE_VECTORS=1 writes it anew");
    }
}
