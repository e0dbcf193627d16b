//! The endpoints of devices: `application/ace+cbor` (RFC 9200) or JSON with the same names.

use std::time::Duration;

use actix_web::http::header;
use actix_web::http::StatusCode;
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;
use tessera_runtime::http::server::media_type;
use tessera_runtime::random;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::messages::{
    ClaimCheck, EnrolRequest, MessageError, RekeyRequest, TokenAnswer, TokenKind, TokenRequest,
    ACE_CBOR,
};
use tessera_token::refusal::RefusalCode;

use super::json::{self, NonceJson, TokenAnswerJson};
use crate::admission::Source;
use crate::limits::DEVICE_BODY_BYTES;
use crate::refused::Refused;
use crate::rest::attempts;
use crate::rest::auth::{way, Among, Feed, Way};
use crate::rest::endpoint::{schema, Endpoint};
use crate::rest::input::{Admitted, App, Body};
use crate::rest::problem::{speaks_cbor, Problem};
use crate::rest::told::{self, Shown};
use crate::strangers::{hold_back, hold_back_asked};
use crate::{enrol, refresh, rekey};

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::post("/v1/enrol/nonce", nonce)
            .summary("A nonce to sign for enrolment")
            .sends(200, "Nonce", schema::either("Nonce"))
            .refused_as("Refused", vec![schema::cbor()]),
        Endpoint::post("/v1/enrol", enrol)
            .summary("Bind a device id to a device key, once, by what entitles the device")
            .takes(schema::either("EnrolRequest"))
            .sends(200, "Token", schema::either("TokenAnswer"))
            .refused_as("Refused", vec![schema::cbor()])
            .refuses(super::REFUSALS)
            .refuses(&[
                RefusalCode::ClaimUnknown,
                RefusalCode::ClaimUsed,
                RefusalCode::ClaimMismatch,
                RefusalCode::AlreadyExists,
                RefusalCode::DeviceKeyMismatch,
                RefusalCode::NotEntitled,
                RefusalCode::EntitlementUsed,
                RefusalCode::CertificateInvalid,
                RefusalCode::CertificateDenied,
                RefusalCode::ApprovalPending,
                RefusalCode::ApprovalRefused,
                RefusalCode::WayNotTaken,
                RefusalCode::CapacityReached,
            ]),
        Endpoint::post("/v1/enrol/check", check)
            .summary(
                "Whether a device could use a claim code now, or has used it: a broker asks \
                before it lets the device in to enrol over MQTT. Nothing is changed",
            )
            .takes(schema::either("ClaimCheck"))
            .empty(204, "Good")
            .refused_as("Refused", vec![schema::cbor()])
            .refuses(super::REFUSALS)
            .refuses(&[
                RefusalCode::ClaimUnknown,
                RefusalCode::ClaimUsed,
                RefusalCode::ClaimMismatch,
                RefusalCode::LimitReached,
            ]),
        Endpoint::post("/v1/token", token)
            .summary("The next token, by proof of the device key")
            .takes(schema::either("TokenRequest"))
            .sends(200, "Token", schema::either("TokenAnswer"))
            .refused_as("Refused", vec![schema::cbor()])
            .refuses(super::REFUSALS)
            .refuses(&[
                RefusalCode::ProofNotFresh,
                RefusalCode::BearerNotAllowed,
                RefusalCode::SymmetricNotOffered,
                RefusalCode::ChannelInClear,
            ]),
        Endpoint::post("/v1/rekey", rekey)
            .summary(
                "Another key for a device, proved by both keys; or by the new key alone, when the \
                device has lost its own and an operator approves it (approval_pending until \
                then)",
            )
            .takes(schema::either("RekeyRequest"))
            .sends(200, "Token", schema::either("TokenAnswer"))
            .refused_as("Refused", vec![schema::cbor()])
            .refuses(super::REFUSALS)
            .refuses(&[
                RefusalCode::AlreadyExists,
                RefusalCode::ApprovalPending,
                RefusalCode::CapacityReached,
            ]),
    ]
}

pub(crate) async fn nonce(
    request: HttpRequest,
    app: App,
    admitted: Result<Admitted, Problem>,
) -> HttpResponse {
    let made = admitted.and_then(|_| Ok(enrol::nonce(&app)?));
    answer(&request, &app, made, |answer| answer.to_cbor(), |answer| NonceJson::from(answer))
}

/// A broker asks whether the claim code of a CONNECT is good. Others have no use for the answer, and may not ask.
pub(crate) async fn check(
    by: Among<Feed>,
    request: HttpRequest,
    app: App,
    body: Result<Body, Problem>,
) -> HttpResponse {
    // The code is that of a stranger at the broker.
    attempts::forget(&request);
    let act = async |way: &Way| {
        let message = parse(&request, &body?, ClaimCheck::from_cbor, json::claim_check)?;
        shown(&request, &message.tenant, &message.device);
        way.leads_to(message.tenant.as_str())?;
        Ok(enrol::check(&app, &message, &way.source).await?)
    };
    match outcome_by(&request, &app, Way::of_checks(by.operator()), act).await {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(problem) => problem.to_device(&request, app.now(), None),
    }
}

pub(crate) async fn enrol(
    request: HttpRequest,
    app: App,
    body: Result<Body, Problem>,
) -> HttpResponse {
    let act = async |way: &Way| {
        let message = parse(&request, &body?, EnrolRequest::from_cbor, json::enrol_request)?;
        shown(&request, &message.tenant, &message.device);
        way.leads_to(message.tenant.as_str())?;
        let answer = enrol::enrol(&app, &message, &way.source).await?;
        Ok(Told { answer, sealed: None })
    };
    proved(&request, &app, act).await
}

pub(crate) async fn token(
    request: HttpRequest,
    app: App,
    body: Result<Body, Problem>,
) -> HttpResponse {
    let act = async |way: &Way| {
        let message = parse(&request, &body?, TokenRequest::from_cbor, json::token_request)?;
        shown(&request, &message.tenant, &message.device);
        way.leads_to(message.tenant.as_str())?;
        told_to_the_signer(&message)?;
        let answer = refresh::refresh(&app, &message, &way.source).await?;
        Told::new(&app, &message, answer).map_err(Problem::from)
    };
    proved(&request, &app, act).await
}

pub(crate) async fn rekey(
    request: HttpRequest,
    app: App,
    body: Result<Body, Problem>,
) -> HttpResponse {
    let act = async |way: &Way| {
        let message = parse(&request, &body?, RekeyRequest::from_cbor, json::rekey_request)?;
        shown(&request, &message.tenant, &message.device);
        way.leads_to(message.tenant.as_str())?;
        let answer = rekey::rekey(&app, &message, &way.source).await?;
        Ok(Told { answer, sealed: None })
    };
    proved(&request, &app, act).await
}

/// Answers a request that needs the proof of a device: in one time whatever is wrong with it, and a wrong one is charged
/// to its source.
async fn proved(
    request: &HttpRequest,
    app: &App,
    act: impl AsyncFnOnce(&Way) -> Result<Told, Problem>,
) -> HttpResponse {
    token_answer(request, app, outcome_of(request, app, act).await)
}

/// As [`proved`], for a request that brings no token.
///
/// # Errors
/// The refusal in the form that the device speaks.
pub(crate) async fn with_proof<T>(
    request: &HttpRequest,
    app: &App,
    act: impl AsyncFnOnce(&Way) -> Result<T, Problem>,
) -> Result<T, HttpResponse> {
    let outcome = outcome_of(request, app, act).await;
    outcome.map_err(|problem| problem.to_device(request, app.now(), nonce_for(app, &problem)))
}

async fn outcome_of<T>(
    request: &HttpRequest,
    app: &App,
    act: impl AsyncFnOnce(&Way) -> Result<T, Problem>,
) -> Result<T, Problem> {
    outcome_by(request, app, way(request).await, act).await
}

async fn outcome_by<T>(
    request: &HttpRequest,
    app: &App,
    way: Way,
    act: impl AsyncFnOnce(&Way) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let began = app.clock.monotonic();
    let outcome = act(&way).await;
    let outcome = in_its_time(request, app, began, outcome).await;
    charged(app, way.source, outcome)
}

/// Notes the names in the request for the line about its refusal.
pub(super) fn shown(request: &HttpRequest, tenant: &TenantId, device: &DeviceId) {
    let shown = Shown { tenant: tenant.clone(), device: device.clone() };
    request.extensions_mut().insert(shown);
}

/// Charges a wrong request to its source, apart from right ones: past its rate a source is told only that it asks too
/// often.
pub(super) fn charged<T>(
    app: &App,
    source: Source,
    outcome: Result<T, Problem>,
) -> Result<T, Problem> {
    let Err(problem) = outcome else { return outcome };
    let now = app.clock.monotonic();
    let within = match problem.code() {
        // The refusal brings a nonce and is charged as a nonce is: devices without a clock depend on it.
        RefusalCode::ProofNotFresh | RefusalCode::NonceInvalid => {
            app.admission.anonymous(source, now)
        }
        _ => !problem.is_of_caller() || app.admission.wrong(source, now),
    };
    match within {
        true => Err(problem),
        false => Err(RefusalCode::RateLimited.into()),
    }
}

/// A refusal waits for the end of its time bucket, before it is charged: past its rate it took the same work. One for the
/// rate of proved requests says nothing of what exists. The line about a stranger is written before the wait: whether the
/// log has room for its true code says nothing either.
pub(super) async fn in_its_time<T>(
    request: &HttpRequest,
    app: &App,
    began: Duration,
    outcome: Result<T, Problem>,
) -> Result<T, Problem> {
    let problem = outcome.as_ref().err();
    if let Some(truth) = problem.and_then(Problem::truth) {
        told::stranger(request, truth);
    }
    if let Some(problem) = problem.filter(|problem| !problem.is(RefusalCode::RateLimited)) {
        let passed = app.clock.monotonic().saturating_sub(began);
        let wait = match problem.is(RefusalCode::ApprovalPending) {
            true => hold_back_asked(passed),
            false => hold_back(passed),
        };
        tokio::time::sleep(wait).await;
    }
    outcome
}

/// A symmetric key is told to the signer of the request alone. Whichever channel a request comes on, others may have
/// seen it on another, and the same bytes get the same answer.
pub(super) fn told_to_the_signer(message: &TokenRequest) -> Result<(), RefusalCode> {
    match message.kind == TokenKind::Symmetric && message.answer_key.is_none() {
        true => Err(RefusalCode::ChannelInClear),
        false => Ok(()),
    }
}

/// An answer as it leaves: no key in it can be read by others.
pub(super) struct Told {
    answer: TokenAnswer,
    sealed: Option<Vec<u8>>,
}

impl Told {
    pub(super) fn new(
        app: &App,
        request: &TokenRequest,
        answer: TokenAnswer,
    ) -> Result<Self, Refused> {
        if answer.key.is_none() {
            return Ok(Self { answer, sealed: None });
        }
        let to = request.answer_key.ok_or(RefusalCode::ChannelInClear)?;
        let sealed = answer.seal_key(&to, random::bytes(&*app.random)?);
        let sealed = sealed.ok_or_else(|| Refused::malformed("answer_key is no X25519 key"))?;
        Ok(Self { answer: TokenAnswer { key: None, ..answer }, sealed: Some(sealed) })
    }

    /// An answer without a symmetric key.
    pub(super) fn unsealed(answer: TokenAnswer) -> Self {
        Self { answer: TokenAnswer { key: None, ..answer }, sealed: None }
    }

    /// The answer, and its sealed key.
    pub(super) fn parts(&self) -> (&TokenAnswer, Option<&[u8]>) {
        (&self.answer, self.sealed.as_deref())
    }

    fn to_cbor(&self) -> Vec<u8> {
        match &self.sealed {
            Some(sealed) => self.answer.to_cbor_sealed(sealed),
            None => self.answer.to_cbor(),
        }
    }
}

pub(crate) fn parse<T>(
    request: &HttpRequest,
    Body(bytes): &Body,
    cbor: fn(&[u8]) -> Result<T, MessageError>,
    json: fn(&[u8]) -> Result<T, Refused>,
) -> Result<T, Problem> {
    if bytes.len() > DEVICE_BODY_BYTES {
        return Err(Refused::malformed("the message is too large").into());
    }
    match media_type(request).as_deref() {
        Some(ACE_CBOR) => Ok(cbor(bytes).map_err(|error| Refused::malformed(error.to_string()))?),
        Some("application/json" | "") => Ok(json(bytes)?),
        _ => {
            let other = Refused::malformed("send application/ace+cbor or application/json");
            Err(Problem::from(other).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
        }
    }
}

fn token_answer(request: &HttpRequest, app: &App, outcome: Result<Told, Problem>) -> HttpResponse {
    answer(request, app, outcome, Told::to_cbor, |told| {
        TokenAnswerJson::new(&told.answer, told.sealed.as_deref())
    })
}

/// The nonce that a device signs next when its time or nonce was refused. It must not sign for the time that a refusal
/// tells, which is not signed.
pub(super) fn nonce_for(app: &App, problem: &Problem) -> Option<[u8; 32]> {
    let asks = matches!(problem.code(), RefusalCode::ProofNotFresh | RefusalCode::NonceInvalid);
    let made = asks.then(|| app.nonces.make(&*app.random));
    made.and_then(Result::ok)
}

fn answer<T, J: Serialize>(
    request: &HttpRequest,
    app: &App,
    outcome: Result<T, Problem>,
    cbor: impl FnOnce(&T) -> Vec<u8>,
    json: impl FnOnce(&T) -> J,
) -> HttpResponse {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(problem) => return problem.to_device(request, app.now(), nonce_for(app, &problem)),
    };
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    match speaks_cbor(request) {
        true => response.content_type(ACE_CBOR).body(cbor(&answer)),
        false => response.json(json(&answer)),
    }
}
