//! Requests as encoders by other hands write them: cbor-x (JavaScript), cbor2 (Python), a streaming encoder, and the field
//! order of fxamacker/cbor (Go).

use std::process::Command;

use serde_json::{json, Value};
use tessera_tests::http::Http;
use tessera_tests::process::{ok, python, root};
use tessera_tests::server::Server;
use tessera_token::encoding::hex;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::messages::{EnrolRequest, NonceAnswer, RefusalAnswer, TokenAnswer};
use tessera_token::refusal::RefusalCode;

/// The members of a request, for a peer to encode.
fn members(request: &EnrolRequest) -> Value {
    let key = json!([[1, "uint", 1], [-1, "uint", 6], [-2, "bytes", hex::encode(&request.key)]]);
    json!([
        [24, "text", request.device.as_str()],
        [-65540, "text", request.tenant.as_str()],
        [-65547, "text", request.claim()],
        [4, "map", [[1, "map", key]]],
        [-65543, "bytes", hex::encode(request.signature)],
        [-65542, "bytes", hex::encode(&request.nonce)],
    ])
}

/// The encodings of the peers.
fn encoded(request: &EnrolRequest) -> Vec<Vec<u8>> {
    let members = members(request).to_string();
    let clients = root().join("tests/clients");
    let library = root().join("tests/node_modules/cbor-x");
    assert!(library.exists(), "{} is not there: run tests/run", library.display());
    let node = ok(Command::new("node").arg(clients.join("cbor_peer.js")).arg(&members));
    let python = ok(Command::new(python()).arg(clients.join("cbor_peer.py")).arg(&members));
    let lines = node.lines().chain(python.lines());
    lines.map(|line| hex::decode(line).unwrap()).collect()
}

#[test]
fn a_device_enrols_with_the_encoder_that_its_language_has() {
    let server = Server::start();
    let http = Http::new(server.http, None);
    let claim = |count: usize| -> Vec<String> {
        let told = ok(&mut server.operator(&[
            "claim",
            "create",
            "--role",
            "sensor",
            "--count",
            &count.to_string(),
            "--json",
        ]));
        let told: Value = serde_json::from_str(&told).unwrap();
        let codes = told["claims"].as_array().unwrap().iter();
        codes.map(|claim| claim["code"].as_str().unwrap().to_owned()).collect()
    };
    let tenant = TenantId::parse("default").unwrap();
    let sign = |number: u8, claim: &str| {
        let nonce = http.post_cbor("/v1/enrol/nonce", &[]).unwrap();
        let nonce = NonceAnswer::from_cbor(&nonce.body).unwrap().nonce;
        let device = DeviceId::parse(&format!("peer-{number}")).unwrap();
        EnrolRequest::sign(&SecretKey::from_seed(&[number; 32]), &tenant, &device, claim, &nonce)
    };
    let forms = encoded(&sign(1, "TSR-0")).len();
    assert_eq!(forms, 11);
    let mut different = std::collections::HashSet::new();
    for (form, code) in claim(forms).iter().enumerate() {
        let request = sign(u8::try_from(form).unwrap() + 1, code);
        let body = encoded(&request).swap_remove(form);
        different.insert(body != request.to_cbor());
        let answer = http.post_cbor("/v1/enrol", &body).unwrap();
        let told = RefusalAnswer::from_cbor(&answer.body).map(|refusal| refusal.description);
        assert_eq!(answer.status, 200, "form {form}: {told:?} {}", hex::encode(&body));
        TokenAnswer::from_cbor(&answer.body).unwrap();
    }
    assert_eq!(different.len(), 2, "some of the forms are not ours, and one is");
    // A refusal names the fault and its place.
    let request = sign(200, &claim(1)[0]);
    let mut body = encoded(&request).swap_remove(0);
    body.push(0);
    let answer = http.post_cbor("/v1/enrol", &body).unwrap();
    let refusal = RefusalAnswer::from_cbor(&answer.body).unwrap();
    assert_eq!((answer.status, refusal.code), (400, Some(RefusalCode::RequestMalformed)));
    let place = format!("CBOR at byte {}: bytes behind the item", body.len() - 1);
    assert!(refusal.description.ends_with(&place), "{}", refusal.description);
}
