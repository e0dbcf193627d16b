//! From entries of the audit log to messages. One mark of the database says up to which entry this was done: the messages of
//! some entries and the mark that is behind them are one write, so each entry becomes its messages once.

use std::collections::HashMap;
use std::time::Duration;

use tessera_runtime::sql::{Batch, Key, Record, Table};
use tessera_runtime::store::StoreError;
use tessera_token::refusal::RefusalCode;

use super::registry::{wants, CHANGED};
use crate::audit::Entry;
use crate::limits::{
    SWEEP_ROWS, WEBHOOKS_TOTAL, WEBHOOK_COUNT_EVERY, WEBHOOK_STEP, WEBHOOK_WAITING,
};
use crate::records::webhooks::{WebhookMessage, WebhookRecord, WebhookState};
use crate::refused::Refused;
use crate::registry::open_rows;
use crate::service::Service;
use crate::tables::{number, one, pair, text};
use crate::write::Attempt;

/// The action of an event that an operator makes to try a webhook.
pub(super) const TEST: &str = "webhook.test";
/// The beginning of actions about webhooks.
const OWN: &str = "webhook.";
/// The mark of the last entry that was looked at.
const LOOKED: &str = "webhooks_looked";

/// A webhook: its tenant and its id.
pub(super) type Hook = (String, String);

/// The knowledge of a process about webhooks and the messages of each that wait.
#[derive(Default)]
pub(super) struct Known {
    /// The mark of the last change that is in `hooks`.
    changed: Option<Option<u64>>,
    hooks: Vec<(Hook, WebhookRecord)>,
    /// Messages that wait, and when they were counted.
    waiting: HashMap<Hook, (Duration, usize)>,
}

impl Known {
    /// All webhooks, read again when one has changed. Returns the mark of the last change too.
    pub(super) async fn hooks(
        &mut self,
        service: &Service,
    ) -> Result<(&[(Hook, WebhookRecord)], Option<u64>), Refused> {
        let tables = &service.tables;
        let mark = tables.marks.get::<u64>(CHANGED).await?;
        if self.changed != Some(mark) {
            let rows = tables.webhooks.scan(&[], None, WEBHOOKS_TOTAL).await?;
            let named = rows.into_iter().map(|(key, record)| {
                Ok(((text(&key, 0)?.to_owned(), text(&key, 1)?.to_owned()), record))
            });
            self.hooks = named.collect::<Result<_, StoreError>>()?;
            let hooks = &self.hooks;
            self.waiting.retain(|hook, _| hooks.iter().any(|(known, _)| known == hook));
            self.changed = Some(mark);
        }
        Ok((&self.hooks, mark))
    }

    /// How many messages of a webhook wait, as far as is known.
    async fn waiting(&mut self, service: &Service, hook: &Hook) -> Result<usize, Refused> {
        let now = service.clock.monotonic();
        let known = self.waiting.get(hook).copied();
        let is_fresh = |(at, _): &(Duration, usize)| now.saturating_sub(*at) < WEBHOOK_COUNT_EVERY;
        if let Some((_, count)) = known.filter(is_fresh) {
            return Ok(count);
        }
        let count = waiting(service, (&hook.0, &hook.1)).await?;
        self.waiting.insert(hook.clone(), (now, count));
        Ok(count)
    }

    /// An attempt has ended: its message may be gone.
    pub(super) fn ended(&mut self, hook: &Hook) {
        if let Some((_, count)) = self.waiting.get_mut(hook) {
            *count = count.saturating_sub(1);
        }
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
    known: &mut Known,
) -> Result<(Vec<Hook>, bool), Refused> {
    let tables = &service.tables;
    let (hooks, changed) = known.hooks(service).await?;
    // Messages of one that is paused wait.
    let taking = hooks.iter().filter(|(_, record)| record.state != WebhookState::Disabled);
    let Some(begins) = taking.clone().map(|(_, record)| record.begins).min() else {
        return Ok((Vec::new(), false));
    };
    let mark = tables.marks.get::<u64>(LOOKED).await?;
    let after = mark.unwrap_or_default().max(begins);
    let rows = tables.audit.scan(&[], Some(&one(after)), WEBHOOK_STEP).await?;
    if rows.is_empty() {
        return Ok((Vec::new(), false));
    }
    let is_more = rows.len() == WEBHOOK_STEP;
    let mut of: HashMap<String, Vec<(Hook, WebhookRecord)>> = HashMap::new();
    of.extend(rows.iter().map(|(_, row)| (row.entry.tenant.clone(), Vec::new())));
    for (hook, record) in taking {
        if let Some(own) = of.get_mut(&hook.0) {
            own.push((hook.clone(), record.clone()));
        }
    }
    let (mut batch, mut last, mut told) = (Batch::new(), after, Vec::new());
    let (mut taken, mut left_out) = (HashMap::<Hook, usize>::new(), HashMap::<Hook, u64>::new());
    for (row_key, row) in rows {
        last = number(&row_key, 0)?;
        // An operator has changed one, or has messages sent again.
        if row.entry.action.starts_with(OWN) {
            told.push((row.entry.tenant.clone(), row.entry.subject.clone()));
        }
        for (hook, record) in of.get(&row.entry.tenant).into_iter().flatten() {
            if last <= record.begins || !is_for(&hook.1, record, &row.entry) {
                continue;
            }
            let more = taken.entry(hook.clone()).or_default();
            if known.waiting(service, hook).await?.saturating_add(*more) >= WEBHOOK_WAITING {
                *left_out.entry(hook.clone()).or_default() += 1;
                continue;
            }
            *more += 1;
            let message = WebhookMessage { due: service.now().get(), attempts: 0 };
            batch.put(&tables.webhook_messages, key(&hook.0, &hook.1, last), &message);
        }
    }
    for (hook, count) in &left_out {
        leave_out(service, &mut batch, hook, *count).await?;
    }
    tables.marks.expect_same(&mut batch, CHANGED, changed.as_ref());
    tables.marks.expect_same(&mut batch, LOOKED, mark.as_ref());
    tables.marks.put(&mut batch, LOOKED, &last);
    if service.write_unnoted(batch).await? == Attempt::Conflict {
        // Another process made them, or a webhook has changed: the next step looks again.
        return Ok((Vec::new(), true));
    }
    service.metrics.webhook_messages.add(&["left_out"], left_out.values().sum());
    for (hook, more) in taken {
        if let Some((_, count)) = known.waiting.get_mut(&hook) {
            *count += more;
        }
        told.push(hook);
    }
    Ok((told, is_more))
}

/// Counts events for which there is no room. Their entries stay in the audit log.
async fn leave_out(
    service: &Service,
    batch: &mut Batch,
    (tenant, id): &Hook,
    count: u64,
) -> Result<(), Refused> {
    let (table, row) = (&service.tables.webhook_states, pair(tenant, id.as_str()));
    let old = table.get(row.clone()).await?;
    let mut new = old.clone().unwrap_or_default();
    new.left_out = new.left_out.saturating_add(count);
    batch.expect_same(table, row.clone(), old.as_ref());
    batch.put(table, row, &new);
    Ok(())
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
    let (mut batch, mut removed, mut known) = (Batch::new(), 0, HashMap::<Key, bool>::new());
    for (key, _) in rows {
        let hook = pair(text(&key, 0)?, text(&key, 1)?);
        let is_there = match known.get(&hook) {
            Some(is_there) => *is_there,
            None => {
                let is_there = service.tables.webhooks.contains(hook.clone()).await?;
                known.insert(hook, is_there);
                is_there
            }
        };
        if !is_there {
            batch.delete(table, key);
            removed += 1;
        }
    }
    if removed > 0 {
        service.write_unnoted(batch).await?;
    }
    Ok(removed)
}
