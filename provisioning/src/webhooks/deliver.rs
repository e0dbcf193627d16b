//! One attempt to deliver one message. Its row is put off before the attempt, durably: of several processes one sends it, and
//! when that one stops in the middle another sends it again, later.

use tessera_runtime::http::{HttpError, HttpResponse};
use tessera_runtime::random;
use tessera_runtime::sql::Batch;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;

use super::message::Message;
use super::queue::key;
use super::registry::{known, signing};
use super::retry::{end, step, Step};
use crate::audit::Actor;
use crate::limits::{WEBHOOK_ATTEMPTS, WEBHOOK_LEASE_SECONDS, WEBHOOK_WHY_CHARS};
use crate::records::webhooks::{
    AttemptOutcome, WebhookAttempt, WebhookMessage, WebhookRecord, WebhookState,
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

/// The answer of a receiver, or the fault on the way.
struct Answered {
    status: Option<u16>,
    /// `None`: it has the message.
    why: Option<String>,
    /// Seconds for which it wants to be left alone.
    later: Option<u64>,
}

impl Answered {
    fn of(answer: Result<HttpResponse, HttpError>) -> Self {
        let later = |response: &HttpResponse| response.header("retry-after")?.trim().parse().ok();
        match answer {
            Ok(response) => Self { status: Some(response.status), why: None, later: None },
            Err(error) => {
                let (status, later) = match &error {
                    HttpError::Status { status, response, .. } => (Some(*status), later(response)),
                    _ => (None, None),
                };
                // An answer is text of the receiver: only its status is kept.
                let why = match status {
                    Some(status) => format!("the receiver answered {status}"),
                    None => error.to_string(),
                };
                let why = why.chars().take(WEBHOOK_WHY_CHARS).collect();
                Self { status, why: Some(why), later }
            }
        }
    }
}

/// Sends a message once, and puts the outcome on record.
pub(super) async fn attempt(service: &Service, due: &Due) -> Result<(), Refused> {
    let Some(leased) = lease(service, due).await? else { return Ok(()) };
    let (tenant, id) = (&due.tenant, due.id.as_str());
    let (record, _) = match known(service, tenant, id).await {
        Err(refused) if refused.code == RefusalCode::NotFound => return Ok(()),
        known => known?,
    };
    let Some(row) = service.tables.audit.get(one(due.number)).await? else {
        return Err(RefusalCode::Internal.into());
    };
    let keys = signing(service, tenant, id, &record)?;
    let message = Message::of(due.number, &row.entry);
    let headers = message.headers(service.now().get(), &keys);
    let began = service.clock.monotonic();
    let answer = service.outward.post(&record.url, &headers, message.body).await;
    let took = service.clock.monotonic().saturating_sub(began);
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    note(service, due, &leased, (Answered::of(answer), millis)).await
}

/// Puts the message off, so that no other process sends it meanwhile. `None`: another one has it, or it is gone.
async fn lease(service: &Service, due: &Due) -> Result<Option<WebhookMessage>, Refused> {
    let table = &service.tables.webhook_messages;
    let leased = WebhookMessage {
        due: service.now().get().saturating_add(WEBHOOK_LEASE_SECONDS),
        attempts: due.row.attempts.saturating_add(1),
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
    (answered, millis): (Answered, u64),
) -> Result<(), Refused> {
    let Due { tenant, id, number, .. } = due;
    let draw = random::number(&*service.random)?;
    let next = answered.why.as_ref().map(|_| step(leased.attempts, draw, answered.later));
    let outcome = match &next {
        None => AttemptOutcome::Delivered,
        Some(Step::Again(_)) => AttemptOutcome::Failed,
        Some(Step::GiveUp) => AttemptOutcome::GivenUp,
    };
    until_committed(async || {
        let (record, progress) = match known(service, tenant, id).await {
            Err(refused) if refused.code == RefusalCode::NotFound => {
                return Ok(Attempt::Committed(()));
            }
            known => known?,
        };
        let (tables, now) = (&service.tables, service.now().get());
        let mut batch = Batch::new();
        let row_key = key(tenant.as_str(), id, *number);
        batch.expect(&tables.webhook_messages, row_key.clone(), leased);
        match next {
            Some(Step::Again(pause)) => {
                let later = WebhookMessage { due: now.saturating_add(pause), ..leased.clone() };
                batch.put(&tables.webhook_messages, row_key, &later);
            }
            Some(Step::GiveUp) | None => batch.delete(&tables.webhook_messages, row_key),
        }
        let mut fares = progress.clone();
        fares.attempts = fares.attempts.saturating_add(1);
        fares.failing_since = answered.why.as_ref().map(|_| progress.failing_since.unwrap_or(now));
        batch.expect(&tables.webhook_states, pair(tenant, id.as_str()), &progress);
        batch.put(&tables.webhook_states, pair(tenant, id.as_str()), &fares);
        let told = WebhookAttempt {
            at: now,
            number: *number,
            nth: leased.attempts,
            outcome,
            status: answered.status.map(u64::from),
            reason: answered.why.clone(),
            millis,
        };
        batch.put(&tables.webhook_attempts, key(tenant.as_str(), id, fares.attempts), &told);
        if let Some(old) = fares.attempts.checked_sub(WEBHOOK_ATTEMPTS) {
            batch.delete(&tables.webhook_attempts, key(tenant.as_str(), id, old));
        }
        let ends = fares.failing_since.and_then(|since| end(answered.status, since, now));
        match ends.filter(|_| record.state == WebhookState::Active) {
            None => service.write_unnoted(batch).await,
            Some(why) => disable(service, (tenant, id), &record, (why, batch)).await,
        }
    })
    .await?;
    service.metrics.webhook_messages.inc(&[outcome.as_str()]);
    Ok(())
}

async fn disable(
    service: &Service,
    (tenant, id): (&TenantId, &str),
    old: &WebhookRecord,
    (why, mut batch): (String, Batch),
) -> Result<Attempt<()>, Refused> {
    let new =
        WebhookRecord { state: WebhookState::Disabled, reason: Some(why.clone()), ..old.clone() };
    batch.expect(&service.tables.webhooks, pair(tenant, id), old);
    batch.put(&service.tables.webhooks, pair(tenant, id), &new);
    let entry = service.entry(&Actor::service(), "webhook.disable", tenant.as_str(), id);
    let tried = service.write(batch, entry.detail(&why)).await?;
    if tried == Attempt::Committed(()) {
        tracing::warn!(%tenant, webhook = id, why, "a webhook was disabled");
    }
    Ok(tried)
}
