//! The task that makes messages of entries and starts the attempts that are due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tessera_token::ids::TenantId;
use tokio::task::{self, JoinError, JoinSet};

use super::deliver::{attempt, Due};
use super::queue::{step, Hook, Known};
use crate::limits::{
    WEBHOOK_AT_ONCE, WEBHOOK_AT_ONCE_OF_TENANT, WEBHOOK_AT_ONCE_TOTAL, WEBHOOK_LOOK,
    WEBHOOK_LOOK_IDLE, WEBHOOK_PAUSE_MOST, WEBHOOK_STEPS,
};
use crate::records::webhooks::{WebhookMessage, WebhookState};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::number;

/// Attempts that are under way: each is a task, so that a panic ends one of them alone.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    of: HashMap<task::Id, (Hook, u64)>,
}

impl UnderWay {
    fn count(&self, is_one: impl Fn(&Hook) -> bool) -> usize {
        self.of.values().filter(|(hook, _)| is_one(hook)).count()
    }

    /// How many more attempts of this webhook may begin.
    fn room(&self, hook: &Hook) -> usize {
        let left = |most: usize, taken: usize| most.saturating_sub(taken);
        left(WEBHOOK_AT_ONCE, self.count(|of| of == hook))
            .min(left(WEBHOOK_AT_ONCE_OF_TENANT, self.count(|of| of.0 == hook.0)))
            .min(left(WEBHOOK_AT_ONCE_TOTAL, self.of.len()))
    }

    fn has(&self, hook: &Hook, number: u64) -> bool {
        self.of.values().any(|(of, sent)| of == hook && *sent == number)
    }

    fn begin(&mut self, service: &Arc<Service>, hook: &Hook, due: Due) {
        let (service, of) = (Arc::clone(service), (hook.clone(), due.number));
        let ((tenant, webhook), event) = of.clone();
        let task = self.tasks.spawn_local(async move {
            if let Err(refused) = attempt(&service, &due).await {
                // It comes again when its lease is over.
                tracing::warn!(tenant, webhook, event, code = %refused.code, "an attempt to deliver an event failed here");
            }
        });
        self.of.insert(task.id(), of);
    }

    /// The webhook of the next attempt that ends.
    async fn ended(&mut self) -> Option<Hook> {
        let ended = self.tasks.join_next_with_id().await?;
        self.taken_in(ended)
    }

    /// The webhooks of all attempts that have ended.
    fn all_ended(&mut self) -> Vec<Hook> {
        let mut hooks = Vec::new();
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            hooks.extend(self.taken_in(ended));
        }
        hooks
    }

    fn taken_in(&mut self, ended: Result<(task::Id, ()), JoinError>) -> Option<Hook> {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a task that delivers to a webhook has panicked");
                error.id()
            }
        };
        self.of.remove(&id).map(|(hook, _)| hook)
    }
}

/// The times and the turn of the looks of a process.
#[derive(Default)]
struct Looks {
    /// When a webhook without a due message is looked at again, in monotonic time.
    next: HashMap<Hook, Duration>,
    /// The last webhook that began an attempt: the next look begins behind it, so that none keeps the others waiting.
    last: Option<Hook>,
}

/// Delivers until the service stops. Attempts that are under way then are dropped: they come again when their lease is over.
pub(crate) async fn run(service: Arc<Service>) {
    let mut chained = service.chained.subscribe();
    let (mut under_way, mut known, mut looks) =
        (UnderWay::default(), Known::default(), Looks::default());
    let mut ended = Vec::new();
    loop {
        ended.extend(under_way.all_ended());
        for hook in ended.drain(..) {
            known.ended(&hook);
            looks.next.remove(&hook);
        }
        if let Err(refused) = look(&service, &mut under_way, &mut known, &mut looks).await {
            tracing::warn!(code = %refused.code, "events for webhooks wait; the next look tries again");
        }
        tokio::select! {
            Some(hook) = under_way.ended() => ended.push(hook),
            changed = chained.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(WEBHOOK_LOOK) => {}
            () = service.stop.stopping() => return,
        }
    }
}

/// Makes the messages of new entries, and begins the attempts that are due and have room.
async fn look(
    service: &Arc<Service>,
    under_way: &mut UnderWay,
    known: &mut Known,
    looks: &mut Looks,
) -> Result<(), Refused> {
    // Attempts go on between the steps of a long line of entries.
    for _ in 0..WEBHOOK_STEPS {
        let (told, is_more) = step(service, known).await?;
        told.iter().for_each(|hook| {
            looks.next.remove(hook);
        });
        if !is_more {
            break;
        }
    }
    let (hooks, _) = known.hooks(service).await?;
    looks.next.retain(|hook, _| hooks.iter().any(|(known, _)| known == hook));
    let first =
        hooks.partition_point(|(hook, _)| looks.last.as_ref().is_some_and(|last| hook <= last));
    let (before, behind) = hooks.split_at(first);
    for (hook, record) in behind.iter().chain(before) {
        let is_later = looks.next.get(hook).is_some_and(|at| service.clock.monotonic() < *at);
        if record.state != WebhookState::Active || is_later || under_way.room(hook) == 0 {
            continue;
        }
        // A fault of one does not hold up the others.
        if let Err(refused) = begin(service, under_way, looks, hook).await {
            tracing::warn!(tenant = hook.0, webhook = hook.1, code = %refused.code, "the messages of a webhook cannot be read");
        }
    }
    Ok(())
}

/// Begins the attempts of one webhook that are due and have room.
async fn begin(
    service: &Arc<Service>,
    under_way: &mut UnderWay,
    looks: &mut Looks,
    hook: &Hook,
) -> Result<(), Refused> {
    let (monotonic, now) = (service.clock.monotonic(), service.now().get());
    let (room, sent) = (under_way.room(hook), under_way.count(|of| of == hook));
    let of = [("tenant", hook.0.as_str().into()), ("webhook", hook.1.as_str().into())];
    let within = ("due", 0..=i64::MAX.unsigned_abs());
    let rows = service.tables.webhook_messages.find_within(&of, within, room + sent).await?;
    // A clock that was ahead has put some off for longer than any pause.
    let is_due = |row: &WebhookMessage| row.due <= now || row.due - now > WEBHOOK_PAUSE_MOST;
    let wait = rows.iter().filter(|(_, row)| !is_due(row)).map(|(_, row)| row.due - now).min();
    let mut begun = 0;
    for (key, row) in rows.into_iter().filter(|(_, row)| is_due(row)).take(room) {
        let number = number(&key, 2)?;
        let tenant = TenantId::parse(&hook.0).ok();
        if let Some(tenant) = tenant.filter(|_| !under_way.has(hook, number)) {
            under_way.begin(service, hook, Due { tenant, id: hook.1.clone(), number, row });
            begun += 1;
        }
    }
    match begun {
        // Until a message comes, or this one is due.
        0 => {
            let wait = wait.map_or(WEBHOOK_LOOK_IDLE, Duration::from_secs).min(WEBHOOK_LOOK_IDLE);
            looks.next.insert(hook.clone(), monotonic + wait);
        }
        _ => looks.last = Some(hook.clone()),
    }
    Ok(())
}
