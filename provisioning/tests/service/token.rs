//! The token endpoint of RFC 9200: `POST /token`.

use serde_json::{json, Value};
use tessera_runtime::http::{HttpError, Method, Request, ACE_CBOR, JSON};
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::ids::Audience;
use tessera_token::messages::{
    AceAnswer, AceGrant, AceRequest, AskedToken, NamedKey, RefusalAnswer, TokenKind, TokenRequest,
    Wish,
};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicFilter;

use crate::enrol::claims;
use crate::world::{opening, random, Device, Forced, World};

const TOKEN: &str = "/token";
const FORM: &str = "application/x-www-form-urlencoded";
const ACE_JSON: &str = "application/ace+json";

/// Status, number and code of a refusal.
pub type Refusal = (u16, u64, RefusalCode);

pub fn scope(entries: &[(&str, Permission)]) -> Scope {
    let entries = entries.iter().map(|(topic, permission)| ScopeEntry {
        filter: TopicFilter::parse(topic).unwrap(),
        permission: *permission,
    });
    Scope::new(entries.collect()).unwrap()
}

pub fn asked(world: &World, device: &Device, kind: TokenKind, wish: Wish) -> AceRequest {
    let Device { tenant, id, key } = device;
    let mut draft = TokenRequest::draft(tenant, id, world.now(), &random(), kind);
    if kind == TokenKind::Symmetric {
        draft = draft.answered_to(opening().public());
    }
    let grant = AceGrant::Credentials(AskedToken::sign(draft, wish, key));
    AceRequest { grant, key: None, profile_asked: false }
}

pub async fn post(world: &World, request: &AceRequest) -> Result<AceAnswer, Refusal> {
    post_bytes(world, request.to_cbor()).await
}

pub async fn post_bytes(world: &World, body: Vec<u8>) -> Result<AceAnswer, Refusal> {
    match world.stranger.post(TOKEN, ACE_CBOR, body).await {
        Ok(answer) => {
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            Ok(AceAnswer::from_cbor(&answer.body, Some(&opening())).unwrap())
        }
        Err(HttpError::Status { status, response, .. }) => {
            assert_eq!(response.content_type, ACE_CBOR);
            let refusal = RefusalAnswer::from_cbor(&response.body).unwrap();
            assert_eq!(refusal.server_time, world.now());
            Err((status, refusal.error, refusal.code.unwrap()))
        }
        Err(error) => panic!("{error}"),
    }
}

/// Status and body of an answer in JSON, refused or not.
async fn send(world: &World, kind: &'static str, body: &str) -> (u16, String, Value) {
    let request = Request::new(Method::Post, TOKEN).body(kind, body.as_bytes().to_vec());
    let (status, answer) = match world.stranger.send(request).await {
        Ok(answer) => (answer.status, answer),
        Err(HttpError::Status { status, response, .. }) => (status, *response),
        Err(error) => panic!("{error}"),
    };
    (status, answer.content_type.clone(), answer.json().unwrap())
}

#[tokio::test]
async fn a_proved_request_gets_a_bound_token_of_its_role() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let mut request = asked(&world, &device, TokenKind::Key, Wish::default());
    request.profile_asked = true;
    request.key = Some(NamedKey::Key(device.key.public()));
    let answer = post(&world, &request).await.unwrap();
    assert!(answer.profile && answer.refresh_token.is_none() && !answer.token.bearer);
    let token = claims(&answer.token.access_token);
    assert_eq!(token.confirmation, Some(device.key.public()));
    assert_eq!(token.scope, answer.token.scope);
    // The bytes of `/v1/token` mean the same here, and the same request gets the same token at both.
    let plain = world.request(&device, TokenKind::Key).to_cbor();
    let first = post_bytes(&world, plain.clone()).await.unwrap();
    let again = world.ask("/v1/token", plain).await.unwrap();
    assert_eq!(first.token.access_token, again.access_token);
    // A symmetric key comes sealed.
    let symmetric = asked(&world, &device, TokenKind::Symmetric, Wish::default());
    let refused = post(&world, &symmetric).await.err();
    assert_eq!(refused, Some((400, 7, RefusalCode::SymmetricNotOffered)));
}

#[tokio::test]
async fn a_scope_only_narrows() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let wish = |scope| Wish { scope: Some(scope), ..Wish::default() };
    let one = scope(&[("d/a/telemetry", Permission::Publish)]);
    let request = asked(&world, &device, TokenKind::Key, wish(one.clone()));
    let answer = post(&world, &request).await.unwrap();
    assert_eq!(claims(&answer.token.access_token).scope, one);
    // The same request again gets the same answer; the same nonce with another scope has another signature.
    let again = post(&world, &request).await.unwrap();
    assert_eq!(again.token.access_token, answer.token.access_token);
    for wider in [
        scope(&[("d/a/telemetry", Permission::Both)]),
        scope(&[("d/b/telemetry", Permission::Publish)]),
        scope(&[("d/#", Permission::Publish)]),
    ] {
        let request = asked(&world, &device, TokenKind::Key, wish(wider));
        let refused = post(&world, &request).await.err();
        assert_eq!(refused, Some((400, 6, RefusalCode::ScopeNotAllowed)));
    }
    let AceGrant::Credentials(mut bent) = request.grant else { panic!("another grant") };
    bent.wish.scope = None;
    let bent = AceRequest { grant: AceGrant::Credentials(bent), key: None, profile_asked: false };
    let refused = post(&world, &bent).await.err();
    assert_eq!(refused, Some((401, 2, RefusalCode::ProofInvalid)));
}

#[tokio::test]
async fn audience_key_profile_and_grant_have_codes_of_their_own() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let audience =
        |name: &str| Wish { audience: Some(Audience::parse(name).unwrap()), ..Wish::default() };
    let right = asked(&world, &device, TokenKind::Key, audience("mqtt"));
    post(&world, &right).await.unwrap();
    let other = asked(&world, &device, TokenKind::Key, audience("other"));
    assert_eq!(post(&world, &other).await.err(), Some((400, 1, RefusalCode::AudienceMismatch)));
    let key = Device::new("x").key.public();
    for named in
        [NamedKey::Kid(key.key_id()), NamedKey::Thumbprint(key.thumbprint()), NamedKey::Key(key)]
    {
        let mut request = asked(&world, &device, TokenKind::Key, Wish::default());
        request.key = Some(named);
        let refused = post(&world, &request).await.err();
        assert_eq!(refused, Some((400, 7, RefusalCode::ConfirmationKey)));
    }
    let own = device.key.public();
    for named in [NamedKey::Kid(own.key_id()), NamedKey::Thumbprint(own.thumbprint())] {
        let mut request = asked(&world, &device, TokenKind::Key, Wish::default());
        request.key = Some(named);
        post(&world, &request).await.unwrap();
    }
    // A map with one member: each has its number.
    for (body, refusal) in [
        (vec![0xa1, 0x18, 33, 0x01], (400, 1, RefusalCode::RequestMalformed)),
        (
            vec![0xa2, 0x18, 33, 0x01, 0x39, 0xff, 0xff, 0x00],
            (400, 1, RefusalCode::RequestMalformed),
        ),
        (vec![0xa1, 0x18, 38, 0x01], (400, 8, RefusalCode::ProfileIncompatible)),
        (vec![0xa1, 0x04, 0xa1, 0x01, 0xa1, 0x01, 0x04], (400, 7, RefusalCode::ConfirmationKey)),
        (vec![0xa1, 0x09, 0x60], (400, 6, RefusalCode::ScopeNotAllowed)),
        (vec![0xa2, 0x01, 0x02, 0x01, 0x02], (400, 1, RefusalCode::RequestMalformed)),
        (Vec::new(), (400, 1, RefusalCode::RequestMalformed)),
    ] {
        assert_eq!(post_bytes(&world, body.clone()).await.err(), Some(refusal), "{body:02x?}");
    }
}

#[tokio::test]
async fn without_the_key_every_refusal_is_one() {
    let world = World::new().await;
    world.enrolled("a").await;
    for device in [Device::new("a"), Device::new("b"), Device::of("none", "a")] {
        for wish in [Wish::default(), Wish { refresh_token: true, ..Wish::default() }] {
            let kind = if wish.refresh_token { TokenKind::Bearer } else { TokenKind::Key };
            let refused = post(&world, &asked(&world, &device, kind, wish)).await.err();
            assert_eq!(refused, Some((401, 2, RefusalCode::ProofInvalid)));
        }
    }
}

#[tokio::test]
async fn a_device_recovers_by_its_key_after_a_year_with_a_wrong_clock_unless_it_has_ended() {
    let world = World::new().await;
    let (device, first) = world.enrolled("a").await;
    let Device { tenant, id, key } = &device;
    world.advance(366 * 24 * 3600);
    assert!(claims(&first.access_token).expires < world.now());
    let by_clock = |seconds: u64, nonce: &[u8]| {
        let draft =
            TokenRequest::draft(tenant, id, UnixSeconds::new(seconds), nonce, TokenKind::Key);
        let asked = AskedToken::sign(draft, Wish::default(), key);
        AceRequest { grant: AceGrant::Credentials(asked), key: None, profile_asked: false }
    };
    // Its clock stands in 1970: the refusal brings a nonce to sign.
    let body = by_clock(9, &random()).to_cbor();
    let Err(HttpError::Status { response, .. }) = world.stranger.post(TOKEN, ACE_CBOR, body).await
    else {
        panic!("not refused")
    };
    let refusal = RefusalAnswer::from_cbor(&response.body).unwrap();
    assert_eq!((refusal.error, refusal.code), (3, Some(RefusalCode::ProofNotFresh)));
    let cnonce = refusal.cnonce.unwrap();
    let by_nonce = |cnonce: &[u8], wish: Wish| {
        let draft = TokenRequest::draft(tenant, id, UnixSeconds::new(0), &random(), TokenKind::Key);
        let asked = AskedToken::sign(draft.by_nonce(cnonce), wish, key);
        AceRequest { grant: AceGrant::Credentials(asked), key: None, profile_asked: false }
    };
    let answer = post(&world, &by_nonce(&cnonce, Wish::default())).await.unwrap();
    assert_eq!(claims(&answer.token.access_token).issued, world.now());
    // A nonce is good for one request.
    let second = post(&world, &by_nonce(&cnonce, Wish::default())).await.err();
    assert_eq!(second, Some((400, 3, RefusalCode::NonceInvalid)));
    let ask = async || post(&world, &asked(&world, &device, TokenKind::Key, Wish::default())).await;
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    assert_eq!(ask().await.err(), Some((400, 4, RefusalCode::DeviceRevoked)));
    world.post("/v1/tenants/default/devices/a/reinstate", json!({})).await;
    assert!(ask().await.is_ok());
    world.post("/v1/tenants/default/revoke", json!({})).await;
    assert_eq!(ask().await.err(), Some((400, 4, RefusalCode::TenantSuspended)));
    world.post("/v1/tenants/default/reinstate", json!({})).await;
    world.operator.delete_any("/v1/tenants/default/devices/a").await.unwrap();
    assert_eq!(ask().await.err(), Some((401, 2, RefusalCode::ProofInvalid)));
}

fn members(request: &TokenRequest) -> Value {
    json!({
        "client_id": request.device.as_str(), "tenant": request.tenant.as_str(),
        "iat": request.time.get(), "nonce": base64url(&request.nonce),
        "signature": base64url(&request.signature),
    })
}

fn with(mut body: Value, extra: Value) -> Value {
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn json_and_forms_have_the_names_of_the_standard() {
    let world = World::new().await;
    let (device, _) = world.enrolled("a").await;
    let plain = || members(&world.request(&device, TokenKind::Key));
    let x = base64url(device.key.public().as_bytes());
    let asks = json!({
        "grant_type": "client_credentials", "ace_profile": null, "unknown": { "a": [1] },
        "req_cnf": { "jwk": { "kty": "OKP", "crv": "Ed25519", "x": x } },
    });
    for (kind, told) in [(JSON, "application/json"), (ACE_JSON, ACE_JSON)] {
        let body = with(plain(), asks.clone()).to_string();
        let (status, content, answer) = send(&world, kind, &body).await;
        assert_eq!((status, content.as_str()), (200, told), "{answer}");
        assert_eq!(
            (&answer["token_type"], &answer["ace_profile"]),
            (&json!("PoP"), &json!("mqtt_tls"))
        );
        assert_eq!(answer["scope"], "pub:d/a/telemetry sub:d/a/cmd");
        let token = from_base64url(answer["access_token"].as_str().unwrap()).unwrap();
        assert_eq!(claims(&token).confirmation, Some(device.key.public()));
    }
    let Value::Object(fields) = with(plain(), json!({ "ace_profile": "" })) else { panic!() };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let form: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
    let (status, _, answer) = send(&world, FORM, &form.join("&")).await;
    assert_eq!((status, &answer["ace_profile"]), (200, &json!("mqtt_tls")), "{answer}");
    // The narrowed scope is signed: that of JSON is the same in AIF.
    let one = scope(&[("d/a/telemetry", Permission::Publish)]);
    for written in [json!("pub:d/a/telemetry"), json!([["d/a/telemetry", ["pub"]]])] {
        let wish = Wish { scope: Some(one.clone()), ..Wish::default() };
        let asked = asked(&world, &device, TokenKind::Key, wish);
        let AceGrant::Credentials(asked) = asked.grant else { panic!("another grant") };
        let body = with(members(&asked.request), json!({ "scope": written }));
        let (status, _, answer) = send(&world, JSON, &body.to_string()).await;
        assert_eq!((status, &answer["scope"]), (200, &json!("pub:d/a/telemetry")), "{answer}");
    }
    let cases = [
        (
            json!({ "grant_type": "password" }),
            400,
            "unsupported_grant_type",
            "grant_type_unsupported",
        ),
        (json!({ "grant_type": 2 }), 400, "invalid_request", "request_malformed"),
        (
            json!({ "ace_profile": "coap_dtls" }),
            400,
            "incompatible_ace_profiles",
            "profile_incompatible",
        ),
        (json!({ "scope": "read" }), 400, "invalid_scope", "scope_not_allowed"),
        (
            json!({ "req_cnf": { "jwk": { "kty": "oct", "k": "AAAA" } } }),
            400,
            "unsupported_pop_key",
            "confirmation_key",
        ),
        (
            json!({ "req_cnf": { "jwk": { "kty": "EC", "crv": "P-256" } } }),
            400,
            "unsupported_pop_key",
            "confirmation_key",
        ),
        (json!({ "req_cnf": 1 }), 400, "invalid_request", "request_malformed"),
        (json!({ "iat": "1800000000" }), 400, "invalid_request", "request_malformed"),
        (json!({ "iat": world.now().get() - 1 }), 401, "invalid_client", "proof_invalid"),
        (json!({ "nonce": "AAAA" }), 400, "invalid_request", "request_malformed"),
        (json!({ "want_refresh_token": true }), 400, "invalid_request", "request_malformed"),
    ];
    for (extra, status, error, code) in cases {
        let (found, content, answer) =
            send(&world, ACE_JSON, &with(plain(), extra.clone()).to_string()).await;
        assert_eq!((found, content.as_str()), (status, ACE_JSON), "{extra}");
        assert_eq!((&answer["error"], &answer["code"]), (&json!(error), &json!(code)), "{extra}");
        assert_eq!(answer["server_time"], world.now().get());
    }
    let body = plain().to_string();
    let twice = body.replacen('{', r#"{"unknown":1,"unknown":2,"#, 1);
    let inside = body.replacen('{', r#"{"req_cnf":{"jwk":{"x":"a","x":"b"}},"#, 1);
    let form_twice = format!("{}&nonce=AAAAAAAAAAA", form.join("&"));
    for (kind, body) in
        [(JSON, twice.as_str()), (JSON, &inside), (JSON, "[]"), (JSON, ""), (FORM, &form_twice)]
    {
        let (status, _, answer) = send(&world, kind, body).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")), "{body}");
    }
    let (status, _, answer) = send(&world, "text/plain", &body).await;
    assert_eq!((status, &answer["error"]), (415, &json!("invalid_request")));
    let huge = with(plain(), json!({ "x": "a".repeat(9000) })).to_string();
    assert_eq!(send(&world, JSON, &huge).await.0, 400);
    // A wrong clock: the nonce to sign comes in the refusal.
    let late = TokenRequest::sign(
        &device.key,
        &device.tenant,
        &device.id,
        UnixSeconds::new(9),
        &random(),
        TokenKind::Key,
    );
    let (_, _, answer) = send(&world, JSON, &members(&late).to_string()).await;
    assert_eq!(
        (&answer["error"], &answer["code"]),
        (&json!("invalid_grant"), &json!("proof_not_fresh"))
    );
    assert_eq!(from_base64url(answer["cnonce"].as_str().unwrap()).unwrap().len(), 32);
}

#[tokio::test]
async fn the_metadata_announce_what_answers() {
    let path = "/.well-known/oauth-authorization-server";
    let world = World::new().await;
    let unset = world.stranger.get(path).await;
    assert_eq!(crate::world::problem(unset), (404, "not_found".to_owned()));
    let origin = "https://id.example.com";
    let world = world.restart_as(|config| config.public_origin = Some(origin.to_owned())).await;
    let told = world.get(path).await;
    assert_eq!(told["issuer"], origin);
    assert_eq!(told["grant_types_supported"], json!(["client_credentials", "refresh_token"]));
    let endpoints =
        told.as_object().unwrap().iter().filter(|(name, _)| name.ends_with("_endpoint"));
    let mut count = 0;
    for (name, address) in endpoints {
        let path = address.as_str().unwrap().strip_prefix(origin).unwrap();
        let asked = world.stranger.post(path, JSON, b"{}".to_vec()).await;
        let Err(HttpError::Status { status, response, .. }) = asked else { panic!("{name}") };
        let body: Value = response.json().unwrap();
        let wanted = match name.as_str() {
            // An account is asked for first.
            "introspection_endpoint" => (401, json!("invalid_client")),
            _ => (400, json!("invalid_request")),
        };
        assert_eq!((status, body["error"].clone()), wanted, "{name}");
        count += 1;
    }
    assert!(count > 0);
    // Each grant that is announced is known.
    for grant in told["grant_types_supported"].as_array().unwrap() {
        let body = json!({ "grant_type": grant }).to_string();
        assert_eq!(send(&world, JSON, &body).await.2["error"], "invalid_request");
    }
}
