//! From entries of the audit log to messages. One mark of the database says up to which entry this was done: the messages of
//! some entries and the mark that is behind them are one write, so each entry becomes its messages once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tessera_runtime::sql::{Batch, Key, Record, Table};
use tessera_token::refusal::RefusalCode;

use super::registry::wants;
use crate::audit::Entry;
use crate::limits::{
    SWEEP_ROWS, WEBHOOKS_TOTAL, WEBHOOK_COUNT_EVERY, WEBHOOK_STEP, WEBHOOK_WAITING,
};
use crate::records::webhooks::{WebhookMessage, WebhookRecord, WebhookState};
use crate::refused::Refused;
use crate::registry::open_rows;
use crate::service::Service;
use crate::tables::{number, one, pair, text};
use crate::write::{until_committed, Attempt};

/// The action of an event that an operator makes to try a webhook.
pub(super) const TEST: &str = "webhook.test";
/// The beginning of actions about webhooks.
const OWN: &str = "webhook.";
/// The mark of the last entry that was looked at.
const LOOKED: &str = "webhooks_looked";

/// How many messages of each webhook wait, as far as this process has counted.
#[derive(Default)]
pub(super) struct Waiting(HashMap<(String, String), (Duration, usize)>);

impl Waiting {
    /// Takes room for one message more, when there is some.
    async fn has_room(
        &mut self,
        service: &Service,
        (tenant, id): (&str, &str),
    ) -> Result<bool, Refused> {
        let (name, now) = ((tenant.to_owned(), id.to_owned()), service.clock.monotonic());
        let known = self.0.get(&name).copied();
        let is_fresh = |(at, _): &(Duration, usize)| now.saturating_sub(*at) < WEBHOOK_COUNT_EVERY;
        let (at, count) = match known.filter(is_fresh) {
            Some(known) => known,
            None => (now, waiting(service, (tenant, id)).await?),
        };
        let is_room = count < WEBHOOK_WAITING;
        self.0.insert(name, (at, count + usize::from(is_room)));
        Ok(is_room)
    }

    /// Forgets the webhooks that are gone.
    pub(super) fn keep(&mut self, present: &HashSet<(String, String)>) {
        self.0.retain(|hook, _| present.contains(hook));
    }
}

/// How many messages of a webhook wait; the count ends at the bound.
async fn waiting(service: &Service, (tenant, id): (&str, &str)) -> Result<usize, Refused> {
    let of = [("tenant", tenant.into()), ("webhook", id.into())];
    let table = &service.tables.webhook_messages;
    Ok(open_rows::count(table, &of, WEBHOOK_WAITING, |_| true).await?)
}

/// The key of a message.
pub(super) fn key(tenant: &str, id: &str, number: u64) -> Key {
    vec![tenant.into(), id.into(), number.into()]
}

/// Whether an entry is an event for a webhook.
pub(super) fn is_for(id: &str, record: &WebhookRecord, entry: &Entry) -> bool {
    match entry.action == TEST {
        true => entry.subject == id,
        false => wants(&record.actions, &entry.action),
    }
}

/// Whether there is room for so many messages more.
///
/// # Errors
/// `limit_reached`.
pub(super) async fn room_for(
    service: &Service,
    hook: (&str, &str),
    more: usize,
) -> Result<(), Refused> {
    match waiting(service, hook).await?.saturating_add(more) <= WEBHOOK_WAITING {
        true => Ok(()),
        false => {
            let why = format!("at most {WEBHOOK_WAITING} messages of a webhook wait");
            Err(Refused::because(RefusalCode::LimitReached, why))
        }
    }
}

/// Makes the messages of the next entries. Returns the webhooks that are to be looked at, and whether there are more entries.
pub(super) async fn step(
    service: &Service,
    waiting: &mut Waiting,
) -> Result<(Vec<(String, String)>, bool), Refused> {
    let tables = &service.tables;
    let hooks = tables.webhooks.scan(&[], None, WEBHOOKS_TOTAL).await?;
    // Messages of one that is paused wait.
    let is_taking = |record: &WebhookRecord| record.state != WebhookState::Disabled;
    let mut of: HashMap<String, Vec<(String, WebhookRecord)>> = HashMap::new();
    for (key, record) in hooks.into_iter().filter(|(_, record)| is_taking(record)) {
        let (tenant, id) = (text(&key, 0)?.to_owned(), text(&key, 1)?.to_owned());
        of.entry(tenant).or_default().push((id, record));
    }
    let Some(begins) = of.values().flatten().map(|(_, record)| record.begins).min() else {
        return Ok((Vec::new(), false));
    };
    let mark = tables.marks.get::<u64>(LOOKED).await?;
    let after = mark.unwrap_or_default().max(begins);
    let rows = tables.audit.scan(&[], Some(&one(after)), WEBHOOK_STEP).await?;
    let is_more = rows.len() == WEBHOOK_STEP;
    let (mut batch, mut last, mut told) = (Batch::new(), after, Vec::new());
    for (row_key, row) in rows {
        last = number(&row_key, 0)?;
        // An operator has changed one, or has messages sent again.
        if row.entry.action.starts_with(OWN) {
            told.push((row.entry.tenant.clone(), row.entry.subject.clone()));
        }
        for (id, record) in of.get(&row.entry.tenant).into_iter().flatten() {
            if last <= record.begins || !is_for(id, record, &row.entry) {
                continue;
            }
            let tenant = row.entry.tenant.as_str();
            if !waiting.has_room(service, (tenant, id)).await? {
                leave_out(service, tenant, id).await?;
                continue;
            }
            let message = WebhookMessage { due: service.now().get(), attempts: 0 };
            batch.put(&tables.webhook_messages, key(tenant, id, last), &message);
            batch.expect(&tables.webhooks, pair(tenant, id.as_str()), record);
            told.push((tenant.to_owned(), id.clone()));
        }
    }
    if last == after {
        return Ok((Vec::new(), false));
    }
    tables.marks.expect_same(&mut batch, LOOKED, mark.as_ref());
    tables.marks.put(&mut batch, LOOKED, &last);
    match service.write_unnoted(batch).await? {
        Attempt::Committed(()) => Ok((told, is_more)),
        // Another process made them, or a webhook has changed: the next step looks again.
        Attempt::Conflict => Ok((Vec::new(), true)),
    }
}

/// Counts an event for which there is no room. The entry stays in the audit log.
async fn leave_out(service: &Service, tenant: &str, id: &str) -> Result<(), Refused> {
    service.metrics.webhook_messages.inc(&["left_out"]);
    let table = &service.tables.webhook_states;
    until_committed(async || {
        let Some(old) = table.get(pair(tenant, id)).await? else {
            return Ok(Attempt::Committed(()));
        };
        let mut new = old.clone();
        new.left_out = new.left_out.saturating_add(1);
        let mut batch = Batch::new();
        batch.expect(table, pair(tenant, id), &old);
        batch.put(table, pair(tenant, id), &new);
        service.write_unnoted(batch).await
    })
    .await
}

/// How far the tables of messages and of attempts were looked through for those whose webhooks are gone.
#[derive(Default)]
pub(crate) struct Swept {
    messages: Option<Key>,
    attempts: Option<Key>,
}

/// Removes messages and attempts of webhooks that are gone.
pub(crate) async fn sweep(service: &Service, swept: &mut Swept) -> Result<usize, Refused> {
    let tables = &service.tables;
    let messages = orphans(service, &tables.webhook_messages, &mut swept.messages).await?;
    Ok(messages + orphans(service, &tables.webhook_attempts, &mut swept.attempts).await?)
}

async fn orphans<R: Record>(
    service: &Service,
    table: &Table<R>,
    from: &mut Option<Key>,
) -> Result<usize, Refused> {
    let rows = table.scan(&[], from.as_deref(), SWEEP_ROWS).await?;
    *from = rows.last().filter(|_| rows.len() == SWEEP_ROWS).map(|(key, _)| key.clone());
    let (mut batch, mut removed) = (Batch::new(), 0);
    for (key, _) in rows {
        let hook = pair(text(&key, 0)?, text(&key, 1)?);
        if !service.tables.webhooks.contains(hook).await? {
            batch.delete(table, key);
            removed += 1;
        }
    }
    if removed > 0 {
        service.write_unnoted(batch).await?;
    }
    Ok(removed)
}
