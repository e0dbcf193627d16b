//! The task that makes messages of entries and starts the attempts that are due.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tessera_token::ids::TenantId;
use tokio::task::{self, JoinSet};

use super::deliver::{attempt, Due};
use super::queue::{step, Waiting};
use crate::limits::{
    WEBHOOKS_TOTAL, WEBHOOK_AT_ONCE, WEBHOOK_AT_ONCE_OF_TENANT, WEBHOOK_AT_ONCE_TOTAL,
    WEBHOOK_LOOK, WEBHOOK_LOOK_IDLE, WEBHOOK_STEPS,
};
use crate::records::webhooks::WebhookState;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{number, text};

/// A webhook: its tenant and its id.
type Hook = (String, String);

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
        let id = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a task that delivers to a webhook has panicked");
                error.id()
            }
        };
        self.of.remove(&id).map(|(hook, _)| hook)
    }
}

/// Delivers until the service stops. Attempts that are under way then are dropped: they come again when their lease is over.
pub(crate) async fn run(service: Arc<Service>) {
    let mut chained = service.chained.subscribe();
    let (mut under_way, mut known) = (UnderWay::default(), Known::default());
    loop {
        let looked = look(&service, &mut under_way, &mut known).await;
        if let Err(refused) = looked {
            tracing::warn!(code = %refused.code, "events for webhooks wait; the next look tries again");
        }
        tokio::select! {
            Some(hook) = under_way.ended() => {
                known.next_look.remove(&hook);
            }
            changed = chained.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(WEBHOOK_LOOK) => {}
            () = service.stop.stopping() => return,
        }
    }
}

/// The knowledge of a process about webhooks between two looks.
#[derive(Default)]
struct Known {
    /// When one without a due message is looked at again, in monotonic time.
    next_look: HashMap<Hook, Duration>,
    waiting: Waiting,
}

/// Makes the messages of new entries, and begins the attempts that are due and have room.
async fn look(
    service: &Arc<Service>,
    under_way: &mut UnderWay,
    Known { next_look, waiting }: &mut Known,
) -> Result<(), Refused> {
    // Attempts go on between the steps of a long line of entries.
    for _ in 0..WEBHOOK_STEPS {
        let (told, is_more) = step(service, waiting).await?;
        told.iter().for_each(|hook| {
            next_look.remove(hook);
        });
        if !is_more {
            break;
        }
    }
    let (monotonic, now) = (service.clock.monotonic(), service.now().get());
    let hooks = service.tables.webhooks.scan(&[], None, WEBHOOKS_TOTAL).await?;
    let mut present = HashSet::new();
    for (key, record) in hooks {
        let hook = (text(&key, 0)?.to_owned(), text(&key, 1)?.to_owned());
        present.insert(hook.clone());
        let is_later = next_look.get(&hook).is_some_and(|at| monotonic < *at);
        let room = under_way.room(&hook);
        if record.state != WebhookState::Active || is_later || room == 0 {
            continue;
        }
        let of = [("tenant", hook.0.as_str().into()), ("webhook", hook.1.as_str().into())];
        let sent = under_way.count(|of| *of == hook);
        let within = ("due", 0..=i64::MAX.unsigned_abs());
        let rows = service.tables.webhook_messages.find_within(&of, within, room + sent).await?;
        let wait = rows.iter().map(|(_, row)| row.due.saturating_sub(now)).find(|wait| *wait > 0);
        for (key, row) in rows.into_iter().filter(|(_, row)| row.due <= now).take(room) {
            let number = number(&key, 2)?;
            let is_sent = under_way.has(&hook, number);
            let tenant = TenantId::parse(&hook.0).ok();
            if let Some(tenant) = tenant.filter(|_| !is_sent) {
                under_way.begin(service, &hook, Due { tenant, id: hook.1.clone(), number, row });
            }
        }
        // Until a message comes, or this one is due.
        if under_way.room(&hook) == room {
            let wait = wait.map_or(WEBHOOK_LOOK_IDLE, Duration::from_secs).min(WEBHOOK_LOOK_IDLE);
            next_look.insert(hook, monotonic + wait);
        }
    }
    next_look.retain(|hook, _| present.contains(hook));
    waiting.keep(&present);
    Ok(())
}
