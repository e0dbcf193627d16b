//! Room that other processes of the same database have taken: their events, and the groups that they have made.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use parking_lot::Mutex;
use tessera_runtime::limits::STORE_SCAN_ROWS;
use tessera_runtime::sql::Batch;
use tessera_runtime::store::StoreError;
use tessera_token::trust::{Change, Event};

use super::load::Load;
use super::Room;
use crate::records::heads::{TrustHead, TRUST_HEAD};
use crate::records::SignedEvent;
use crate::tables::{number, one, Tables};

/// The count of groups that were ever made: a group takes its room without an event.
const GROUPS_MADE: &str = "groups_made";

/// How far the others are known.
#[derive(Default)]
pub(super) struct Follow(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The newest event.
    seq: u64,
    groups: u64,
    /// Events of this process, which have their room already.
    own: VecDeque<RangeInclusive<u64>>,
}

/// The state of the database.
struct Present {
    head: TrustHead,
    groups: u64,
}

impl Present {
    async fn read(tables: &Tables) -> Result<Self, StoreError> {
        let head: TrustHead = tables.marks.get(TRUST_HEAD).await?.unwrap_or_default();
        let groups = tables.marks.get(GROUPS_MADE).await?.unwrap_or(0);
        Ok(Self { head, groups })
    }
}

impl Follow {
    /// As of now: everything is counted behind this.
    pub(super) async fn begin(tables: &Tables) -> Result<Self, StoreError> {
        let Present { head, groups } = Present::read(tables).await?;
        Ok(Self(Mutex::new(Known { seq: head.seq, groups, own: VecDeque::new() })))
    }

    /// These events have their room.
    pub(super) fn own(&self, events: RangeInclusive<u64>) {
        self.0.lock().own.push_back(events);
    }
}

impl Room {
    /// Books what other processes have taken since the last call.
    pub(crate) async fn catch_up(&self, tables: &Tables) -> Result<(), StoreError> {
        let Some(follow) = &self.follow else { return Ok(()) };
        let Present { head, groups } = Present::read(tables).await?;
        let (seq, groups_known) = {
            let known = follow.0.lock();
            (known.seq, known.groups)
        };
        if seq >= head.seq && groups_known == groups {
            return Ok(());
        }
        match foreign(follow, tables, seq, &head).await? {
            Some(loads) if groups_known == groups => {
                loads.iter().for_each(|(tenant, load)| self.book(tenant, load));
            }
            // More than events say: all is counted.
            _ => self.recount(tables).await?,
        }
        let mut known = follow.0.lock();
        known.seq = known.seq.max(head.seq);
        known.groups = groups;
        known.own.retain(|events| *events.end() > head.seq);
        Ok(())
    }

    /// Counts a group that the batch makes, for the other processes. `None` when there are no others.
    pub(crate) async fn note_group(
        &self,
        tables: &Tables,
        batch: &mut Batch,
    ) -> Result<Option<u64>, StoreError> {
        if self.follow.is_none() {
            return Ok(None);
        }
        let before = tables.marks.get::<u64>(GROUPS_MADE).await?;
        let made = before.unwrap_or(0).saturating_add(1);
        tables.marks.expect_same(batch, GROUPS_MADE, before.as_ref());
        tables.marks.put(batch, GROUPS_MADE, &made);
        Ok(Some(made))
    }

    /// The group is made: it has its room in this process.
    pub(crate) fn group_noted(&self, made: Option<u64>) {
        let (Some(follow), Some(made)) = (&self.follow, made) else { return };
        let mut known = follow.0.lock();
        if known.groups.saturating_add(1) == made {
            known.groups = made;
        }
    }
}

/// The loads of the events of others; `None` when events do not tell all: they are too many, some are gone, or one tells of
/// a tenant, which may publish the keys of its devices from then on.
async fn foreign(
    follow: &Follow,
    tables: &Tables,
    after: u64,
    head: &TrustHead,
) -> Result<Option<Vec<(String, Load)>>, StoreError> {
    let rows = tables.trust_events.scan(&[], Some(&one(after)), STORE_SCAN_ROWS).await?;
    let mut loads = Vec::new();
    let mut last = after;
    for (key, SignedEvent(signed)) in rows {
        let seq = number(&key, 0)?;
        if seq > head.seq {
            break;
        }
        if seq != last.saturating_add(1) {
            return Ok(None);
        }
        last = seq;
        if follow.0.lock().own.iter().any(|events| events.contains(&seq)) {
            continue;
        }
        match Event::unverified(&signed).map(|event| event.change) {
            Err(_) | Ok(Change::Tenant(_)) => return Ok(None),
            Ok(change) => loads.push((change.tenant().as_str().to_owned(), Load::weight(&change))),
        }
    }
    Ok((last == head.seq).then_some(loads))
}
