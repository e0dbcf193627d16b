//! The body of a verb that takes a reason; it may be left out.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::Deserialize;
use tessera_runtime::http::server::media_type;

use crate::refused::Refused;
use crate::registry::suspension::Reason;
use crate::rest::input::{json, Body};
use crate::rest::problem::Problem;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
    reason: Option<String>,
}

/// The reason in a JSON body, or none without a body.
pub(crate) struct WithReason(pub(crate) Reason);

impl FromRequest for WithReason {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json =
            media_type(request).is_some_and(|kind| kind.is_empty() || kind == "application/json");
        let body = Body::from_request(request, payload);
        Box::pin(async move {
            let Body(bytes) = body.await?;
            if bytes.is_empty() {
                return Ok(Self(Reason::of(None)?));
            }
            if !is_json {
                let other = Refused::malformed("send application/json");
                let status = actix_web::http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
                return Err(Problem::from(other).with_status(status));
            }
            Ok(Self(Reason::of(json::<Given>(&bytes)?.reason)?))
        })
    }
}
