//! Requests that are done once (Idempotency-Key): the same request within a day gets the same answer, and its effect is not
//! made again.
//!
//! The answer is written in the batch of the effect: there is no moment at which one is there without the other. An answer may
//! show a secret, so it is sealed to a key that comes from the Idempotency-Key. The database has neither that key nor the
//! Idempotency-Key, so it tells no secret to a reader. Two requests at once make the same row, and the database takes one of
//! the batches.

use serde::{Deserialize, Serialize};
use tessera_runtime::random;
use tessera_runtime::secret::Secret;
use tessera_runtime::sql::Batch;
use tessera_token::hash::sha256;
use tessera_token::refusal::RefusalCode;
use tessera_token::seal::{seal, OpeningKey};

use crate::limits::{KEPT_PER_ACCOUNT, KEPT_SECONDS};
use crate::mac;
use crate::records::kept::{KeptAnswer, KeptRequest};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::one;

const INFO: &[u8] = b"tessera-answer-1";

/// A request that is to be done once.
pub(crate) struct Asked {
    scope: [u8; 32],
    account: String,
    fingerprint: [u8; 32],
    key: Secret<String>,
}

/// An answer, to the byte. No `Debug`: it may show a secret.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    /// JSON.
    pub(crate) body: String,
}

impl Asked {
    /// A request of this method and path (`what`).
    pub(crate) fn new(account: &str, what: &str, body: &[u8], key: Secret<String>) -> Self {
        let mut text = Vec::new();
        for part in [account, what, key.expose()] {
            text.extend((part.len() as u64).to_be_bytes());
            text.extend(part.as_bytes());
        }
        Self { scope: sha256(&text), account: account.to_owned(), fingerprint: sha256(body), key }
    }

    /// The name of the request: it says nothing of its Idempotency-Key.
    pub(crate) fn scope(&self) -> &[u8; 32] {
        &self.scope
    }

    fn opening(&self) -> OpeningKey {
        let key = mac::of(self.key.expose().as_bytes(), &[INFO, &self.scope]);
        OpeningKey::from_random(*key.expose())
    }

    /// The answer that was given before.
    ///
    /// # Errors
    /// `idempotency_key_reused` when that request had another body.
    pub(crate) async fn answered(&self, service: &Service) -> Result<Option<Answer>, Refused> {
        let tables = &service.tables;
        let Some(request) = tables.kept_requests.get(one(self.scope)).await? else {
            return Ok(None);
        };
        if request.fingerprint != self.fingerprint {
            return Err(RefusalCode::IdempotencyKeyReused.into());
        }
        let Some(answer) = tables.kept_answers.get(one(self.scope)).await? else {
            // It was removed between the two reads.
            return Ok(None);
        };
        let plain = self.opening().open(&answer.0, INFO, &self.scope);
        let plain = plain.ok_or(RefusalCode::Internal)?;
        let answer = serde_json::from_slice(&plain).map_err(|_| RefusalCode::Internal)?;
        Ok(Some(answer))
    }

    /// Keeps the answer, in the batch that makes the effect. Of many kept answers of the account the oldest goes.
    pub(crate) async fn keep(
        &self,
        service: &Service,
        batch: &mut Batch,
        answer: &Answer,
    ) -> Result<(), Refused> {
        let tables = &service.tables;
        let account = [("account", self.account.as_str().into())];
        let all = ("expires", 0..=i64::MAX.unsigned_abs());
        let kept = tables.kept_requests.find_within(&account, all, KEPT_PER_ACCOUNT).await?;
        let surplus = (kept.len() + 1).saturating_sub(KEPT_PER_ACCOUNT);
        for (key, _) in kept.into_iter().take(surplus) {
            batch.delete(&tables.kept_answers, key.clone());
            batch.delete(&tables.kept_requests, key);
        }
        let drawn = random::bytes::<32>(&*service.random)?;
        let plain = serde_json::to_vec(answer).map_err(|_| RefusalCode::Internal)?;
        let sealed = seal(&self.opening().public(), drawn, INFO, &self.scope, &plain);
        let sealed = KeptAnswer(sealed.ok_or(RefusalCode::Internal)?);
        let request = KeptRequest {
            account: self.account.clone(),
            fingerprint: self.fingerprint,
            expires: service.now().get().saturating_add(KEPT_SECONDS),
        };
        batch.insert(&tables.kept_requests, one(self.scope), &request);
        batch.put(&tables.kept_answers, one(self.scope), &sealed);
        Ok(())
    }
}

/// The part that a request of an account adds to the batch of its effect: its answer, when it is to be done once.
pub(crate) struct Keep<'a, T> {
    pub(crate) asked: Option<&'a Asked>,
    /// The answer to what was made.
    pub(crate) answer: &'a dyn Fn(&T) -> Result<Answer, Refused>,
}

impl<T> Keep<'_, T> {
    pub(crate) async fn with(
        &self,
        service: &Service,
        batch: &mut Batch,
        made: &T,
    ) -> Result<(), Refused> {
        match self.asked {
            Some(asked) => asked.keep(service, batch, &(self.answer)(made)?).await,
            None => Ok(()),
        }
    }
}
