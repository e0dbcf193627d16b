//! The body of a request, and of its answer, in JSON or CBOR by content type.

use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::{header, StatusCode};
use actix_web::{web, FromRequest, HttpRequest, HttpResponse};
use serde::de::DeserializeOwned;
use serde::Serialize;
use tessera_runtime::http::server::{accepts, media_type, problem};
use tessera_runtime::http::{CBOR, JSON};
use tessera_token::refusal::RefusalCode;

use super::cbor;

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Cbor,
}

/// Reads a body; the refusal is the answer. The most bytes are those of the route's `PayloadConfig`.
pub(super) async fn read<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: web::Payload,
    time: Duration,
) -> Result<(T, Form), HttpResponse> {
    let form = match media_type(request).as_deref() {
        Some(JSON) => Form::Json,
        Some(CBOR) => Form::Cbor,
        _ => {
            let (status, code) =
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, RefusalCode::RequestMalformed);
            let detail = format!("send the body as {JSON} or {CBOR}");
            return Err(problem(status, code, Some(&detail)));
        }
    };
    let mut payload = payload.into_inner();
    let bytes = web::Bytes::from_request(request, &mut payload);
    let bytes = match tokio::time::timeout(time, bytes).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(not_read(&error)),
        Err(_) => {
            let detail = "the body did not come in time";
            let (status, code) = (StatusCode::REQUEST_TIMEOUT, RefusalCode::RequestMalformed);
            return Err(problem(status, code, Some(detail)));
        }
    };
    let parsed = match form {
        Form::Json => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        Form::Cbor => cbor::read(&bytes)
            .map_err(|error| error.to_string())
            .and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string())),
    };
    let answer = if wants_cbor(request, form) { Form::Cbor } else { Form::Json };
    parsed.map(|parsed| (parsed, answer)).map_err(|detail| malformed(&detail))
}

/// An answer with status 200.
pub(super) fn answer<T: Serialize>(form: Form, answer: &T) -> HttpResponse {
    let Ok(value) = serde_json::to_value(answer) else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, RefusalCode::Internal, None);
    };
    let (media, body) = match form {
        Form::Json => (JSON, value.to_string().into_bytes()),
        Form::Cbor => (CBOR, cbor::write(&value)),
    };
    HttpResponse::Ok()
        .content_type(media)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body)
}

/// The refusal of a request that is not well formed.
pub(super) fn malformed(detail: &str) -> HttpResponse {
    problem(StatusCode::BAD_REQUEST, RefusalCode::RequestMalformed, Some(detail))
}

/// The refusal of a list that is too long.
pub(super) fn too_many(most: usize) -> HttpResponse {
    let detail = format!("at most {most} in one request");
    problem(StatusCode::PAYLOAD_TOO_LARGE, RefusalCode::LimitReached, Some(&detail))
}

/// The answer has the form of the request, unless only the other is accepted.
fn wants_cbor(request: &HttpRequest, form: Form) -> bool {
    accepts(request, CBOR) || form == Form::Cbor && !accepts(request, JSON)
}

fn not_read(error: &actix_web::Error) -> HttpResponse {
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => {
            let (status, code) = (StatusCode::PAYLOAD_TOO_LARGE, RefusalCode::LimitReached);
            problem(status, code, Some(&error.to_string()))
        }
        _ => malformed(&error.to_string()),
    }
}
