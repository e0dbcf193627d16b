//! The device's side of provisioning over HTTP (`application/ace+cbor`).

use std::fmt;
use std::time::Duration;

use tessera_runtime::http::{HttpClient, HttpError, HttpLimits, Server, ACE_CBOR};
use tessera_runtime::random::{self, Random};
use tessera_runtime::secret::Secret;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::messages::{
    AceAnswer, AceGrant, AceRequest, AskedToken, EnrolRequest, Means, NonceAnswer, RefusalAnswer,
    RekeyRequest, TokenAnswer, TokenKind, TokenRequest, Wish,
};
use tessera_token::refusal::RefusalCode;
use tessera_token::seal::OpeningKey;
use tessera_token::time::UnixSeconds;

use super::clock::DeviceClock;
use super::identity::Identity;
use super::unverified_claims::unverified_claims;
use crate::limits;

/// Why provisioning gave no token.
#[derive(Debug, Clone)]
pub enum ApiError {
    /// Provisioning refused, with its reason.
    Refused(RefusalCode),
    /// Provisioning refused with a code this version does not know.
    Other(String),
    /// No answer, or none in a usable form.
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

    /// Fetches a nonce; its time is a hint.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn nonce(&self, clock: &DeviceClock) -> Result<NonceAnswer, ApiError> {
        let body = self.call("/v1/enrol/nonce", Vec::new(), clock).await?;
        let answer = NonceAnswer::from_cbor(&body).map_err(bad_answer)?;
        clock.told(answer.server_time);
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
        self.enrol_by(identity, &Means::Claim(claim), clock).await
    }

    /// Binds the device id to its key, by any means that entitle it.
    ///
    /// # Errors
    /// [`ApiError`]; `certificate_invalid` when the key of a certificate does not sign.
    pub async fn enrol_by(
        &self,
        identity: &Identity,
        means: &Means<'_>,
        clock: &DeviceClock,
    ) -> Result<TokenAnswer, ApiError> {
        let nonce = self.nonce(clock).await?.nonce;
        let Identity { tenant, device, key } = identity;
        let request = EnrolRequest::sign_by(key, tenant, device, means, &nonce);
        let request = request.ok_or(ApiError::Refused(RefusalCode::CertificateInvalid))?;
        let body = self.call("/v1/enrol", request.to_cbor(), clock).await?;
        token_answer(&body, clock, None)
    }

    /// Asks for a new token with a proof of the device key; once more by a nonce of the service when the time of the
    /// request was refused.
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
        let mut asked = token_request(identity, clock, random, kind)?;
        let body = match self.call("/v1/token", asked.take_bytes(), clock).await {
            Err(ApiError::Refused(RefusalCode::ProofNotFresh | RefusalCode::NonceInvalid))
                if clock.has_nonce() =>
            {
                asked = token_request(identity, clock, random, kind)?;
                self.call("/v1/token", asked.take_bytes(), clock).await?
            }
            other => other?,
        };
        token_answer(&body, clock, asked.opens.as_ref())
    }

    /// Asks with a proof of the device key for a bearer token and a refresh token, for a device that cannot sign.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn refresh_token(
        &self,
        identity: &Identity,
        clock: &DeviceClock,
        random: &dyn Random,
    ) -> Result<AceAnswer, ApiError> {
        let body = match self.call("/token", family_request(identity, clock, random)?, clock).await
        {
            Err(ApiError::Refused(RefusalCode::ProofNotFresh | RefusalCode::NonceInvalid))
                if clock.has_nonce() =>
            {
                self.call("/token", family_request(identity, clock, random)?, clock).await?
            }
            other => other?,
        };
        token_answer(&body, clock, None)?;
        AceAnswer::from_cbor(&body, None).map_err(bad_answer)
    }

    /// Gives the device the key `new`, proved by its former key too; without one, an operator must approve it
    /// (`approval_pending` until then). The same call once more has the same outcome.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn rekey(
        &self,
        (tenant, device): (&TenantId, &DeviceId),
        former: Option<&SecretKey>,
        new: &SecretKey,
        clock: &DeviceClock,
    ) -> Result<TokenAnswer, ApiError> {
        let nonce = self.nonce(clock).await?.nonce;
        let request = match former {
            Some(former) => RekeyRequest::sign(former, new, tenant, device, &nonce),
            None => RekeyRequest::sign_lost(new, tenant, device, &nonce),
        };
        let body = self.call("/v1/rekey", request.to_cbor(), clock).await?;
        token_answer(&body, clock, None)
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

/// The bytes of a signed token request, for REST and for `$tessera/token` alike: over the time, or over the nonce that a
/// refusal gave.
///
/// # Errors
/// [`ApiError::Random`].
pub fn token_request(
    identity: &Identity,
    clock: &DeviceClock,
    random: &dyn Random,
    kind: TokenKind,
) -> Result<Asked, ApiError> {
    let nonce: [u8; 16] = random::bytes(random).map_err(|_| ApiError::Random)?;
    let Identity { tenant, device, key } = identity;
    let mut request = TokenRequest::draft(tenant, device, clock.own(), &nonce, kind);
    if let Some(given) = clock.take_nonce() {
        request = request.by_nonce(&given);
    }
    let mut opens = None;
    if kind == TokenKind::Symmetric {
        let drawn = random::bytes(random).map_err(|_| ApiError::Random)?;
        let key = opens.insert(OpeningKey::from_random(drawn));
        request = request.answered_to(key.public());
    }
    Ok(Asked { bytes: request.signed_by(key).to_cbor(), opens })
}

/// The bytes of a request with which a family of refresh tokens begins.
fn family_request(
    identity: &Identity,
    clock: &DeviceClock,
    random: &dyn Random,
) -> Result<Vec<u8>, ApiError> {
    let nonce: [u8; 16] = random::bytes(random).map_err(|_| ApiError::Random)?;
    let Identity { tenant, device, key } = identity;
    let draft = TokenRequest::draft(tenant, device, clock.own(), &nonce, TokenKind::Bearer);
    let draft = match clock.take_nonce() {
        Some(given) => draft.by_nonce(&given),
        None => draft,
    };
    let wish = Wish { refresh_token: true, ..Wish::default() };
    let grant = AceGrant::Credentials(AskedToken::sign(draft, wish, key));
    Ok(AceRequest { grant, key: None, profile_asked: false }.to_cbor())
}

/// A request that was made, and the key that opens a symmetric key in its answer.
pub struct Asked {
    /// The request.
    pub bytes: Vec<u8>,
    /// The key that opens the answer.
    pub opens: Option<OpeningKey>,
}

impl Asked {
    fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// Reads a token answer or a refusal. The clock learns the time of a token, and from a refusal the nonce to sign.
///
/// # Errors
/// [`ApiError`] when it is a refusal or unreadable.
pub fn token_answer(
    body: &[u8],
    clock: &DeviceClock,
    opens: Option<&OpeningKey>,
) -> Result<TokenAnswer, ApiError> {
    let read = match opens {
        Some(opens) => TokenAnswer::from_cbor_for(body, opens),
        None => TokenAnswer::from_cbor(body),
    };
    if let Ok(answer) = read {
        clock.told(answer.server_time);
        if let Some(time) = time_of(&answer) {
            clock.hear(time);
        }
        return Ok(answer);
    }
    let refusal = RefusalAnswer::from_cbor(body).map_err(bad_answer)?;
    Err(of_refusal(refusal, clock))
}

/// The time at which an answer was made, as far as its token bears it out: `server_time` between `iat` and a window
/// later. A device cannot check the token, and need not: a proof names the token's hash, so one for a token that a
/// stranger made is good nowhere.
pub fn time_of(answer: &TokenAnswer) -> Option<UnixSeconds> {
    let issued = unverified_claims(&answer.access_token)?.issued;
    Some(answer.server_time.clamp(issued, issued.plus(PROOF_WINDOW_SECONDS)))
}

/// The next wait of a backoff.
pub fn longer(wait: Duration) -> Duration {
    wait.saturating_mul(2).min(limits::BACKOFF.1)
}

fn refused(error: HttpError, clock: &DeviceClock) -> ApiError {
    let HttpError::Status { response, code, .. } = &error else { return ApiError::Http(error) };
    if let Ok(refusal) = RefusalAnswer::from_cbor(&response.body) {
        return of_refusal(refusal, clock);
    }
    match code.as_deref().map(|code| (RefusalCode::parse(code), code)) {
        Some((Some(code), _)) => ApiError::Refused(code),
        Some((None, text)) => ApiError::Other(text.to_owned()),
        None => ApiError::Http(error),
    }
}

fn of_refusal(refusal: RefusalAnswer, clock: &DeviceClock) -> ApiError {
    clock.told(refusal.server_time);
    if let Some(nonce) = &refusal.cnonce {
        clock.given(nonce);
    }
    match refusal.code {
        Some(code) => ApiError::Refused(code),
        None => ApiError::Other(refusal.description),
    }
}

fn bad_answer<E: fmt::Display>(error: E) -> ApiError {
    ApiError::Http(HttpError::Decode(error.to_string()))
}
