//! The device's side of provisioning over HTTP (`application/ace+cbor`).

use std::fmt;
use std::time::Duration;

use tessera_runtime::http::{HttpClient, HttpError, HttpLimits, Server, ACE_CBOR};
use tessera_runtime::random::{self, Random};
use tessera_runtime::secret::Secret;
use tessera_token::messages::{
    EnrolRequest, NonceAnswer, RefusalAnswer, TokenAnswer, TokenKind, TokenRequest,
};
use tessera_token::refusal::RefusalCode;

use super::clock::DeviceClock;
use super::identity::Identity;
use crate::limits;

/// Why provisioning gave no token.
#[derive(Debug, Clone)]
pub enum ApiError {
    /// Provisioning refused, with its reason.
    Refused(RefusalCode),
    /// Provisioning refused with a code this version does not know.
    Other(String),
    /// Nobody answered, or not in a usable form.
    Http(HttpError),
    /// No randomness for a nonce.
    Random,
}

impl ApiError {
    /// A short stable name for counting.
    pub fn kind(&self) -> String {
        match self {
            Self::Refused(code) => code.as_str().to_owned(),
            Self::Other(code) => code.clone(),
            Self::Http(HttpError::Timeout) => "http_timeout".to_owned(),
            Self::Http(_) => "http_error".to_owned(),
            Self::Random => "no_randomness".to_owned(),
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Refused(code) => {
                matches!(
                    code,
                    RefusalCode::RateLimited | RefusalCode::NotReady | RefusalCode::LimitReached
                )
            }
            Self::Http(error) => error.is_temporary(),
            Self::Other(_) | Self::Random => false,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => write!(f, "{code}: {}", code.words()),
            Self::Other(text) => f.write_str(text),
            Self::Http(error) => error.fmt(f),
            Self::Random => f.write_str("the operating system gave no randomness"),
        }
    }
}

impl std::error::Error for ApiError {}

/// A client of the endpoints for devices. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct DeviceApi {
    http: HttpClient,
}

impl DeviceApi {
    /// A client of this service.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub fn new(server: impl Into<Server>) -> Result<Self, HttpError> {
        Ok(Self { http: HttpClient::new(server, None, HttpLimits::default())? })
    }

    /// The same as a broker that relays requests of many devices: with its feed token, no rate of an address holds it.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub fn relaying(
        server: impl Into<Server>,
        feed_token: Secret<String>,
    ) -> Result<Self, HttpError> {
        Ok(Self { http: HttpClient::new(server, Some(feed_token), HttpLimits::default())? })
    }

    /// Whether the service says that it is ready.
    pub async fn is_ready(&self) -> Result<(), HttpError> {
        self.http.get("/readyz").await.map(drop)
    }

    /// Fetches a nonce; the clock learns the service's time.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn nonce(&self, clock: &DeviceClock) -> Result<NonceAnswer, ApiError> {
        let body = self.call("/v1/enrol/nonce", Vec::new(), clock).await?;
        let answer = NonceAnswer::from_cbor(&body).map_err(bad_answer)?;
        clock.hear(answer.server_time);
        Ok(answer)
    }

    /// Binds the device id to its key, with the claim code that entitles it.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn enrol(
        &self,
        identity: &Identity,
        claim: &str,
        clock: &DeviceClock,
    ) -> Result<TokenAnswer, ApiError> {
        let nonce = self.nonce(clock).await?.nonce;
        let Identity { tenant, device, key } = identity;
        let request = EnrolRequest::sign(key, tenant, device, claim, &nonce);
        let body = self.call("/v1/enrol", request.to_cbor(), clock).await?;
        token_answer(&body, clock)
    }

    /// Asks for a new token with a proof of the device key.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn token(
        &self,
        identity: &Identity,
        clock: &DeviceClock,
        random: &dyn Random,
        kind: TokenKind,
    ) -> Result<TokenAnswer, ApiError> {
        let request = token_request(identity, clock, random, kind)?;
        let body = self.call("/v1/token", request, clock).await?;
        token_answer(&body, clock)
    }

    /// As [`DeviceApi::enrol`], again after temporary faults.
    ///
    /// # Errors
    /// The last [`ApiError`].
    pub async fn enrol_patiently(
        &self,
        identity: &Identity,
        claim: &str,
        clock: &DeviceClock,
    ) -> Result<TokenAnswer, ApiError> {
        let mut wait = limits::BACKOFF.0;
        for _ in 1..limits::HTTP_TRIES {
            match self.enrol(identity, claim, clock).await {
                Err(error) if error.is_temporary() => tokio::time::sleep(wait).await,
                other => return other,
            }
            wait = longer(wait);
        }
        self.enrol(identity, claim, clock).await
    }

    async fn call(
        &self,
        path: &str,
        body: Vec<u8>,
        clock: &DeviceClock,
    ) -> Result<Vec<u8>, ApiError> {
        match self.http.post(path, ACE_CBOR, body).await {
            Ok(answer) => Ok(answer.body),
            Err(error) => Err(refused(error, clock)),
        }
    }
}

/// The bytes of a signed token request, for REST and for `$tessera/token` alike.
///
/// # Errors
/// [`ApiError::Random`].
pub fn token_request(
    identity: &Identity,
    clock: &DeviceClock,
    random: &dyn Random,
    kind: TokenKind,
) -> Result<Vec<u8>, ApiError> {
    let nonce: [u8; 16] = random::bytes(random).map_err(|_| ApiError::Random)?;
    let Identity { tenant, device, key } = identity;
    Ok(TokenRequest::sign(key, tenant, device, clock.now(), &nonce, kind).to_cbor())
}

/// Reads a token answer or a refusal; the clock learns the time in either.
///
/// # Errors
/// [`ApiError`] when it is a refusal or unreadable.
pub fn token_answer(body: &[u8], clock: &DeviceClock) -> Result<TokenAnswer, ApiError> {
    if let Ok(answer) = TokenAnswer::from_cbor(body) {
        clock.hear(answer.server_time);
        return Ok(answer);
    }
    let refusal = RefusalAnswer::from_cbor(body).map_err(bad_answer)?;
    clock.hear(refusal.server_time);
    Err(of_refusal(refusal))
}

/// The next wait of a backoff.
pub fn longer(wait: Duration) -> Duration {
    wait.saturating_mul(2).min(limits::BACKOFF.1)
}

fn refused(error: HttpError, clock: &DeviceClock) -> ApiError {
    let HttpError::Status { response, code, .. } = &error else { return ApiError::Http(error) };
    if let Ok(refusal) = RefusalAnswer::from_cbor(&response.body) {
        clock.hear(refusal.server_time);
        return of_refusal(refusal);
    }
    match code.as_deref().map(|code| (RefusalCode::parse(code), code)) {
        Some((Some(code), _)) => ApiError::Refused(code),
        Some((None, text)) => ApiError::Other(text.to_owned()),
        None => ApiError::Http(error),
    }
}

fn of_refusal(refusal: RefusalAnswer) -> ApiError {
    match refusal.code {
        Some(code) => ApiError::Refused(code),
        None => ApiError::Other(refusal.description),
    }
}

fn bad_answer<E: fmt::Display>(error: E) -> ApiError {
    ApiError::Http(HttpError::Decode(error.to_string()))
}
