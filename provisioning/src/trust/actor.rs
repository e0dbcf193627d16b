use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, Addr, AtomicResponse, Context, Handler, Message, Supervised, WrapFuture,
};
use tessera_runtime::sql::{Batch, Database};
use tessera_runtime::store::StoreError;
use tessera_token::key::SecretKey;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, EventHash, TenantSet};

use super::bells::Bells;
use super::ledger::{self, Head};
use super::restored::{self, Jump, NoticedBy, Place, Restoration};
use super::waiters::Waiters;
use super::whole::Whole;
use crate::audit::{Entry, Pending};
use crate::clock::ServiceClock;
use crate::issue::actor::{IssuerActor, KeysMoved, SerialsJumped};
use crate::limits::{ATTEMPTS, CLAIM_OF_READER_SECONDS, MAILBOX, OPERATORS, UNKNOWN_JUMP};
use crate::refused::Refused;
use crate::room::Hold;
use crate::tables::Tables;
use crate::write::Attempt;

/// Publishes changes one after the other: the order of the feed is the order of its mailbox.
pub(crate) struct TrustActor {
    pub(crate) database: Database,
    pub(crate) tables: Tables,
    pub(crate) time: Arc<ServiceClock>,
    pub(crate) root: Arc<SecretKey>,
    pub(crate) links: Arc<Vec<Vec<u8>>>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) waiters: Waiters,
    pub(crate) bells: Bells,
    pub(crate) issuer: Addr<IssuerActor>,
    pub(crate) whole: Whole,
    pub(crate) claimed: Option<Claimed>,
    /// Accounts whose claim made the line jump and that have shown nothing since; there are at most
    /// [`crate::limits::OPERATORS`] accounts at a time.
    pub(crate) unbacked: HashSet<String>,
}

impl Actor for TrustActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
    }
}

impl Supervised for TrustActor {}

/// Write `batch` together with the events of `changes`. Done means durable and told to the readers that wait.
pub(crate) struct Publish {
    pub(crate) changes: Vec<Change>,
    pub(crate) batch: Batch,
    /// It stays with the write: the caller may be gone before that is done.
    pub(crate) hold: Hold,
}

impl Message for Publish {
    type Result = Result<Attempt<()>, Refused>;
}

impl Handler<Publish> for TrustActor {
    type Result = AtomicResponse<Self, Result<Attempt<()>, Refused>>;

    fn handle(&mut self, message: Publish, _context: &mut Self::Context) -> Self::Result {
        let Publish { changes, batch, hold } = message;
        let mut tenants: Vec<_> = changes.iter().map(|one| one.tenant().clone()).collect();
        tenants.dedup();
        let keys_moved = changes.iter().any(|change| matches!(change, Change::Key(_)));
        let (line, claimed) = (self.line(), self.claimed_seq());
        let (database, issuer) = (self.database.clone(), self.issuer.clone());
        let count = changes.len() as u64;
        let work = async move {
            let Some(written) = line.write(&database, claimed, &changes, &batch).await? else {
                return Ok(None);
            };
            if keys_moved && written.jumped.is_none() {
                // Ahead of every token that is asked for after the answer. An issuer that is gone signs none.
                let _ = issuer.send(KeysMoved).await;
            }
            Ok(Some(written))
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(
            move |outcome: Result<Option<Written>, Refused>, actor, _| {
                let Some(written) = outcome? else {
                    return Ok(Attempt::Conflict);
                };
                actor.written(&written);
                actor.bells.ring(&tenants);
                if written.jumped.is_some() {
                    // That alone was written: the caller computes its change anew, above the new floors.
                    return Ok(Attempt::Conflict);
                }
                let seq = written.head.seq;
                hold.keep_with(seq.saturating_sub(count).saturating_add(1)..=seq);
                Ok(Attempt::Committed(()))
            },
        )))
    }
}

/// The parts that a step of the feed needs.
struct Line {
    tables: Tables,
    time: Arc<ServiceClock>,
    root: Arc<SecretKey>,
    /// The number of the root set that this process signs for.
    root_set: u64,
    pending: Arc<Pending>,
}

impl Line {
    /// Writes the batch with its events behind the head, again and again while other processes put theirs there first.
    /// `None` when something else is not as the batch expects it.
    async fn write(
        &self,
        database: &Database,
        claimed: Option<u64>,
        changes: &[Change],
        batch: &Batch,
    ) -> Result<Option<Written>, Refused> {
        for _ in 0..ATTEMPTS {
            let before = Head::read(&self.tables).await?;
            if before.root != self.root_set {
                // The roots were changed while this process ran: no reader would take what it signs.
                return Err(RefusalCode::NotReady.into());
            }
            let (batch, written) = self.step(&before, claimed, changes, batch.clone()).await?;
            match database.commit(batch).await {
                Ok(()) => return Ok(Some(written)),
                Err(StoreError::Conflict { .. }) => {
                    if Head::read(&self.tables).await? == before {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// The events go behind the head. While a reader says that it is beyond it, the line first jumps above what it can
    /// have, and nothing else is written: an epoch that was computed before the jump may be below what readers hold.
    async fn step(
        &self,
        before: &Head,
        claimed: Option<u64>,
        changes: &[Change],
        mut batch: Batch,
    ) -> Result<(Batch, Written), Refused> {
        let now = self.time.now();
        if claimed.is_some_and(|claimed| is_beyond(claimed, before)) {
            let why = format!("a reader says it is beyond event {}", before.seq);
            return self.jump_unknown(before, now, NoticedBy::Claim, why).await;
        }
        let head = ledger::append(&self.tables, &mut batch, *before, changes, &self.root, now)?;
        Ok((batch, Written { head, jumped: None }))
    }

    async fn jump_unknown(
        &self,
        before: &Head,
        now: UnixSeconds,
        noticed: NoticedBy,
        why: String,
    ) -> Result<(Batch, Written), Refused> {
        let mut batch = Batch::new();
        before.expect(&self.tables, &mut batch);
        let jump = Jump::unknown(before, noticed);
        let (head, jumped) = jump.write(&self.tables, &mut batch, before, now).await?;
        head.write(&self.tables, &mut batch);
        self.note_jump(&mut batch, &jumped, why);
        Ok((batch, Written { head, jumped: Some(jumped) }))
    }

    /// The jump that is due after a refresh token from the lost part; `None` when the line has jumped since.
    async fn jump_for_loss(&self, line: u64) -> Result<Option<(Batch, Written)>, Refused> {
        if restored::epoch_floor(&self.tables).await? > line {
            return Ok(None);
        }
        let before = Head::read(&self.tables).await?;
        let why = "a refresh token is newer than the rows of its family".to_owned();
        let jump = self.jump_unknown(&before, self.time.now(), NoticedBy::Token, why);
        jump.await.map(Some)
    }

    fn note_jump(&self, batch: &mut Batch, jumped: &Restoration, why: String) {
        let by = crate::audit::Actor::service();
        let entry = Entry::new(jumped.at, &by, "trust.restored", "", "service");
        let entry = entry.detail(why);
        self.pending.add(&self.tables, batch, self.time.shared().unix_millis(), &entry);
    }

    /// The jump that is due after what a reader has shown; `None` when there is nothing to write.
    async fn jump(&self, shown: Shown) -> Result<Option<(Batch, Written)>, Refused> {
        let head = Head::read(&self.tables).await?;
        let place = Place::of(&self.tables, &head, shown.seq, shown.head).await?;
        if place != Place::Elsewhere {
            return Ok(None);
        }
        let after = restored::common(&self.tables, &head, &shown.marks).await?;
        if shown.seq < head.start {
            // It was beyond this line before the jump; now it is known where there were two.
            let mut batch = Batch::new();
            restored::rise_above(&self.tables, &mut batch, shown.epoch).await?;
            restored::lift_after(&self.tables, &mut batch, after, shown.of.as_ref()).await?;
            return Ok(Some((batch, Written { head, jumped: None })));
        }
        let (above, why) = (shown.seq.max(head.seq), NoticedBy::Reader);
        let jump = Jump { above, epoch: shown.epoch, after, of: shown.of, why };
        let mut batch = shown.batch;
        head.expect(&self.tables, &mut batch);
        let (new, jumped) = jump.write(&self.tables, &mut batch, &head, self.time.now()).await?;
        new.write(&self.tables, &mut batch);
        Ok(Some((batch, Written { head: new, jumped: Some(jumped) })))
    }
}

/// Whether a reader that says it has this event is beyond the head. A claim that no jump reaches is not made true by
/// jumping.
fn is_beyond(claimed: u64, head: &Head) -> bool {
    claimed >= head.seq && claimed - head.seq <= UNKNOWN_JUMP
}

impl TrustActor {
    fn line(&self) -> Line {
        let (tables, time, root) = (self.tables.clone(), &self.time, &self.root);
        let pending = Arc::clone(&self.pending);
        let root_set = self.links.len() as u64;
        Line { tables, time: Arc::clone(time), root: Arc::clone(root), root_set, pending }
    }

    /// The event that a reader said to have, while that was lately.
    fn claimed_seq(&self) -> Option<u64> {
        let fresh = Duration::from_secs(CLAIM_OF_READER_SECONDS);
        let now = self.time.monotonic();
        let claimed = self.claimed.as_ref();
        claimed.filter(|one| now.saturating_sub(one.at) <= fresh).map(|one| one.seq)
    }

    fn written(&mut self, written: &Written) {
        if let Some(jumped) = &written.jumped {
            self.bells.ring_all();
            tell(jumped);
            let by = self
                .claimed
                .take()
                .filter(|_| jumped.why == NoticedBy::Claim)
                .map(|claimed| claimed.by);
            if self.unbacked.len() < OPERATORS {
                self.unbacked.extend(by);
            }
            let issuer = self.issuer.clone();
            actix::spawn(async move {
                if issuer.send(SerialsJumped).await.is_err() {
                    tracing::error!("the issuer is gone: it did not hear that serials jumped");
                }
            });
        }
        self.waiters.announce(written.head.seq);
    }
}

/// Says loudly that this service has lost something.
pub(crate) fn tell(jumped: &Restoration) {
    let Restoration { from, to, why, .. } = jumped;
    let why = why.as_str();
    tracing::error!(
        from,
        to,
        why,
        "this service came back from an older copy: its trust feed, serials and epochs go on above what was lost; \
         see `tessera trust restored`"
    );
}

/// The state once the batch is written.
struct Written {
    head: Head,
    jumped: Option<Restoration>,
}

/// A reader says that it is beyond the head, or as far on another past.
pub(crate) struct Claimed {
    pub(crate) by: String,
    pub(crate) seq: u64,
    /// Monotonic.
    pub(crate) at: Duration,
}

impl Message for Claimed {
    type Result = ();
}

impl Handler<Claimed> for TrustActor {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, message: Claimed, _context: &mut Self::Context) -> Self::Result {
        let tables = self.tables.clone();
        let head = async move { Head::read(&tables).await };
        AtomicResponse::new(Box::pin(head.into_actor(self).map(move |head, actor, _| {
            // A reader that made the line jump once and showed nothing does not make it jump again.
            if actor.unbacked.contains(&message.by) {
                return;
            }
            let Ok(head) = head else { return };
            // No jump reaches it, and it would hide the claims that one does.
            if message.seq.saturating_sub(head.seq) > UNKNOWN_JUMP {
                return;
            }
            let known = actor.claimed.as_ref().map_or(0, |claimed| claimed.seq);
            let seq = known.max(message.seq);
            actor.claimed = Some(Claimed { seq, ..message });
        })))
    }
}

/// A reader has shown that the root key signed what this service does not know: jump, unless it did so already.
pub(crate) struct Shown {
    pub(crate) by: String,
    pub(crate) seq: u64,
    pub(crate) head: EventHash,
    /// The largest epoch that was shown.
    pub(crate) epoch: u64,
    /// Numbers and hashes of the events that were shown.
    pub(crate) marks: Vec<(u64, EventHash)>,
    /// The tenants of the reader; `None` is all.
    pub(crate) of: Option<TenantSet>,
    /// Other rows that are to be written with the jump.
    pub(crate) batch: Batch,
}

impl Message for Shown {
    type Result = Result<Attempt<Option<Restoration>>, Refused>;
}

impl Handler<Shown> for TrustActor {
    type Result = AtomicResponse<Self, Result<Attempt<Option<Restoration>>, Refused>>;

    fn handle(&mut self, message: Shown, _context: &mut Self::Context) -> Self::Result {
        self.unbacked.remove(&message.by);
        let (line, database) = (self.line(), self.database.clone());
        let work = async move {
            let Some((batch, written)) = line.jump(message).await? else {
                return Ok(Attempt::Committed(None));
            };
            match database.commit(batch).await {
                Ok(()) => Ok(Attempt::Committed(Some(written))),
                Err(StoreError::Conflict { .. }) => Ok(Attempt::Conflict),
                Err(error) => Err(Refused::from(error)),
            }
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(
            |outcome: Result<Attempt<Option<Written>>, Refused>, actor, _| {
                if let Ok(Attempt::Committed(Some(written))) = &outcome {
                    actor.written(written);
                }
                Ok(outcome?.map(|written| written.and_then(|written| written.jumped)))
            },
        )))
    }
}

/// A refresh token that this service made is beyond the row of its family, which is of this line: jump, unless that was done
/// since.
pub(crate) struct Lost {
    pub(crate) line: u64,
}

impl Message for Lost {
    type Result = Result<Attempt<bool>, Refused>;
}

impl Handler<Lost> for TrustActor {
    type Result = AtomicResponse<Self, Result<Attempt<bool>, Refused>>;

    fn handle(&mut self, message: Lost, _context: &mut Self::Context) -> Self::Result {
        let (line, database) = (self.line(), self.database.clone());
        let work = async move {
            let Some((batch, written)) = line.jump_for_loss(message.line).await? else {
                return Ok(Attempt::Committed(None));
            };
            match database.commit(batch).await {
                Ok(()) => Ok(Attempt::Committed(Some(written))),
                Err(StoreError::Conflict { .. }) => Ok(Attempt::Conflict),
                Err(error) => Err(Refused::from(error)),
            }
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(
            |outcome: Result<Attempt<Option<Written>>, Refused>, actor, _| {
                if let Ok(Attempt::Committed(Some(written))) = &outcome {
                    actor.written(written);
                }
                Ok(outcome?.map(|written| written.is_some()))
            },
        )))
    }
}
