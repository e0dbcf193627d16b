//! Follows what other processes of the same database publish, so that the readers that wait here hear of it as soon as
//! theirs.

use actix::Addr;
use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;
use tessera_token::ids::TenantId;
use tessera_token::trust::Event;

use super::bells::Bells;
use super::ledger::Head;
use super::waiters::Waiters;
use crate::issue::actor::{IssuerActor, SerialsJumped};
use crate::limits::{FOLLOW_AGAIN, FOLLOW_EVENTS, FOLLOW_EVERY};
use crate::records::SignedEvent;
use crate::tables::{number, one, Tables};

/// The parts that hear of it.
pub(crate) struct Follower {
    pub(crate) tables: Tables,
    pub(crate) waiters: Waiters,
    pub(crate) bells: Bells,
    pub(crate) issuer: Addr<IssuerActor>,
    /// The number of the root set that this process signs for.
    pub(crate) root_set: u64,
}

impl Follower {
    /// Looks at the head until the service stops.
    pub(crate) async fn run(self, from: Head, stop: Stop) {
        let mut known = from;
        let mut wait = FOLLOW_EVERY;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.stopping() => return,
            }
            wait = match self.look(&mut known).await {
                Ok(()) if known.root != self.root_set => {
                    tracing::error!("the root keys were changed: this process signs by a former one and stops; start it again");
                    return stop.trigger();
                }
                Ok(()) => FOLLOW_EVERY,
                // The database is told to be away by what needs it.
                Err(_) => FOLLOW_AGAIN,
            };
        }
    }

    async fn look(&self, known: &mut Head) -> Result<(), StoreError> {
        let head = Head::read(&self.tables).await?;
        if head == *known {
            return Ok(());
        }
        let tenants = self.tenants(known.seq, &head).await?;
        if head.start != known.start {
            // Serials from before the jump may have been given out by the part that was lost.
            let _ = self.issuer.send(SerialsJumped).await;
        }
        *known = head;
        self.waiters.announce(head.seq);
        match tenants {
            Some(tenants) => self.bells.ring(&tenants),
            None => self.bells.ring_all(),
        }
        Ok(())
    }

    /// The tenants of the events behind `after`; `None` when they are too many to be read, or another line.
    async fn tenants(&self, after: u64, head: &Head) -> Result<Option<Vec<TenantId>>, StoreError> {
        if after < head.start || head.seq.saturating_sub(after) > FOLLOW_EVENTS as u64 {
            return Ok(None);
        }
        let rows = self.tables.trust_events.scan(&[], Some(&one(after)), FOLLOW_EVENTS).await?;
        let mut tenants = Vec::new();
        for (key, SignedEvent(signed)) in rows {
            if number(&key, 0)? > head.seq {
                break;
            }
            let Ok(event) = Event::unverified(&signed) else { return Ok(None) };
            tenants.push(event.change.tenant().clone());
        }
        tenants.dedup();
        Ok(Some(tenants))
    }
}
