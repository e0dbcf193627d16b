//! One attempt to deliver one message. Its row is put off before the attempt, durably: of several processes one sends it, and
//! when that one stops in the middle another sends it again, later.

use tessera_runtime::http::{Answered, HttpError};
use tessera_runtime::random;
use tessera_runtime::sql::Batch;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;

use super::message::Message;
use super::queue::key;
use super::registry::{changed, record_of, signing};
use super::retry::{end, step, Step};
use crate::audit::Actor;
use crate::limits::{
    WEBHOOK_ATTEMPTS, WEBHOOK_FAILED_LATELY_SECONDS, WEBHOOK_LEASE_SECONDS, WEBHOOK_WHY_CHARS,
};
use crate::records::webhooks::{
    AttemptOutcome, WebhookAttempt, WebhookMessage, WebhookProgress, WebhookRecord, WebhookState,
};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{one, pair};
use crate::write::{until_committed, Attempt};

/// The message of an attempt.
pub(super) struct Due {
    pub(super) tenant: TenantId,
    pub(super) id: String,
    pub(super) number: u64,
    pub(super) row: WebhookMessage,
}

/// The outcome on the way to a receiver.
struct Outcome {
    status: Option<u16>,
    /// `None`: it has the message.
    why: Option<String>,
    /// Seconds for which it wants to be left alone.
    later: Option<u64>,
    millis: u64,
}

impl Outcome {
    fn of(answer: Result<Answered, HttpError>, millis: u64) -> Self {
        let (status, later, why) = match answer {
            Ok(Answered { status, retry_after }) => {
                let why = match status {
                    200..=299 => None,
                    300..=399 => {
                        Some(format!("the receiver answered {status}: redirects are not followed"))
                    }
                    _ => Some(format!("the receiver answered {status}")),
                };
                (Some(status), retry_after, why)
            }
            Err(error) => (None, None, Some(words(&error))),
        };
        let why = why.map(|why| why.chars().take(WEBHOOK_WHY_CHARS).collect());
        Self { status, why, later, millis }
    }

    /// A fault of this service: nothing was sent.
    fn here(why: &str) -> Self {
        Self { status: None, why: Some(why.to_owned()), later: None, millis: 0 }
    }
}

/// The words for a tenant. They tell nothing of the network of the server: neither addresses nor whether a name is known there.
fn words(error: &HttpError) -> String {
    match error {
        HttpError::Timeout => "no answer in time".to_owned(),
        HttpError::Tls(error) => error.to_string(),
        HttpError::NotOutward(_) | HttpError::BadUrl(_) | HttpError::InClear(_) => error.to_string(),
        HttpError::Connect(_) => {
            "no connection: nothing answers there, or the name leads to no address that may be called"
                .to_owned()
        }
        _ => "the connection broke".to_owned(),
    }
}

/// Sends a message once, and puts the outcome on record.
pub(super) async fn attempt(service: &Service, due: &Due) -> Result<(), Refused> {
    let Some(leased) = lease(service, due).await? else { return Ok(()) };
    let (tenant, id) = (&due.tenant, due.id.as_str());
    let record = match record_of(service, tenant, id).await {
        Err(refused) if refused.code == RefusalCode::NotFound => return Ok(()),
        record => record?,
    };
    let Some(row) = service.tables.audit.get(one(due.number)).await? else {
        let outcome = Outcome::here("the audit log has no such entry");
        return note(service, due, &leased, (outcome, true)).await;
    };
    let Ok(keys) = signing(service, tenant, id, &record) else {
        let outcome = Outcome::here("the secret of the webhook does not open: rotate it");
        return note(service, due, &leased, (outcome, false)).await;
    };
    let message = Message::of(due.number, &row);
    let headers = message.headers(service.now().get(), &keys);
    let began = service.clock.monotonic();
    let answer = service.outward.post(&record.url, &headers, message.body).await;
    if let Err(error) = &answer {
        tracing::debug!(%tenant, webhook = id, %error, "an event did not reach its receiver");
    }
    let took = service.clock.monotonic().saturating_sub(began);
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    note(service, due, &leased, (Outcome::of(answer, millis), false)).await
}

/// Puts the message off, so that no other process sends it meanwhile. `None`: another one has it, or it is gone.
async fn lease(service: &Service, due: &Due) -> Result<Option<WebhookMessage>, Refused> {
    let table = &service.tables.webhook_messages;
    let leased = WebhookMessage {
        due: service.now().get().saturating_add(WEBHOOK_LEASE_SECONDS),
        ..due.row.clone()
    };
    let mut batch = Batch::new();
    let key = key(due.tenant.as_str(), &due.id, due.number);
    batch.expect(table, key.clone(), &due.row);
    batch.put(table, key, &leased);
    match service.write_unnoted(batch).await? {
        Attempt::Committed(()) => Ok(Some(leased)),
        Attempt::Conflict => Ok(None),
    }
}

/// Writes the outcome: the message goes or waits, the attempt can be read, and a webhook that is at its end is disabled.
async fn note(
    service: &Service,
    due: &Due,
    leased: &WebhookMessage,
    (outcome, is_last): (Outcome, bool),
) -> Result<(), Refused> {
    let Due { tenant, id, number, .. } = due;
    let draw = random::number(&*service.random)?;
    let nth = leased.attempts.saturating_add(1);
    let next = outcome.why.as_ref().map(|_| match is_last {
        true => Step::GiveUp,
        false => step(nth, draw, outcome.later),
    });
    let told = match &next {
        None => AttemptOutcome::Delivered,
        Some(Step::Again(_)) => AttemptOutcome::Failed,
        Some(Step::GiveUp) => AttemptOutcome::GivenUp,
    };
    until_committed(async || {
        let record = match record_of(service, tenant, id).await {
            Err(refused) if refused.code == RefusalCode::NotFound => {
                return Ok(Attempt::Committed(()));
            }
            record => record?,
        };
        let (tables, now) = (&service.tables, service.now().get());
        let mut batch = Batch::new();
        let row_key = key(tenant.as_str(), id, *number);
        let present = tables.webhook_messages.get(row_key.clone()).await?;
        // Else the lease was over, and another attempt is under way: the outcome of this one is on record all the same.
        if present.as_ref() == Some(leased) {
            batch.expect(&tables.webhook_messages, row_key.clone(), leased);
            match next {
                Some(Step::Again(pause)) => {
                    let later = WebhookMessage { due: now.saturating_add(pause), attempts: nth };
                    batch.put(&tables.webhook_messages, row_key, &later);
                }
                Some(Step::GiveUp) | None => batch.delete(&tables.webhook_messages, row_key),
            }
        }
        let state_key = pair(tenant, id.as_str());
        let before = tables.webhook_states.get(state_key.clone()).await?;
        let fares = fares(before.as_ref(), outcome.why.is_some(), now);
        batch.expect_same(&tables.webhook_states, state_key.clone(), before.as_ref());
        batch.put(&tables.webhook_states, state_key, &fares);
        let row = WebhookAttempt {
            at: now,
            number: *number,
            nth,
            outcome: told,
            status: outcome.status.map(u64::from),
            reason: outcome.why.clone(),
            millis: outcome.millis,
        };
        batch.put(&tables.webhook_attempts, key(tenant.as_str(), id, fares.attempts), &row);
        if let Some(old) = fares.attempts.checked_sub(WEBHOOK_ATTEMPTS) {
            batch.delete(&tables.webhook_attempts, key(tenant.as_str(), id, old));
        }
        let ends = fares.failing_since.and_then(|since| end(outcome.status, since, now));
        match ends.filter(|_| record.state == WebhookState::Active) {
            None => service.write_unnoted(batch).await,
            Some(why) => disable(service, (tenant, id), &record, (why, batch)).await,
        }
    })
    .await?;
    service.metrics.webhook_messages.inc(&[told.as_str()]);
    Ok(())
}

/// How messages fare after an attempt. A failure long after the one before begins anew: in between nothing was tried, or the
/// clock was wrong.
fn fares(before: Option<&WebhookProgress>, has_failed: bool, now: u64) -> WebhookProgress {
    let mut fares = before.cloned().unwrap_or_default();
    fares.attempts = fares.attempts.saturating_add(1);
    let lately = |last: &u64| now.abs_diff(*last) <= WEBHOOK_FAILED_LATELY_SECONDS;
    let goes_on = fares.failed_last.as_ref().is_some_and(lately);
    fares.failing_since =
        has_failed.then(|| fares.failing_since.filter(|_| goes_on).unwrap_or(now));
    fares.failed_last = has_failed.then_some(now);
    fares
}

async fn disable(
    service: &Service,
    (tenant, id): (&TenantId, &str),
    old: &WebhookRecord,
    (why, mut batch): (String, Batch),
) -> Result<Attempt<()>, Refused> {
    let new =
        WebhookRecord { state: WebhookState::Disabled, reason: Some(why.clone()), ..old.clone() };
    changed(service, &mut batch).await?;
    batch.expect(&service.tables.webhooks, pair(tenant, id), old);
    batch.put(&service.tables.webhooks, pair(tenant, id), &new);
    let entry = service.entry(&Actor::service(), "webhook.disable", tenant.as_str(), id);
    let tried = service.write(batch, entry.detail(&why)).await?;
    if tried == Attempt::Committed(()) {
        tracing::warn!(%tenant, webhook = id, why, "a webhook was disabled");
    }
    Ok(tried)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_that_follow_each_other_add_up() {
        let day = 86_400;
        let first = fares(None, true, 100);
        assert_eq!((first.failing_since, first.attempts), (Some(100), 1));
        let next = fares(Some(&first), true, 100 + day);
        assert_eq!((next.failing_since, next.failed_last), (Some(100), Some(100 + day)));
        // Nothing was tried for long, or the clock has jumped.
        let late = fares(Some(&next), true, 100 + 9 * day);
        assert_eq!(late.failing_since, Some(100 + 9 * day));
        let good = fares(Some(&next), false, 200 + day);
        assert_eq!((good.failing_since, good.failed_last, good.attempts), (None, None, 3));
    }

    #[test]
    fn words_tell_nothing_of_the_network_of_the_server() {
        let refused = words(&HttpError::Connect("10.20.3.4 is no public address".to_owned()));
        let unknown = words(&HttpError::Connect("failed to lookup address".to_owned()));
        assert_eq!(refused, unknown);
        assert!(!words(&HttpError::Transport("secret".to_owned())).contains("secret"));
        let sent = Outcome::of(Ok(Answered { status: 101, retry_after: None }), 1);
        assert!(sent.why.is_some());
    }
}
