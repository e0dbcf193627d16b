//! The header Idempotency-Key of requests that make something.

use std::future::{ready, Future};
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderName, CACHE_CONTROL};
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use serde::de::DeserializeOwned;
use serde::Serialize;
use tessera_runtime::secret::Secret;
use tessera_token::encoding::hex;
use tessera_token::hash::sha256;
use tessera_token::refusal::RefusalCode;

use super::etag::tagged;
use super::gate::behind;
use super::input::{json, json_body, App};
use super::problem::Problem;
use crate::limits::{KEY_CHARS_LEAST, KEY_CHARS_MOST};
use crate::once::{Answer, Asked};
use crate::refused::Refused;
use crate::turns::NoTurn;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A JSON body of a request that is done once when it has an Idempotency-Key.
pub(crate) struct Once<T> {
    pub(crate) body: T,
    pub(crate) call: Call,
}

/// The rest of such a request.
pub(crate) struct Call {
    key: Option<Secret<String>>,
    what: String,
    bytes: [u8; 32],
}

impl<T: DeserializeOwned + 'static> FromRequest for Once<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = json_body(request, payload);
        let key = key(request);
        let what = format!("{} {}", request.method(), request.uri());
        let read = async move {
            let (key, bytes) = (key?, body.await?);
            let call = Call { key, what, bytes: sha256(&bytes) };
            Ok(Self { body: json(&bytes)?, call })
        };
        Box::pin(behind(request, read))
    }
}

/// The Idempotency-Key of an import whose answers show secrets: it must be there.
pub(crate) struct KeyOfImport(pub(crate) Secret<String>);

impl FromRequest for KeyOfImport {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let why = "send an Idempotency-Key: the codes follow from it, and lines that are sent again have the same ones";
        let key = key(request).and_then(|key| Ok(key.ok_or_else(|| Refused::malformed(why))?));
        Box::pin(behind(request, ready(key.map(Self))))
    }
}

fn key(request: &HttpRequest) -> Result<Option<Secret<String>>, Problem> {
    let malformed = || {
        let why = format!(
            "Idempotency-Key is one header of {KEY_CHARS_LEAST} to {KEY_CHARS_MOST} plain characters, at least 128 random bits: \
             an answer may show a secret, which it seals"
        );
        Problem::from(Refused::malformed(why))
    };
    let mut values = request.headers().get_all(KEY);
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| malformed())?;
    let is_good = (KEY_CHARS_LEAST..=KEY_CHARS_MOST).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && values.next().is_none();
    match is_good {
        true => Ok(Some(Secret::new(text.to_owned()))),
        false => Err(malformed()),
    }
}

impl Call {
    /// Answers as before, or does it: `work` writes the answer with the effect.
    pub(crate) async fn once(
        self,
        app: &App,
        account: &str,
        work: impl AsyncFnOnce(Option<Asked>) -> Result<Answer, Problem>,
    ) -> Result<HttpResponse, Problem> {
        let Some(key) = self.key else { return Ok(response(work(None).await?)) };
        let asked =
            || Asked::new(account, &self.what, &self.bytes, Secret::new(key.expose().clone()));
        let again = asked();
        let scope = hex::encode(again.scope());
        let _turn = app.running.take(&scope).map_err(|none| match none {
            NoTurn::OfOne => Refused::from(RefusalCode::IdempotencyKeyBusy),
            NoTurn::OfAll => {
                let why = "many requests with an Idempotency-Key are being done: send it again";
                Refused::because(RefusalCode::LimitReached, why)
            }
        })?;
        if let Some(answer) = again.answered(app).await? {
            return Ok(response(answer));
        }
        match work(Some(asked())).await {
            Ok(answer) => Ok(response(answer)),
            // Another process may have done it meanwhile.
            Err(problem) => match again.answered(app).await {
                Ok(Some(answer)) => Ok(response(answer)),
                _ => Err(problem),
            },
        }
    }
}

/// An answer that makes something.
pub(crate) fn created(body: &impl Serialize, etag: Option<String>) -> Result<Answer, Refused> {
    let body = serde_json::to_string(body).map_err(|_| RefusalCode::Internal)?;
    Ok(Answer { status: StatusCode::CREATED.as_u16(), etag, body })
}

fn response(answer: Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("application/json")
        .body(answer.body);
    tagged(response, answer.etag.as_deref().unwrap_or_default())
}
