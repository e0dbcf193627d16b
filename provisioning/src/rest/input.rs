//! Input: bounded bodies in bounded time, typed parameters, admitted peers.

use std::future::{ready, Future};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data};
use actix_web::{FromRequest, HttpRequest};
use serde::de::DeserializeOwned;
use tessera_runtime::http::server::media_type;
use tessera_runtime::proxy::entrance::Entrance;
use tessera_token::refusal::RefusalCode;

use super::auth::way;
use super::gate::{behind, Gate};
use super::problem::Problem;
use super::unique;
use crate::admission::Source;
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
        let read =
            async move {
                let payload = payload.await.map_err(|_| malformed("the body broke off"))?;
                match tokio::time::timeout(BODY_TIMEOUT, payload.to_bytes_limited(BODY_BYTES)).await
                {
                    Ok(Ok(Ok(bytes))) => Ok(Self(bytes)),
                    Ok(Ok(Err(_))) => Err(malformed("the body broke off")),
                    Ok(Err(_)) => Err(malformed("the body is too large")
                        .with_status(StatusCode::PAYLOAD_TOO_LARGE)),
                    Err(_) => Err(malformed("the body took too long")
                        .with_status(StatusCode::REQUEST_TIMEOUT)),
                }
            };
        Box::pin(behind(request, read))
    }
}

/// A JSON body; unknown members are refused where the type says so.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = json_body(request, payload);
        let read = async move { Ok(Self(json(&body.await?)?)) };
        Box::pin(behind(request, read))
    }
}

/// The bytes of a JSON body.
pub(super) fn json_body(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<web::Bytes, Problem>> + use<> {
    let is_json =
        media_type(request).is_some_and(|kind| kind.is_empty() || kind == "application/json");
    let body = Body::from_request(request, payload);
    async move {
        if !is_json {
            return Err(
                malformed("send application/json").with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            );
        }
        body.await.map(|Body(bytes)| bytes)
    }
}

/// An object, each member of which comes once: the library would take an array for the members of a type in their order, and
/// the last of two members of a map.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Refused::malformed("send a JSON object"));
    }
    let read = unique::check(bytes).and_then(|()| serde_json::from_slice(bytes));
    read.map_err(|error| Refused::malformed(error.to_string()))
}

/// The query of a list.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    #[serde(default)]
    pub(crate) cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
}

/// Rows of a page; out of range it is refused, as the document says.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(try_from = "usize")]
pub(crate) struct Limit(usize);

impl Limit {
    pub(crate) fn rows(self) -> usize {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(PAGE)
    }
}

impl TryFrom<usize> for Limit {
    type Error = String;

    fn try_from(limit: usize) -> Result<Self, String> {
        match (1..=PAGE_MOST).contains(&limit) {
            true => Ok(Self(limit)),
            false => Err(format!("limit must be 1 to {PAGE_MOST}")),
        }
    }
}

impl PageQuery {
    pub(crate) fn limit(&self) -> usize {
        self.limit.0
    }
}

/// A typed query.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned + 'static> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let parsed = web::Query::<T>::from_query(request.query_string());
        let parsed = match parsed {
            Ok(query) => Ok(Self(query.into_inner())),
            Err(error) => Err(malformed(&error.to_string())),
        };
        Box::pin(behind(request, ready(parsed)))
    }
}

/// A peer that shows no credential and may ask now. A broker that asks for its devices shows its feed token, and is
/// charged by its account.
pub(crate) struct Admitted;

impl FromRequest for Admitted {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let (request, gate) = (request.clone(), Gate::close(request));
        Box::pin(async move { gate.judged(anonymous(&request).await).map(|()| Self) })
    }
}

pub(crate) async fn anonymous(request: &HttpRequest) -> Result<(), Problem> {
    let (service, way) = (app(request)?, way(request).await);
    match service.admission.anonymous(way.source, service.clock.monotonic()) {
        true => Ok(()),
        false => Err(RefusalCode::RateLimited.into()),
    }
}

/// The address that a request is charged to.
pub(crate) fn peer(request: &HttpRequest) -> Source {
    Source::Peer(address(request).into())
}

/// The address that counts for a request: the peer's, or the one behind proxies that are trusted.
pub(crate) fn address(request: &HttpRequest) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let values = |name: &str| -> Vec<&[u8]> {
        request.headers().get_all(name).map(|value| value.as_bytes()).collect()
    };
    match entrance(request) {
        Some(entrance) => entrance.address(peer, &values("forwarded"), &values("x-forwarded-for")),
        None => peer,
    }
}

/// The network of an address, as it is kept: an IPv4 /24 or an IPv6 /48.
pub(crate) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{}/24", Ipv4Addr::new(a, b, c, 0))
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

/// The listener by which a request has come; none where there is no socket.
pub(crate) fn entrance(request: &HttpRequest) -> Option<&Entrance> {
    request.app_data::<Data<Entrance>>().map(|entrance| entrance.get_ref())
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
