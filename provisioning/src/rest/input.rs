//! What comes in: bounded bodies in bounded time, typed parameters, admitted peers.

use std::future::{ready, Future, Ready};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use serde::de::DeserializeOwned;
use tessera_token::refusal::RefusalCode;

use super::auth::is_relay;
use super::problem::Problem;
use crate::limits::{BODY_BYTES, BODY_TIMEOUT, PAGE, PAGE_MOST};
use crate::refused::Refused;
use crate::service::Service;

/// The service behind a request.
pub(crate) type App = Data<Service>;

/// A whole body of at most [`BODY_BYTES`], read within [`BODY_TIMEOUT`].
pub(crate) struct Body(pub(crate) web::Bytes);

impl FromRequest for Body {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let payload = web::Payload::from_request(request, payload);
        Box::pin(async move {
            let payload = payload.await.map_err(|_| malformed("the body broke off"))?;
            match tokio::time::timeout(BODY_TIMEOUT, payload.to_bytes_limited(BODY_BYTES)).await {
                Ok(Ok(Ok(bytes))) => Ok(Self(bytes)),
                Ok(Ok(Err(_))) => Err(malformed("the body broke off")),
                Ok(Err(_)) => {
                    Err(malformed("the body is too large")
                        .with_status(StatusCode::PAYLOAD_TOO_LARGE))
                }
                Err(_) => {
                    Err(malformed("the body took too long")
                        .with_status(StatusCode::REQUEST_TIMEOUT))
                }
            }
        })
    }
}

/// A JSON body; unknown members are refused where the type says so.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json =
            request.content_type().is_empty() || request.content_type() == "application/json";
        let body = Body::from_request(request, payload);
        Box::pin(async move {
            if !is_json {
                return Err(malformed("send application/json")
                    .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
            }
            let Body(bytes) = body.await?;
            Ok(Self(json(&bytes)?))
        })
    }
}

pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(bytes).map_err(|error| Refused::malformed(error.to_string()))
}

/// The query of a list.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    #[serde(default)]
    pub(crate) cursor: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

impl PageQuery {
    pub(crate) fn limit(&self) -> usize {
        self.limit.unwrap_or(PAGE).clamp(1, PAGE_MOST)
    }
}

/// A typed query.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let parsed = web::Query::<T>::from_query(request.query_string());
        ready(match parsed {
            Ok(query) => Ok(Self(query.into_inner())),
            Err(error) => Err(malformed(&error.to_string())),
        })
    }
}

/// A peer that may ask now. Without a credential it costs a request of its address's rate; a broker that relays the
/// refreshes of its devices shows its feed token and pays nothing.
pub(crate) struct Admitted;

impl FromRequest for Admitted {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(match is_relay(request) {
            true => Ok(Self),
            false => admit(request, 1).map(|()| Self),
        })
    }
}

pub(crate) fn admit(request: &HttpRequest, cost: u32) -> Result<(), Problem> {
    let service = app(request)?;
    match service.admission.admit(address(request), cost, service.clock.monotonic()) {
        true => Ok(()),
        false => Err(RefusalCode::RateLimited.into()),
    }
}

/// The address that counts for a request.
pub(crate) fn address(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}

pub(crate) fn app(request: &HttpRequest) -> Result<&App, Problem> {
    request.app_data::<App>().ok_or_else(|| RefusalCode::Internal.into())
}

/// An id of the path or of a body.
pub(crate) fn id<T: FromStr>(text: &str) -> Result<T, Refused>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Refused::malformed(format!("{text:?}: {error}")))
}

fn malformed(detail: &str) -> Problem {
    Refused::malformed(detail).into()
}
