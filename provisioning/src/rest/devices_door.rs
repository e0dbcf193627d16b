//! The endpoints of devices: `application/ace+cbor` (RFC 9200) or JSON with the same names.

use std::net::SocketAddr;

use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::messages::{
    EnrolRequest, MessageError, TokenAnswer, TokenKind, TokenRequest, ACE_CBOR,
};
use tessera_token::refusal::RefusalCode;

use super::device_json::{self, NonceJson, TokenAnswerJson};
use super::input::{Admitted, App, Body};
use super::problem::{speaks_cbor, Problem};
use super::told::Shown;
use crate::limits::DEVICE_BODY_BYTES;
use crate::refused::Refused;
use crate::{enrol, refresh};

pub(super) async fn nonce(
    request: HttpRequest,
    app: App,
    admitted: Result<Admitted, Problem>,
) -> HttpResponse {
    let made = admitted.and_then(|_| Ok(enrol::nonce(&app)?));
    answer(&request, &app, made, |answer| answer.to_cbor(), |answer| NonceJson::from(answer))
}

pub(super) async fn enrol(
    request: HttpRequest,
    app: App,
    admitted: Result<Admitted, Problem>,
    body: Result<Body, Problem>,
) -> HttpResponse {
    let outcome = async {
        admitted?;
        let message = parse(&request, &body?, EnrolRequest::from_cbor, device_json::enrol_request)?;
        shown(&request, &message.tenant, &message.device);
        Ok(enrol::enrol(&app, &message).await?)
    };
    token_answer(&request, &app, outcome.await)
}

pub(super) async fn token(
    request: HttpRequest,
    app: App,
    admitted: Result<Admitted, Problem>,
    body: Result<Body, Problem>,
) -> HttpResponse {
    let outcome = async {
        admitted?;
        let message = parse(&request, &body?, TokenRequest::from_cbor, device_json::token_request)?;
        shown(&request, &message.tenant, &message.device);
        told_here(&request, &message)?;
        Ok(refresh::refresh(&app, &message).await?)
    };
    token_answer(&request, &app, outcome.await)
}

/// A line about a refusal names what the request named.
fn shown(request: &HttpRequest, tenant: &TenantId, device: &DeviceId) {
    let shown = Shown { tenant: tenant.clone(), device: device.clone() };
    request.extensions_mut().insert(shown);
}

/// A symmetric key is told over TLS, or to this machine: to the device, to a broker here that relays for it, or to a
/// proxy here that speaks TLS to either.
fn told_here(request: &HttpRequest, message: &TokenRequest) -> Result<(), RefusalCode> {
    let local = |peer: SocketAddr| peer.ip().to_canonical().is_loopback();
    let private = request.app_config().secure() || request.peer_addr().is_some_and(local);
    match message.kind == TokenKind::Symmetric && !private {
        true => Err(RefusalCode::ChannelInClear),
        false => Ok(()),
    }
}

fn parse<T>(
    request: &HttpRequest,
    Body(bytes): &Body,
    cbor: fn(&[u8]) -> Result<T, MessageError>,
    json: fn(&[u8]) -> Result<T, Refused>,
) -> Result<T, Refused> {
    if bytes.len() > DEVICE_BODY_BYTES {
        return Err(Refused::malformed("the message is too large"));
    }
    match request.content_type() {
        ACE_CBOR => cbor(bytes).map_err(|error| Refused::malformed(error.to_string())),
        "application/json" | "" => json(bytes),
        _ => Err(Refused::malformed("send application/ace+cbor or application/json")),
    }
}

fn token_answer(
    request: &HttpRequest,
    app: &App,
    outcome: Result<TokenAnswer, Problem>,
) -> HttpResponse {
    answer(request, app, outcome, TokenAnswer::to_cbor, |answer| TokenAnswerJson::from(answer))
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
        Err(problem) => return problem.to_device(request, app.now()),
    };
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    match speaks_cbor(request) {
        true => response.content_type(ACE_CBOR).body(cbor(&answer)),
        false => response.json(json(&answer)),
    }
}
