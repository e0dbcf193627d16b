use std::sync::Arc;

use tessera_runtime::http::{HttpClient, HttpError, HttpLimits, Request, Server, ACE_CBOR};
use tessera_token::messages::{RefusalAnswer, TokenAnswer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{RELAYS, RELAY_ANSWER_BYTES, RELAY_WITHIN};

/// Carries token requests to provisioning, a bounded number at once.
pub struct Relay {
    client: Option<HttpClient>,
    permits: Arc<Semaphore>,
}

/// What provisioning said.
pub(super) enum Answer {
    /// A token, and the bytes of the answer.
    Token(TokenAnswer, Vec<u8>),
    /// A refusal, as bytes.
    Refusal(Vec<u8>),
    /// Nothing usable.
    Away,
}

impl Relay {
    /// A relay to this service; without one every request finds it away.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub fn new(service: Option<Server>) -> Result<Self, HttpError> {
        let limits = HttpLimits {
            total: RELAY_WITHIN,
            response_bytes: RELAY_ANSWER_BYTES,
            ..HttpLimits::default()
        };
        let client = service.map(|at| HttpClient::new(at, None, limits)).transpose()?;
        Ok(Self { client, permits: Arc::new(Semaphore::new(RELAYS)) })
    }

    /// A place for one request, when there is one.
    pub(super) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Carries one request, as it came: the broker sees no key.
    pub(super) async fn exchange(&self, request: Vec<u8>) -> Answer {
        let Some(client) = &self.client else { return Answer::Away };
        let request = Request::new(tessera_runtime::http::Method::Post, "/v1/token")
            .accept(ACE_CBOR)
            .body(ACE_CBOR, request);
        match client.send(request).await {
            Ok(response) => match TokenAnswer::from_cbor(&response.body) {
                Ok(answer) => Answer::Token(answer, response.body),
                Err(_) => Answer::Away,
            },
            Err(HttpError::Status { response, .. })
                if RefusalAnswer::from_cbor(&response.body).is_ok() =>
            {
                Answer::Refusal(response.body)
            }
            Err(error) => {
                tracing::warn!(%error, "provisioning did not answer a token request");
                Answer::Away
            }
        }
    }
}
