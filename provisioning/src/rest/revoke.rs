//! `POST /revoke` (RFC 7009): the token itself is shown, as form, JSON or `application/ace+cbor`.
//!
//! An operator shows its account token. A device shows none and proves its key in the body. A token that is unknown, or of
//! others, or over, is answered with 200, as the RFC asks; a device that proves nothing is not.

use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tessera_runtime::http::server::media_type;
use tessera_token::encoding::from_base64url;
use tessera_token::messages::{RevokeRequest, ACE_CBOR};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::Change;

use super::auth::{has_bearer, Among, Security};
use super::device::endpoints::{parse, with_proof};
use super::endpoint::{schema, Endpoint};
use super::input::{json, App, Body, Query};
use super::operator::revoked::{self, Waits};
use super::operator::tokens::RevokedView;
use super::problem::Problem;
use super::Answer;
use crate::families;
use crate::limits::{DEVICE_BODY_BYTES, REVOCATION_WAIT_SECONDS};
use crate::refused::Refused;
use crate::revoke::shown;
use crate::revoke::taken::follow;

pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    let nothing = json!({ "type": "object", "maxProperties": 0 });
    let revoked = json!({ "anyOf": [schema::of("RevokedToken"), nothing] });
    vec![Endpoint::post("/revoke", revoke)
        .summary("Revoke a token that is shown (RFC 7009)")
        .callers("An operator shows its account; a device shows none, and signs.")
        .waits()
        .takes(vec![
            schema::typed(FORM, "RevokeToken"),
            schema::json_of("RevokeToken"),
            schema::plain(ACE_CBOR),
        ])
        .sends(
            200,
            "Revoked, or nothing to revoke: an empty object",
            vec![("application/json", Some(revoked))],
        )
        .refused_as("Refused; error as in RFC 6749 for an operator", vec![schema::plain(ACE_CBOR)])
        .refuses(&[RefusalCode::ProofInvalid, RefusalCode::ProofNotFresh])]
}

/// The members of RFC 7009. Others are ignored, as RFC 6749 asks.
#[derive(Deserialize)]
struct Form {
    token: String,
    /// It helps nothing: a token tells its kind.
    #[serde(default, rename = "token_type_hint")]
    _hint: String,
    /// A device signs, and shows no account.
    #[serde(default, deserialize_with = "present")]
    signature: bool,
    #[serde(default, deserialize_with = "present")]
    iat: bool,
}

/// Whether the member is there, also as null.
fn present<'de, D: Deserializer<'de>>(member: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(member).map(|_| true)
}

/// The request of a device.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceJson {
    token: String,
    #[serde(default, rename = "token_type_hint")]
    _hint: Option<String>,
    iat: u64,
    signature: String,
}

pub(super) async fn revoke(
    request: HttpRequest,
    app: App,
    operator: Result<Among<Security>, Problem>,
    waits: Result<Query<Waits>, Problem>,
    body: Result<Body, Problem>,
) -> HttpResponse {
    if !has_bearer(&request) {
        return of_device(&request, &app, body).await;
    }
    let answer = async {
        let by = operator?;
        of_operator(&request, &app, &by, waits?.0.wait, &body?).await
    };
    answer.await.unwrap_or_else(|problem| refused(&problem))
}

async fn of_operator(
    request: &HttpRequest,
    app: &App,
    by: &Among<Security>,
    wait: u64,
    Body(bytes): &Body,
) -> Answer {
    if bytes.len() > DEVICE_BODY_BYTES {
        return Err(Refused::malformed("the message is too large").into());
    }
    let Form { token, signature, iat, .. } = match media_type(request).as_deref() {
        Some(FORM) => form(bytes)?,
        Some("application/json" | "") => json(bytes)?,
        // A device signs such a message; with an account it says nothing more.
        Some(ACE_CBOR) => {
            return Err(Refused::malformed("an account shows the token as a form or JSON").into());
        }
        _ => {
            let other = Refused::malformed("send a form or application/json");
            return Err(Problem::from(other).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
    };
    if wait > REVOCATION_WAIT_SECONDS {
        let most = REVOCATION_WAIT_SECONDS;
        return Err(Refused::malformed(format!("wait must be 0 to {most} seconds")).into());
    }
    if signature || iat {
        return Err(Refused::malformed("a device signs, and an account does not").into());
    }
    if let Some((shown, row)) = families::of_token(app, token.as_bytes()).await? {
        // Of a tenant of others nothing is known here.
        if by.operator().tenants.cover(&row.tenant) {
            families::revoke(app, &by.operator().actor(), &shown.family).await?;
        }
        return Ok(nothing());
    }
    let presented = match from_base64url(&token) {
        Some(bytes) => shown::ours(app, &bytes).await,
        None => Err(RefusalCode::TokenMalformed.into()),
    };
    let presented = match presented {
        Ok(presented) => presented,
        Err(refused) if is_fault(refused.code) => return Err(refused.into()),
        Err(_) => return Ok(nothing()),
    };
    let (actor, tenants) = (by.operator().actor(), &by.operator().tenants);
    let following = follow(app, &by.operator().share(), wait).await?;
    let Some(ended) = shown::by_operator(app, &actor, tenants, &presented).await? else {
        return Ok(nothing());
    };
    let tenant = presented.tenant.as_str();
    let is_it = revoked_by(tenant, &ended.record.device, &presented.hash);
    let taken = following.taken(app, tenant, is_it).await?;
    Ok(revoked::answer(RevokedView::new(ended), taken))
}

/// Whether a change is the end of this token, alone or with all of its device.
pub(super) fn revoked_by<'a>(
    tenant: &'a str,
    device: &'a str,
    hash: &'a tessera_token::hash::TokenHash,
) -> impl Fn(&Change) -> bool + 'a {
    move |change| match change {
        Change::Token(one) => one.token == *hash,
        Change::Device(one) => one.tenant.as_str() == tenant && one.device.as_str() == device,
        Change::Group(one) => one.tenant.as_str() == tenant,
        _ => false,
    }
}

async fn of_device(request: &HttpRequest, app: &App, body: Result<Body, Problem>) -> HttpResponse {
    let act = async |way: &super::auth::Way| {
        let message = parse(request, &body?, RevokeRequest::from_cbor, device_json)?;
        let may = |tenant: &str| way.leads_to(tenant);
        shown::by_device(app, &message, &way.source, may).await.map_err(Problem::from)
    };
    match with_proof(request, app, act).await {
        Ok(_) => nothing(),
        Err(refusal) => refusal,
    }
}

fn device_json(bytes: &[u8]) -> Result<RevokeRequest, Refused> {
    let wire: DeviceJson = json(bytes)?;
    let binary = |name: &str, text: &str| {
        from_base64url(text)
            .ok_or_else(|| Refused::malformed(format!("{name} is base64url without padding")))
    };
    let signature = binary("signature", &wire.signature)?.try_into();
    Ok(RevokeRequest {
        token: binary("token", &wire.token)?,
        time: UnixSeconds::new(wire.iat),
        signature: signature.map_err(|_| Refused::malformed("signature is 64 bytes"))?,
    })
}

fn form(bytes: &[u8]) -> Result<Form, Refused> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refused::malformed("the form is no text"))?;
    let parsed = actix_web::web::Query::<Form>::from_query(text);
    parsed
        .map(actix_web::web::Query::into_inner)
        .map_err(|error| Refused::malformed(error.to_string()))
}

/// There is nothing to revoke, or it was revoked by its device.
fn nothing() -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(json!({}))
}

/// Whether the service is the cause: then the caller tries again.
fn is_fault(code: RefusalCode) -> bool {
    matches!(code, RefusalCode::NotReady | RefusalCode::Internal | RefusalCode::LimitReached)
}

/// The refusal with the member `error` of RFC 6749.
pub(super) fn refused(problem: &Problem) -> HttpResponse {
    let status = match problem.code() {
        // RFC 7009 section 2.2.1: the client tries again later.
        RefusalCode::Internal | RefusalCode::LimitReached => StatusCode::SERVICE_UNAVAILABLE,
        _ => problem.status(),
    };
    let error = match problem.code() {
        RefusalCode::OperatorUnknown => "invalid_client",
        RefusalCode::OperatorNotAllowed => "unauthorized_client",
        _ if status.is_server_error() => "temporarily_unavailable",
        _ => "invalid_request",
    };
    let mut response = problem.to_oauth(status, error);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let later = actix_web::http::header::HeaderValue::from_static("1");
        response.headers_mut().insert(RETRY_AFTER, later);
    }
    response
}
