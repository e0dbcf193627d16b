//! Carries token requests, enrolments and questions to the trust feed to provisioning, within bounds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tessera_runtime::http::{
    HttpClient, HttpError, HttpLimits, HttpResponse, Method, Request, Server, ACE_CBOR,
};
use tessera_runtime::secret::Secret;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::limits::SNAPSHOT_ANSWER_BYTES;
use tessera_token::messages::{ClaimCheck, MessageError, NonceAnswer, RefusalAnswer, TokenAnswer};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{UplinkAsk, VERIFIER_SHARED_HEADER};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{
    RELAYS, RELAY_ANSWER_BYTES, RELAY_BURST, RELAY_DEVICES, RELAY_WITHIN, UPLINK_ASKS_PER_SECOND,
};

mod feed;

/// Carries requests to provisioning; of token requests a bounded number at once.
pub(crate) struct Relay {
    client: Option<HttpClient>,
    permits: Arc<Semaphore>,
    turns: Mutex<Turns>,
    /// The feed has larger answers, and rates of its own.
    feed: Option<HttpClient>,
    feed_turns: Mutex<Turns>,
}

/// The answer of provisioning.
pub(crate) enum Answer<T> {
    /// The thing that was asked for, and the bytes of the answer.
    Given(T, Vec<u8>),
    /// A refusal, as bytes, and its code.
    Refusal(Vec<u8>, RefusalCode),
    /// Nothing usable.
    Away,
}

impl Relay {
    /// A relay to this service; without one every request finds it away. `token` is the broker's own credential: the
    /// service then charges each device, and not this broker's address. `per_device` is in requests a second.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub(crate) fn new(
        service: Option<Server>,
        token: Option<Secret<String>>,
        per_device: u32,
    ) -> Result<Self, HttpError> {
        let limits = HttpLimits {
            total: RELAY_WITHIN,
            response_bytes: RELAY_ANSWER_BYTES,
            ..HttpLimits::default()
        };
        let client = |limits| {
            let made = service.clone().map(|at| HttpClient::new(at, token.clone(), limits));
            made.transpose()
        };
        let large = HttpLimits { response_bytes: SNAPSHOT_ANSWER_BYTES, ..limits };
        Ok(Self {
            client: client(limits)?,
            permits: Arc::new(Semaphore::new(RELAYS)),
            turns: Mutex::new(Turns::new(per_device)),
            feed: client(large)?,
            feed_turns: Mutex::new(Turns::new(UPLINK_ASKS_PER_SECOND)),
        })
    }

    /// Charges a request to its device, whatever comes of it. `now` is monotonic.
    pub(crate) fn admits(&self, tenant: &TenantId, device: &DeviceId, now: Duration) -> bool {
        self.turns.lock().take(tenant, device, now)
    }

    /// The same for a question to the trust feed.
    pub(crate) fn admits_uplink(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        now: Duration,
    ) -> bool {
        self.feed_turns.lock().take(tenant, device, now)
    }

    /// Asks the trust feed as a reader of this tenant alone: the answer, and whether the name of the verifier is shared.
    ///
    /// # Errors
    /// The code of the service; `not_ready` when it has no answer.
    pub(crate) async fn feed(
        &self,
        ask: &UplinkAsk,
        tenant: &TenantId,
    ) -> Result<(Bytes, bool), RefusalCode> {
        let client = self.feed.as_ref().ok_or(RefusalCode::NotReady)?;
        let path = feed::path(ask, tenant);
        match client.send(feed::request(ask, &path)).await {
            Ok(answer) => {
                let shared = answer.header(VERIFIER_SHARED_HEADER).is_some();
                Ok((answer.body.into(), shared))
            }
            Err(error) => {
                let code = error.code().and_then(RefusalCode::parse);
                if code.is_none() {
                    tracing::warn!(%error, "relayed question to the trust feed has no usable answer");
                }
                // A fault of the account of this broker is none of the gateway.
                let own = |code: &RefusalCode| feed::is_of_the_account(*code);
                Err(code.filter(|code| !own(code)).unwrap_or(RefusalCode::NotReady))
            }
        }
    }

    /// A place for one request, when there is one.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Carries one token request, as it came: the broker sees no key.
    pub(crate) async fn exchange(&self, request: Vec<u8>) -> Answer<TokenAnswer> {
        self.ask("/v1/token", request, body(TokenAnswer::from_cbor)).await
    }

    /// Asks for a nonce to sign for an enrolment.
    pub(crate) async fn enrol_nonce(&self) -> Answer<NonceAnswer> {
        self.ask("/v1/enrol/nonce", Vec::new(), body(NonceAnswer::from_cbor)).await
    }

    /// Carries one enrolment, as it came.
    pub(crate) async fn enrol(&self, request: Vec<u8>) -> Answer<TokenAnswer> {
        self.ask("/v1/enrol", request, body(TokenAnswer::from_cbor)).await
    }

    /// Asks whether a claim code is good for a device.
    pub(crate) async fn check(&self, claim: &ClaimCheck) -> Answer<()> {
        let good = |response: &HttpResponse| match response.status {
            204 => Ok(()),
            other => Err(format!("HTTP status {other} in the place of 204")),
        };
        self.ask("/v1/enrol/check", claim.to_cbor(), good).await
    }

    async fn ask<T>(
        &self,
        path: &'static str,
        request: Vec<u8>,
        read: impl FnOnce(&HttpResponse) -> Result<T, String>,
    ) -> Answer<T> {
        let Some(client) = &self.client else { return Answer::Away };
        let request = Request::new(Method::Post, path).accept(ACE_CBOR).body(ACE_CBOR, request);
        let error = match client.send(request).await {
            Ok(response) => match read(&response) {
                Ok(given) => return Answer::Given(given, response.body),
                Err(error) => error,
            },
            Err(HttpError::Status { status, response, .. }) => {
                match RefusalAnswer::from_cbor(&response.body) {
                    // A code of a later version counts as the most general one.
                    Ok(RefusalAnswer { code, .. }) => {
                        let code = code.unwrap_or(RefusalCode::RequestMalformed);
                        return Answer::Refusal(response.body, code);
                    }
                    Err(error) => format!("HTTP status {status}: {error}"),
                }
            }
            Err(error) => error.to_string(),
        };
        tracing::warn!(path, %error, "relayed request failed: no usable answer from provisioning");
        Answer::Away
    }
}

/// Reads the body of an answer.
fn body<T>(
    read: impl FnOnce(&[u8]) -> Result<T, MessageError>,
) -> impl FnOnce(&HttpResponse) -> Result<T, String> {
    move |response| read(&response.body).map_err(|error| error.to_string())
}

/// How often each device may ask: a bucket of [`RELAY_BURST`] requests. A device whose bucket is full has no row.
struct Turns {
    per_second: u32,
    /// Thousandths of a request that were used, and when that was so.
    used: HashMap<(TenantId, DeviceId), (u64, Duration)>,
}

impl Turns {
    fn new(per_second: u32) -> Self {
        Self { per_second, used: HashMap::new() }
    }

    fn take(&mut self, tenant: &TenantId, device: &DeviceId, now: Duration) -> bool {
        let rate = u64::from(self.per_second);
        let left = |(used, at): (u64, Duration)| {
            let millis = u64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(u64::MAX);
            used.saturating_sub(millis.saturating_mul(rate))
        };
        let key = (tenant.clone(), device.clone());
        if self.used.len() >= RELAY_DEVICES && !self.used.contains_key(&key) {
            self.used.retain(|_, row| left(*row) > 0);
            if self.used.len() >= RELAY_DEVICES {
                return false;
            }
        }
        let row = self.used.entry(key).or_insert((0, now));
        let used = left(*row) + 1000;
        if used > u64::from(RELAY_BURST) * 1000 {
            return false;
        }
        *row = (used, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_has_its_own_turns_and_memory_is_bounded() {
        let mut turns = Turns::new(2);
        let (tenant, device) = (TenantId::parse("t").unwrap(), DeviceId::parse("d").unwrap());
        let at = Duration::from_millis;
        let most = RELAY_BURST as usize;
        assert_eq!((0..500).filter(|_| turns.take(&tenant, &device, at(0))).count(), most);
        assert!(!turns.take(&tenant, &device, at(499)));
        assert!(turns.take(&tenant, &device, at(500)));
        for n in 0..RELAY_DEVICES + 10 {
            let other = DeviceId::parse(&format!("d{n}")).unwrap();
            let has_room = n + 1 < RELAY_DEVICES;
            assert_eq!(turns.take(&tenant, &other, at(500)), has_room, "{n}");
        }
        assert_eq!(turns.used.len(), RELAY_DEVICES);
        let late = DeviceId::parse("late").unwrap();
        assert!(turns.take(&tenant, &late, at(60_000)), "those that waited have no row");
    }
}
