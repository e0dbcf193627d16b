//! Partner tokens: opaque passwords of other parties, which provisioning exchanges for access tokens (RFC 7662).
//!
//! 1. The form of the token is checked here: a wrong checksum asks nothing.
//! 2. An answer of the last 30 seconds is used again ([`known`]).
//! 3. Provisioning is asked, within bounds for each address prefix and for all together ([`asks`]).
//! 4. The access token passes the chain like each other one, so epochs and revocations hold at once. An answer that the chain
//!    refuses is forgotten.
//! 5. The use of each token is counted and told to provisioning ([`report`], [`uses`]).

mod asks;
mod known;
mod limits;
mod report;
#[cfg(test)]
mod tests;
mod uses;

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use tessera_runtime::credential::{self, Class};
use tessera_runtime::http::{HttpClient, HttpError, HttpLimits, Method, Request, Server};
use tessera_runtime::secret::Secret;
use tessera_token::encoding::from_base64url;
use tessera_token::hash::sha256;
use tessera_token::refusal::RefusalCode;

use crate::admission::Prefix;
use crate::limits::{PARTNER_ANSWER_BYTES, PARTNER_ASK_PAUSE, PARTNER_ASK_WITHIN};
use asks::Asks;
use known::Known;

pub use limits::PartnerTokens;
pub(crate) use uses::{PartnerUse, Uses};

/// The exchange of partner tokens for access tokens.
pub(crate) struct Partners {
    accepts: PartnerTokens,
    client: Option<HttpClient>,
    known: Mutex<Known>,
    asks: Asks,
    /// Nothing is asked before this monotonic time.
    pause: Mutex<Duration>,
    /// One report at a time.
    reporting: tokio::sync::Mutex<()>,
    pub(crate) uses: Uses,
}

/// An access token for a partner token.
pub(crate) struct Exchanged {
    /// The access token.
    pub(crate) access: Bytes,
    /// Whether it is an answer of before, so that provisioning may know better.
    pub(crate) is_kept: bool,
}

/// The members of an introspection that are of use here.
#[derive(Deserialize)]
struct Introspection {
    active: bool,
    access_token: Option<String>,
}

impl Partners {
    /// Without a service and a credential for it no partner token is accepted.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub(crate) fn new(
        accepts: PartnerTokens,
        service: Option<Server>,
        token: Option<Secret<String>>,
    ) -> Result<Self, HttpError> {
        let limits = HttpLimits {
            total: PARTNER_ASK_WITHIN,
            response_bytes: PARTNER_ANSWER_BYTES,
            ..HttpLimits::default()
        };
        let at = service.filter(|_| accepts != PartnerTokens::Off).zip(token);
        if accepts != PartnerTokens::Off && at.is_none() {
            tracing::warn!(
                "partner_tokens is {}, but this broker has no provisioning or no feed token to ask: it accepts none",
                accepts.name()
            );
        }
        let client = at.map(|(at, token)| HttpClient::new(at, Some(token), limits)).transpose()?;
        Ok(Self {
            accepts,
            client,
            known: Mutex::default(),
            asks: Asks::default(),
            pause: Mutex::default(),
            reporting: tokio::sync::Mutex::default(),
            uses: Uses::default(),
        })
    }

    /// Whether a password has the form of a partner token.
    pub(crate) fn is_partner_token(password: &[u8]) -> bool {
        password.starts_with(Class::Partner.prefix().as_bytes())
    }

    /// An access token for this partner token, for a connection from `from`. `is_encrypted`: by this broker. `now` is
    /// monotonic.
    ///
    /// # Errors
    /// `partner_not_accepted`, `credential_malformed`, `partner_token_invalid`, `limit_reached`, `not_ready`.
    pub(crate) async fn exchange(
        &self,
        token: &Secret<String>,
        is_encrypted: bool,
        (from, suspect): (Prefix, bool),
        now: Duration,
    ) -> Result<Exchanged, RefusalCode> {
        let is_open = match self.accepts {
            PartnerTokens::Off => false,
            PartnerTokens::Encrypted => is_encrypted,
            PartnerTokens::InClear => true,
        };
        let Some(client) = self.client.as_ref().filter(|_| is_open) else {
            return Err(RefusalCode::PartnerNotAccepted);
        };
        let form = credential::read(token.expose());
        if form.is_ok_and(|form| form.class == Class::Partner) {
            return self.ask(client, token, (from, suspect), now).await;
        }
        Err(RefusalCode::CredentialMalformed)
    }

    async fn ask(
        &self,
        client: &HttpClient,
        token: &Secret<String>,
        (from, suspect): (Prefix, bool),
        now: Duration,
    ) -> Result<Exchanged, RefusalCode> {
        let name = sha256(token.expose().as_bytes());
        let kept = |answer: Result<Bytes, RefusalCode>| {
            answer.map(|access| Exchanged { access, is_kept: true })
        };
        if let Some(answer) = self.known.lock().get(&name, now) {
            return kept(answer);
        }
        let _turn = self.asks.turn(name).await?;
        // Another with the same token may have asked meanwhile.
        if let Some(answer) = self.known.lock().get(&name, now) {
            return kept(answer);
        }
        let was_good = self.known.lock().was_good(&name);
        let _place = match was_good {
            true => self.asks.place_of_known().await?,
            false => self.asks.place(from, suspect).await?,
        };
        if now < *self.pause.lock() {
            return Err(RefusalCode::NotReady);
        }
        let answer = introspect(client, token).await.inspect_err(|code| {
            if *code == RefusalCode::NotReady {
                *self.pause.lock() = now + PARTNER_ASK_PAUSE;
            }
        })?;
        self.known.lock().put(name, answer.clone(), now);
        answer.map(|access| Exchanged { access, is_kept: false })
    }

    /// Forgets the answer for this token: the chain has refused it.
    pub(crate) fn forget(&self, token: &Secret<String>) {
        self.known.lock().forget(&sha256(token.expose().as_bytes()));
    }
}

/// The outer error says nothing of the token, and is not kept.
async fn introspect(
    client: &HttpClient,
    token: &Secret<String>,
) -> Result<Result<Bytes, RefusalCode>, RefusalCode> {
    let body = serde_json::json!({ "token": token.expose() }).to_string().into_bytes();
    let request = Request::new(Method::Post, "/introspect")
        .accept("application/json")
        .body("application/json", body);
    let away = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, "introspection of a partner token failed: no usable answer from provisioning");
        RefusalCode::NotReady
    };
    let answer = match client.send(request).await {
        Ok(answer) => answer,
        Err(HttpError::Status { status: 429, .. }) => return Err(RefusalCode::LimitReached),
        Err(error) => return Err(away(&error)),
    };
    let read = serde_json::from_slice::<Introspection>(&answer.body);
    let told = read.map_err(|error| away(&error))?;
    let access = told.access_token.as_ref().and_then(|text| from_base64url(text));
    match (told.active, access) {
        (false, _) => Ok(Err(RefusalCode::PartnerTokenInvalid)),
        (true, Some(access)) => Ok(Ok(Bytes::from(access))),
        (true, None) => Err(away(&"the answer has no access token: provisioning is older, or the account of this broker \
             has no role feed")),
    }
}
