//! The token endpoint of RFC 9200: `POST /token`, in CBOR, JSON or as a form.

use actix_web::http::header;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{json, Map, Value};
use tessera_runtime::http::server::{accepts, media_type};
use tessera_runtime::secret::Secret;
use tessera_token::encoding::base64url;
use tessera_token::messages::{
    scope_text, AceAnswer, AceFault, AceGrant, AceRequest, TokenAnswer, ACE_CBOR,
};
use tessera_token::refusal::RefusalCode;
use zeroize::Zeroizing;

use super::ace_json;
use super::endpoints::{charged, in_its_time, nonce_for, shown, told_to_the_signer, Told};
use crate::limits::DEVICE_BODY_BYTES;
use crate::refused::Refused;
use crate::rest::auth::{way, Way};
use crate::rest::endpoint::{schema, Endpoint};
use crate::rest::input::{App, Body};
use crate::rest::problem::{speaks_cbor, Problem};
use crate::{refresh, refresh_grant};

/// JSON with the names of RFC 9200 (RFC 9431 section 2.2).
const ACE_JSON: &str = "application/ace+json";
const FORM: &str = "application/x-www-form-urlencoded";

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![Endpoint::post("/token", token)
        .announced("token_endpoint")
        .summary("A token, by proof of the device key or by a refresh token (RFC 9200)")
        .takes(vec![
            schema::json_of("AceRequest"),
            schema::typed("application/ace+json", "AceRequest"),
            schema::plain("application/x-www-form-urlencoded"),
            schema::cbor(),
        ])
        .sends(
            200,
            "Token",
            vec![
                schema::json_of("AceAnswer"),
                schema::typed("application/ace+json", "AceAnswer"),
                schema::cbor(),
            ],
        )
        .refused_as(
            "Refused",
            vec![
                schema::json_of("AceRefusal"),
                schema::typed("application/ace+json", "AceRefusal"),
                schema::cbor(),
            ],
        )
        .refuses(super::REFUSALS)
        .refuses(&[
            RefusalCode::ProofNotFresh,
            RefusalCode::BearerNotAllowed,
            RefusalCode::SymmetricNotOffered,
            RefusalCode::ChannelInClear,
            RefusalCode::RefreshNotAllowed,
            RefusalCode::RefreshTokenInvalid,
            RefusalCode::RefreshTokenReused,
            RefusalCode::GrantTypeUnsupported,
            RefusalCode::ProfileIncompatible,
            RefusalCode::ScopeNotAllowed,
            RefusalCode::AudienceMismatch,
        ])]
}

/// An answer on its way out.
struct Answer {
    told: Told,
    refresh_token: Option<Secret<String>>,
    profile: bool,
}

pub(crate) async fn token(
    request: HttpRequest,
    app: App,
    body: Result<Body, Problem>,
) -> HttpResponse {
    let began = app.clock.monotonic();
    let way = way(&request).await;
    let outcome = async { answer(&request, &app, &way, read(&request, &body?)?).await }.await;
    let outcome = in_its_time(&request, &app, began, outcome).await;
    match charged(&app, way.source, outcome) {
        Ok(answer) => answered(&request, answer),
        Err(problem) => {
            let cnonce = nonce_for(&app, &problem);
            match speaks_cbor(&request) {
                true => standard(problem).to_device(&request, app.now(), cnonce),
                false => {
                    let kind = json_kind(&request);
                    standard(problem).to_token_error(
                        kind,
                        app.now(),
                        cnonce.as_ref().map(<[u8; 32]>::as_slice),
                    )
                }
            }
        }
    }
}

async fn answer(
    request: &HttpRequest,
    app: &App,
    way: &Way,
    message: AceRequest,
) -> Result<Answer, Problem> {
    let profile = message.profile_asked;
    match message.grant {
        AceGrant::Credentials(asked) => {
            shown(request, &asked.request.tenant, &asked.request.device);
            way.leads_to(asked.request.tenant.as_str())?;
            told_to_the_signer(&asked.request)?;
            let key = message.key.as_ref();
            let given = refresh::token(app, &asked, key, &way.source).await?;
            let told = Told::new(app, &asked.request, given.token)?;
            Ok(Answer { told, refresh_token: given.refresh_token, profile })
        }
        AceGrant::Refresh(wanted) => {
            if let Some((tenant, device)) = wanted.tenant.as_ref().zip(wanted.device.as_ref()) {
                shown(request, tenant, device);
            }
            if message.key.is_some() {
                // A refresh never changes the binding, and these tokens have none.
                return Err(RefusalCode::ConfirmationKey.into());
            }
            let leads = |tenant: &str| way.leads_to(tenant);
            let renewed = refresh_grant::renew(app, &wanted, &way.source, leads).await?;
            let told = Told::unsealed(renewed.token);
            Ok(Answer { told, refresh_token: Some(renewed.refresh_token), profile })
        }
    }
}

fn read(request: &HttpRequest, Body(bytes): &Body) -> Result<AceRequest, Problem> {
    if bytes.len() > DEVICE_BODY_BYTES {
        return Err(Refused::malformed("the message is too large").into());
    }
    let members = match media_type(request).as_deref() {
        Some(ACE_CBOR) => return AceRequest::from_cbor(bytes).map_err(of_fault),
        Some(ACE_JSON | "application/json" | "") => ace_json::members(bytes)?,
        Some(FORM) => ace_json::form(bytes)?,
        _ => {
            let why = format!("send {ACE_CBOR}, {ACE_JSON}, application/json or {FORM}");
            let other = Problem::from(Refused::malformed(why));
            return Err(other.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
    };
    members.request().map_err(of_fault)
}

pub(super) fn of_fault(fault: AceFault) -> Problem {
    let code = match fault {
        AceFault::Message(_) => RefusalCode::RequestMalformed,
        AceFault::GrantType => RefusalCode::GrantTypeUnsupported,
        AceFault::Profile => RefusalCode::ProfileIncompatible,
        AceFault::Scope => RefusalCode::ScopeNotAllowed,
        AceFault::Key => RefusalCode::ConfirmationKey,
    };
    Refused::because(code, fault.to_string()).into()
}

/// Every refusal of a client is 400 at this endpoint, or 401 when it is not the client that it names (RFC 9200 section
/// 5.8.3, RFC 6749 section 5.2). Refusals of the server and of HTTP itself keep their status.
fn standard(problem: Problem) -> Problem {
    let status = actix_web::ResponseError::status_code(&problem);
    match status {
        StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::CONFLICT
        | StatusCode::GONE
        | StatusCode::UNPROCESSABLE_ENTITY => problem.with_status(StatusCode::BAD_REQUEST),
        _ => problem,
    }
}

fn json_kind(request: &HttpRequest) -> &'static str {
    let sent = media_type(request).is_some_and(|kind| kind == ACE_JSON);
    match accepts(request, ACE_JSON) || sent && !accepts(request, "application/json") {
        true => ACE_JSON,
        false => "application/json",
    }
}

fn answered(request: &HttpRequest, answer: Answer) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if speaks_cbor(request) {
        let refresh_token = answer.refresh_token.as_ref();
        let refresh_token =
            refresh_token.map(|token| Zeroizing::new(token.expose().as_bytes().to_vec()));
        let (token, sealed) = answer.told.parts();
        let whole = AceAnswer { token: token.clone(), refresh_token, profile: answer.profile };
        return response.content_type(ACE_CBOR).body(whole.to_cbor(sealed));
    }
    let (token, sealed) = answer.told.parts();
    let mut body = object(token);
    if let Some(sealed) = sealed {
        body.insert("sealed_cnf".to_owned(), json!(base64url(sealed)));
    }
    if let Some(refresh_token) = &answer.refresh_token {
        body.insert("refresh_token".to_owned(), json!(refresh_token.expose()));
    }
    if answer.profile {
        body.insert("ace_profile".to_owned(), json!("mqtt_tls"));
    }
    response.content_type(json_kind(request)).body(Value::Object(body).to_string())
}

fn object(token: &TokenAnswer) -> Map<String, Value> {
    let kind = if token.bearer { "Bearer" } else { "PoP" };
    Map::from_iter([
        ("access_token".to_owned(), json!(base64url(&token.access_token))),
        // A client of OAuth 2.0 requires it; its default in RFC 9200 is for CBOR.
        ("token_type".to_owned(), json!(kind)),
        ("expires_in".to_owned(), json!(token.expires_in)),
        ("audience".to_owned(), json!(token.audience.as_str())),
        ("scope".to_owned(), json!(scope_text::write(&token.scope))),
        ("server_time".to_owned(), json!(token.server_time.get())),
    ])
}
