//! `POST /revoke` (RFC 7009): a token that is shown is ended, by an operator or by its own device.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, HttpError, HttpResponse, Method, Request, ACE_CBOR};
use tessera_token::encoding::base64url;
use tessera_token::hash::TokenHash;
use tessera_token::key::SecretKey;
use tessera_token::messages::{RefusalAnswer, RevokeRequest};
use tessera_token::refusal::RefusalCode;

use crate::feed::Reader;
use crate::world::{Device, World};

const FORM: &str = "application/x-www-form-urlencoded";

async fn post(client: &HttpClient, kind: &'static str, body: impl Into<Vec<u8>>) -> HttpResponse {
    let request = Request::new(Method::Post, "/revoke").body(kind, body.into());
    match client.send(request).await {
        Ok(answer) => answer,
        Err(HttpError::Status { response, .. }) => *response,
        Err(error) => panic!("{error}"),
    }
}

async fn as_form(client: &HttpClient, token: &str, more: &str) -> (u16, Value) {
    let answer = post(client, FORM, format!("token={token}{more}")).await;
    (answer.status, answer.json().unwrap())
}

#[tokio::test]
async fn an_operator_ends_a_token_that_it_shows_as_form_or_json() {
    let world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    let second = world.refresh(&device).await.unwrap();
    let third = world.refresh(&device).await.unwrap();
    let mut reader = Reader::snapshot(&world).await;
    let text = base64url(&first.access_token);
    let (status, told) = as_form(&world.operator, &text, "&token_type_hint=access_token").await;
    assert_eq!((status, &told["device"], &told["ended"]), (200, &json!("a"), &json!("token")));
    let body = json!({ "token": base64url(&second.access_token) }).to_string();
    assert_eq!(post(&world.operator, "application/json", body).await.status, 200);
    reader.read(&world).await;
    assert!(reader.revoked(&TokenHash::of(&first.access_token)));
    assert!(reader.revoked(&TokenHash::of(&second.access_token)));
    assert!(!reader.revoked(&TokenHash::of(&third.access_token)));
    // Again, also under the hint of another kind: nothing more happens.
    assert_eq!(as_form(&world.operator, &text, "&token_type_hint=refresh_token").await.0, 200);
    assert!(reader.read(&world).await.is_empty());
    let log = world.get("/v1/audit?limit=1000").await.to_string();
    assert_eq!(log.matches("token.revoke").count(), 2);
}

#[tokio::test]
async fn a_token_that_is_unknown_or_over_or_of_others_is_answered_with_200_and_nothing_changes() {
    let world = World::new().await;
    world.post("/v1/tenants", json!({ "tenant": "acme" })).await;
    let (_, answer) = world.enrolled("a").await;
    let body = json!({ "operator": "s", "roles": ["security"], "tenants": ["acme"] });
    let made = world.post("/v1/operators", body).await;
    let theirs = world.with_token(made["token"].as_str().unwrap());
    let mut reader = Reader::snapshot(&world).await;
    let good = base64url(&answer.access_token);
    assert_eq!(as_form(&theirs, &good, "").await, (200, json!({})));
    let mut bent = answer.access_token.clone();
    *bent.last_mut().unwrap() ^= 1;
    for unknown in [base64url(&bent), "AAAA".to_owned(), "x".to_owned(), "tsr_something".to_owned()]
    {
        assert_eq!(as_form(&world.operator, &unknown, "").await, (200, json!({})), "{unknown}");
    }
    world.advance(40 * 24 * 3600);
    assert_eq!(as_form(&world.operator, &good, "").await, (200, json!({})));
    assert!(reader.read(&world).await.is_empty());
}

#[tokio::test]
async fn what_the_request_lacks_is_told_in_the_words_of_oauth() {
    let world = World::new().await;
    let (_, answer) = world.enrolled("a").await;
    let good = base64url(&answer.access_token);
    let refresh = as_form(&world.operator, "opaque", "&token_type_hint=refresh_token").await;
    assert_eq!(refresh, (200, json!({})));
    let none = post(&world.operator, FORM, "token_type_hint=access_token").await;
    let told: Value = none.json().unwrap();
    assert_eq!((none.status, &told["error"]), (400, &json!("invalid_request")));
    let large = post(&world.operator, FORM, format!("token={}", "A".repeat(9000))).await;
    assert_eq!(large.status, 400);
    let other = post(&world.operator, "text/plain", "token=x").await;
    assert_eq!(other.status, 415);
    let unknown = world.with_token(&format!("tsr_op_{}", "A".repeat(43)));
    let (status, told) = as_form(&unknown, &good, "").await;
    assert_eq!((status, &told["error"]), (401, &json!("invalid_client")));
    let (status, told) = as_form(&world.feed, &good, "").await;
    assert_eq!((status, &told["error"]), (403, &json!("unauthorized_client")));
}

async fn shown(world: &World, request: &RevokeRequest) -> Result<(), RefusalCode> {
    let answer = post(&world.stranger, ACE_CBOR, request.to_cbor()).await;
    match answer.status {
        200 => Ok(()),
        _ => Err(RefusalAnswer::from_cbor(&answer.body).unwrap().code.unwrap()),
    }
}

#[tokio::test]
async fn a_device_ends_its_own_token_by_its_key_and_no_other_does() {
    let world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    let (other, others) = world.enrolled("b").await;
    let mut reader = Reader::snapshot(&world).await;
    let good = RevokeRequest::sign(&device.key, &first.access_token, world.now());
    let foreign = RevokeRequest::sign(&device.key, &others.access_token, world.now());
    let thief = RevokeRequest::sign(&other.key, &first.access_token, world.now());
    let forged = forged(&device, &world);
    for bad in [foreign, thief, forged] {
        assert_eq!(shown(&world, &bad).await, Err(RefusalCode::ProofInvalid));
    }
    let late = RevokeRequest::sign(&device.key, &first.access_token, world.now().minus(1000));
    assert_eq!(shown(&world, &late).await, Err(RefusalCode::ProofNotFresh));
    assert!(reader.read(&world).await.is_empty());
    shown(&world, &good).await.unwrap();
    shown(&world, &good).await.unwrap();
    assert_eq!(reader.read(&world).await.len(), 1);
    assert!(reader.revoked(&TokenHash::of(&first.access_token)));
    // It may have another, and end that as JSON too.
    let next = world.refresh(&device).await.unwrap().access_token;
    let made = RevokeRequest::sign(&device.key, &next, world.now());
    let body = json!({
        "token": base64url(&next), "iat": made.time.get(), "signature": base64url(&made.signature),
    });
    let answer = post(&world.stranger, "application/json", body.to_string()).await;
    assert_eq!((answer.status, answer.json::<Value>().unwrap()), (200, json!({})));
    reader.read(&world).await;
    assert!(reader.revoked(&TokenHash::of(&next)));
    let log = world.get("/v1/audit?limit=1000").await.to_string();
    assert_eq!(log.matches("\"token.revoke\",\"actor\":\"device a\"").count(), 2, "{log}");
}

/// A token of the device's tenant that another key has signed.
fn forged(device: &Device, world: &World) -> RevokeRequest {
    use tessera_token::claims::{Claims, Epochs};
    use tessera_token::ids::{Audience, Serial};
    use tessera_token::key::Algorithm;
    let claims = Claims {
        tenant: device.tenant.clone(),
        device: device.id.clone(),
        audience: Audience::parse("mqtt").unwrap(),
        expires: world.now().plus(60),
        not_before: None,
        issued: world.now(),
        serial: Serial::from_counter(1),
        confirmation: Some(device.key.public()),
        scope: tessera_token::scope::Scope::new(Vec::new()).unwrap(),
        epochs: Epochs::default(),
    };
    let key = SecretKey::from_seed(&[5; 32]);
    let token = tessera_token::issue::issue(&claims, Algorithm::Ed25519, &key).unwrap();
    RevokeRequest::sign(&device.key, &token, world.now())
}
