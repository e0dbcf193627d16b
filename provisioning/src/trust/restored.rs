//! A service that came back from an older copy of its store. It gives out nothing again that the lost part may have given
//! out: its feed goes on on a new line far above, and serials, group numbers and epochs jump with it. Readers that know
//! more show what the root key signed ([`crate::recovery::adopt`]).
//!
//! `tessera restore` marks the copy ([`mark`]); a copy that came back without the mark is told by the first reader that
//! is beyond it, or on another past.

use std::collections::BTreeMap;

use tessera_runtime::sql::{Batch, Database};
use tessera_runtime::store::StoreError;
use tessera_token::hash::sha256;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{EventHash, TenantSet};

use super::ledger::Head;
use crate::issue;
use crate::limits::{
    GROUPS_JUMP, LIFTED_TENANTS, LINE_STEP, RESTORATIONS, SERIALS_A_SECOND, UNKNOWN_JUMP,
};
pub(crate) use crate::records::heads::{NoticedBy, Restoration};
use crate::records::marks::Marks;
use crate::records::SignedEvent;
use crate::tables::{one, Tables};

/// The mark: seconds since 1970 at which the copy came back.
const RESTORED: &str = "restored";
/// No epoch that moves from now on is below it; absent in a service that never lost anything.
const EPOCH_FLOOR: &str = "epoch_floor";
/// No group gets a lower number.
const GROUP_FLOOR: &str = "group_floor";
/// Subjects that still have to be lifted above the epoch floor: those of events above this number, and all revoked ones.
const LIFTING: &str = "lifting_after";
/// As [`LIFTING`] of one tenant, whose name follows.
const LIFTING_OF: &str = "lifting_of ";
/// The last [`RESTORATIONS`].
const LIST: &str = "restorations";

/// Marks a copy that comes back, before the service starts on it.
pub(crate) fn mark(database: &Database, at: UnixSeconds) -> Batch {
    let mut batch = Batch::new();
    Marks::of(database).put(&mut batch, RESTORED, &at.get());
    batch
}

/// Whether the next start jumps.
pub(crate) async fn is_marked(tables: &Tables) -> Result<bool, StoreError> {
    Ok(tables.marks.get::<u64>(RESTORED).await?.is_some())
}

/// A jump that is to be made.
pub(crate) struct Jump {
    /// The feed goes on above this number.
    pub(crate) above: u64,
    /// Epochs go on above this one.
    pub(crate) epoch: u64,
    /// Subjects of events above this number are lifted: this process may have moved them below what the lost part gave
    /// out.
    pub(crate) after: u64,
    /// The tenants of these subjects; `None` is all. A customer ends no tokens of another.
    pub(crate) of: Option<TenantSet>,
    pub(crate) why: NoticedBy,
}

impl Jump {
    /// For a copy whose loss is unknown.
    pub(crate) fn unknown(head: &Head, why: NoticedBy) -> Self {
        let above = head.seq.saturating_add(UNKNOWN_JUMP);
        Self { above, epoch: 0, after: u64::MAX, of: None, why }
    }

    /// Puts the jump into the batch and gives the head behind it; the caller writes the head.
    pub(crate) async fn write(
        &self,
        tables: &Tables,
        batch: &mut Batch,
        head: &Head,
        now: UnixSeconds,
    ) -> Result<(Head, Restoration), StoreError> {
        let to = self.above.max(head.seq).checked_next_multiple_of(LINE_STEP).unwrap_or(u64::MAX);
        let to = if to == head.seq { to.saturating_add(LINE_STEP) } else { to };
        let hash = beginning(head, to, now);
        let new = Head { seq: to, hash, start: to, start_hash: hash, root: head.root };
        let floor = epoch_floor(tables).await?.saturating_add(1).max(now.get());
        let floor = floor.max(self.epoch.saturating_add(1));
        tables.marks.put(batch, EPOCH_FLOOR, &floor);
        // The time too: the same copy may be brought back twice, and knows nothing of the first time.
        let groups = next_groups(tables).await?.max(now.get());
        tables.marks.put(batch, GROUP_FLOOR, &groups);
        if self.of.is_some() {
            // Of the others what is revoked: that has no token which must live on.
            lift_after(tables, batch, u64::MAX, None).await?;
        }
        lift_after(tables, batch, self.after, self.of.as_ref()).await?;
        let serials = now.get().saturating_mul(SERIALS_A_SECOND);
        issue::jump(tables, batch, UNKNOWN_JUMP, serials).await?;
        let restoration = Restoration { at: now.get(), from: head.seq, to, why: self.why };
        let mut list = restorations(tables).await?;
        list.push(restoration.clone());
        list.drain(..list.len().saturating_sub(RESTORATIONS));
        tables.marks.put(batch, LIST, &list);
        Ok((new, restoration))
    }
}

/// The name of a beginning in the chain. No event has it, and no other restoration.
fn beginning(head: &Head, to: u64, now: UnixSeconds) -> [u8; 32] {
    let mut bytes = b"tessera-trust-line-1".to_vec();
    bytes.extend(head.hash);
    bytes.extend(to.to_be_bytes());
    bytes.extend(now.get().to_be_bytes());
    sha256(&bytes)
}

/// Above every group number of the copy, and what the lost part may have given out.
async fn next_groups(tables: &Tables) -> Result<u64, StoreError> {
    let mut highest = group_floor(tables).await?;
    let mut tenants = tables.tenants.walk(&[]);
    while let Some(page) = tenants.next().await? {
        highest = page.iter().map(|(_, tenant)| tenant.next_group).fold(highest, u64::max);
    }
    Ok(highest.saturating_add(GROUPS_JUMP))
}

/// The jump of a marked copy, when it is marked, with the head behind it.
pub(crate) async fn at_start(
    tables: &Tables,
    batch: &mut Batch,
    now: UnixSeconds,
) -> Result<Option<Restoration>, StoreError> {
    let Some(mark) = tables.marks.get::<u64>(RESTORED).await? else { return Ok(None) };
    let head = Head::read(tables).await?;
    head.expect(tables, batch);
    let (new, restoration) =
        Jump::unknown(&head, NoticedBy::Copy).write(tables, batch, &head, now).await?;
    new.write(tables, batch);
    tables.marks.expect_same(batch, RESTORED, Some(&mark));
    tables.marks.delete(batch, RESTORED);
    Ok(Some(restoration))
}

/// No epoch that moves from now on is this one or below it. The floor of a jump counts on the clocks of both lines, and
/// one of them may have been wrong.
pub(crate) async fn rise_above(
    tables: &Tables,
    batch: &mut Batch,
    epoch: u64,
) -> Result<(), StoreError> {
    let floor = epoch_floor(tables).await?;
    if floor <= epoch {
        tables.marks.put(batch, EPOCH_FLOOR, &epoch.saturating_add(1));
    }
    Ok(())
}

/// The epoch that follows `old`.
pub(crate) async fn next_epoch(tables: &Tables, old: u64) -> Result<u64, StoreError> {
    Ok(old.saturating_add(1).max(epoch_floor(tables).await?))
}

/// The epoch with which something new begins, and no epoch that moves is below it; 0 in a service that never lost
/// anything.
pub(crate) async fn epoch_floor(tables: &Tables) -> Result<u64, StoreError> {
    Ok(tables.marks.get(EPOCH_FLOOR).await?.unwrap_or(0))
}

/// No new group has a lower number.
pub(crate) async fn group_floor(tables: &Tables) -> Result<u64, StoreError> {
    Ok(tables.marks.get(GROUP_FLOOR).await?.unwrap_or(0))
}

/// The number of the last event that this line and the one that was shown have in common, as far as both still know: what
/// stands above it was said by this process. Not told by times: the clock of either may have been wrong.
pub(crate) async fn common(
    tables: &Tables,
    head: &Head,
    marks: &[(u64, EventHash)],
) -> Result<u64, StoreError> {
    let mut newest_first = marks.to_vec();
    newest_first.sort_unstable_by_key(|(seq, _)| std::cmp::Reverse(*seq));
    for (seq, hash) in newest_first {
        if Place::of(tables, head, seq, hash).await? == Place::Here {
            return Ok(seq);
        }
    }
    Ok(0)
}

/// Subjects of events above this number, and all revoked ones, have to be lifted above the floor: those of these tenants,
/// `None` is all. A mark stays beside the others.
pub(crate) async fn lift_after(
    tables: &Tables,
    batch: &mut Batch,
    after: u64,
    of: Option<&TenantSet>,
) -> Result<(), StoreError> {
    let Some(tenants) = of else { return mark_lifting(tables, batch, LIFTING, after).await };
    for tenant in tenants.iter() {
        mark_lifting(tables, batch, &format!("{LIFTING_OF}{tenant}"), after).await?;
    }
    Ok(())
}

async fn mark_lifting(
    tables: &Tables,
    batch: &mut Batch,
    key: &str,
    after: u64,
) -> Result<(), StoreError> {
    let known: Option<u64> = tables.marks.get(key).await?;
    tables.marks.expect_same(batch, key, known.as_ref());
    tables.marks.put(batch, key, &known.map_or(after, |known| known.min(after)));
    Ok(())
}

/// The subjects that have to be lifted above the floor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lifting {
    all: Option<u64>,
    of: BTreeMap<String, u64>,
}

impl Lifting {
    /// Above which number subjects of this tenant are lifted; `None`: none are.
    pub(crate) fn after(&self, tenant: &str) -> Option<u64> {
        self.all.into_iter().chain(self.of.get(tenant).copied()).min()
    }

    /// The lowest such number of any tenant.
    pub(crate) fn lowest(&self) -> u64 {
        self.all.into_iter().chain(self.of.values().copied()).min().unwrap_or(u64::MAX)
    }
}

/// The subjects that have to be lifted, of [`LIFTED_TENANTS`] at a time; `None` when that is done.
pub(crate) async fn lifting(tables: &Tables) -> Result<Option<Lifting>, StoreError> {
    let all = tables.marks.get(LIFTING).await?;
    let rows = tables.marks.beginning_with(LIFTING_OF, LIFTED_TENANTS).await?;
    let named = rows.into_iter().map(|(name, after)| {
        let tenant = name.strip_prefix(LIFTING_OF).unwrap_or_default();
        (tenant.to_owned(), after)
    });
    let of: BTreeMap<_, _> = named.collect();
    Ok((all.is_some() || !of.is_empty()).then_some(Lifting { all, of }))
}

/// Notes that all of that was lifted.
pub(crate) fn lifted(tables: &Tables, batch: &mut Batch, done: &Lifting) {
    let of = done.of.iter().map(|(tenant, after)| (format!("{LIFTING_OF}{tenant}"), *after));
    for (key, after) in done.all.map(|after| (LIFTING.to_owned(), after)).into_iter().chain(of) {
        tables.marks.expect_same(batch, &key, Some(&after));
        tables.marks.delete(batch, &key);
    }
}

/// Every restoration that was noticed, the newest last.
pub(crate) async fn restorations(tables: &Tables) -> Result<Vec<Restoration>, StoreError> {
    Ok(tables.marks.get(LIST).await?.unwrap_or_default())
}

/// Forgets them: an operator has looked. Floors and the beginning of the line stay.
pub(crate) fn looked_at(tables: &Tables, batch: &mut Batch) {
    tables.marks.delete(batch, LIST);
}

/// Where a reader stands that names the number and hash of its newest event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this line, or on the part of it that was there before a jump.
    Here,
    /// The service can no longer tell: the event was swept.
    Unknown,
    /// On another past, or beyond.
    Elsewhere,
}

impl Place {
    pub(crate) async fn of(
        tables: &Tables,
        head: &Head,
        seq: u64,
        hash: EventHash,
    ) -> Result<Self, StoreError> {
        let same = |known: EventHash| match known == hash {
            true => Self::Here,
            false => Self::Elsewhere,
        };
        if seq == 0 {
            return Ok(Self::Here);
        }
        if seq >= head.seq {
            let here = seq == head.seq && hash == EventHash::from_bytes(head.hash);
            return Ok(if here { Self::Here } else { Self::Elsewhere });
        }
        if seq == head.start {
            return Ok(same(EventHash::from_bytes(head.start_hash)));
        }
        match tables.trust_events.get(one(seq)).await? {
            Some(SignedEvent(event)) => Ok(same(EventHash::of(&event))),
            // The number was never given out on the line that was left.
            None if seq < head.start => Ok(Self::Elsewhere),
            None => Ok(Self::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_restoration_is_the_same_in_rows_and_answers() {
        for why in [NoticedBy::Copy, NoticedBy::Reader, NoticedBy::Claim, NoticedBy::Token] {
            let now = Restoration { at: 1, from: 2, to: 3, why };
            let text = serde_json::to_string(&now).unwrap();
            assert_eq!(text, format!(r#"{{"at":1,"from":2,"to":3,"why":"{}"}}"#, why.as_str()));
            assert_eq!(serde_json::from_str::<Restoration>(&text).unwrap(), now);
        }
    }
}
