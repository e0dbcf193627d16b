//! Answers of the trust feed on their way to gateways (`$tessera/trust`): one question and one hand-over of alerts of each
//! session at a time, and a bounded number of bytes that wait to be taken page by page.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tessera_token::refusal::RefusalCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{UPLINK_ASKS, UPLINK_HELD, UPLINK_HELD_BYTES, UPLINK_SNAPSHOTS};

/// The kind of a call: a session has one of each at a time, so that alerts need not wait for a long poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    /// A question to the feed.
    Ask,
    /// A hand-over of alerts.
    Report,
}

/// Calls that are under way, and answers that wait to be taken.
pub(crate) struct Uplinks {
    rows: Arc<Mutex<Rows>>,
    asks: Arc<Semaphore>,
    snapshots: Arc<Semaphore>,
}

#[derive(Default)]
struct Rows {
    by_session: HashMap<u64, Row>,
    held_bytes: usize,
}

#[derive(Default)]
struct Row {
    asking: bool,
    reporting: bool,
    held: Option<Held>,
}

/// An answer that is taken page by page.
struct Held {
    number: u64,
    bytes: Bytes,
    next: usize,
    shared: bool,
    until: Duration,
}

/// The next page of an answer.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) total: usize,
    pub(crate) from: usize,
    pub(crate) shared: bool,
    pub(crate) bytes: Bytes,
}

impl Default for Uplinks {
    fn default() -> Self {
        Self {
            rows: Arc::default(),
            asks: Arc::new(Semaphore::new(UPLINK_ASKS)),
            snapshots: Arc::new(Semaphore::new(UPLINK_SNAPSHOTS)),
        }
    }
}

/// The place of one call. It is free again when this is let go of.
pub(crate) struct Turn {
    rows: Arc<Mutex<Rows>>,
    session: u64,
    lane: Lane,
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl Uplinks {
    /// A place for a call of a session. A question takes the place of an answer that was not taken to its end.
    ///
    /// # Errors
    /// `limit_reached` when one of this lane is under way, or too many of all sessions.
    pub(crate) fn begin(
        &self,
        session: u64,
        (lane, is_snapshot): (Lane, bool),
    ) -> Result<Turn, RefusalCode> {
        let full = |_| RefusalCode::LimitReached;
        let ask = Arc::clone(&self.asks).try_acquire_owned().map_err(full)?;
        let snapshot = match is_snapshot {
            true => Some(Arc::clone(&self.snapshots).try_acquire_owned().map_err(full)?),
            false => None,
        };
        let mut rows = self.rows.lock();
        let row = rows.by_session.entry(session).or_default();
        let (flag, held) = match lane {
            Lane::Ask => (&mut row.asking, row.held.take()),
            Lane::Report => (&mut row.reporting, None),
        };
        let busy = std::mem::replace(flag, true);
        rows.held_bytes -= held.map_or(0, |held| held.bytes.len());
        match busy {
            true => Err(RefusalCode::LimitReached),
            false => {
                Ok(Turn { rows: Arc::clone(&self.rows), session, lane, _permits: (ask, snapshot) })
            }
        }
    }

    /// The first page of an answer; the rest waits.
    ///
    /// # Errors
    /// `limit_reached` when too many bytes wait already.
    pub(crate) fn give(
        &self,
        turn: Turn,
        (number, page): (u64, usize),
        (bytes, shared): (Bytes, bool),
        now: Duration,
    ) -> Result<Part, RefusalCode> {
        let (total, end) = (bytes.len(), page.min(bytes.len()));
        let part = Part { total, from: 0, shared, bytes: bytes.slice(..end) };
        if end < total {
            let mut rows = self.rows.lock();
            if rows.held_bytes + total > UPLINK_HELD_BYTES {
                rows.let_go_of_the_late(now);
            }
            if rows.held_bytes + total > UPLINK_HELD_BYTES {
                return Err(RefusalCode::LimitReached);
            }
            // The session may have ended meanwhile.
            if let Some(row) = rows.by_session.get_mut(&turn.session) {
                let until = now.saturating_add(UPLINK_HELD);
                row.held = Some(Held { number, bytes, next: end, shared, until });
                rows.held_bytes += total;
            }
        }
        Ok(part)
    }

    /// The page of the answer to the call `number` that begins at `from`, which must be the next one.
    ///
    /// # Errors
    /// `not_found` when no such answer waits any more, `request_malformed` when another page is the next one.
    pub(crate) fn more(
        &self,
        session: u64,
        (number, from, page): (u64, u64, usize),
        now: Duration,
    ) -> Result<Part, RefusalCode> {
        let mut rows = self.rows.lock();
        let row = rows.by_session.get_mut(&session).ok_or(RefusalCode::NotFound)?;
        let held = row.held.as_mut().filter(|held| held.number == number && now < held.until);
        let held = held.ok_or(RefusalCode::NotFound)?;
        if u64::try_from(held.next) != Ok(from) {
            return Err(RefusalCode::RequestMalformed);
        }
        let (total, start) = (held.bytes.len(), held.next);
        let end = start.saturating_add(page).min(total);
        let part =
            Part { total, from: start, shared: held.shared, bytes: held.bytes.slice(start..end) };
        (held.next, held.until) = (end, now.saturating_add(UPLINK_HELD));
        if end == total {
            row.held = None;
            rows.held_bytes -= total;
            rows.tidy(session);
        }
        Ok(part)
    }

    /// A session has ended: nothing waits for it.
    pub(crate) fn ended(&self, session: u64) {
        let mut rows = self.rows.lock();
        if let Some(row) = rows.by_session.remove(&session) {
            rows.held_bytes -= row.held.map_or(0, |held| held.bytes.len());
        }
    }
}

impl Rows {
    fn let_go_of_the_late(&mut self, now: Duration) {
        let mut freed = 0;
        for row in self.by_session.values_mut() {
            if row.held.as_ref().is_some_and(|held| held.until <= now) {
                freed += row.held.take().map_or(0, |held| held.bytes.len());
            }
        }
        self.held_bytes -= freed;
    }

    /// Removes the row of a session of which nothing is under way.
    fn tidy(&mut self, session: u64) {
        let idle = |row: &Row| !row.asking && !row.reporting && row.held.is_none();
        if self.by_session.get(&session).is_some_and(idle) {
            self.by_session.remove(&session);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut rows = self.rows.lock();
        if let Some(row) = rows.by_session.get_mut(&self.session) {
            match self.lane {
                Lane::Ask => row.asking = false,
                Lane::Report => row.reporting = false,
            }
        }
        rows.tidy(self.session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const ASK: (Lane, bool) = (Lane::Ask, false);

    fn big(bytes: usize) -> (Bytes, bool) {
        (Bytes::from(vec![7; bytes]), false)
    }

    #[test]
    fn one_question_of_a_session_at_a_time_and_alerts_beside_it() {
        let uplinks = Uplinks::default();
        let first = uplinks.begin(1, ASK).unwrap();
        assert_eq!(uplinks.begin(1, ASK).err(), Some(RefusalCode::LimitReached));
        let alerts = uplinks.begin(1, (Lane::Report, false)).unwrap();
        assert!(uplinks.begin(1, (Lane::Report, false)).is_err());
        let others: Vec<Turn> = (2..4).map(|id| uplinks.begin(id, ASK).unwrap()).collect();
        drop(first);
        drop(uplinks.begin(1, ASK).unwrap());
        drop((alerts, others));
        assert!(uplinks.rows.lock().by_session.is_empty());
        let snapshots: Vec<Turn> = (0..UPLINK_SNAPSHOTS as u64)
            .map(|id| uplinks.begin(id, (Lane::Ask, true)).unwrap())
            .collect();
        assert!(uplinks.begin(99, (Lane::Ask, true)).is_err());
        drop(snapshots);
        let most: Vec<Turn> =
            (0..UPLINK_ASKS as u64).map(|id| uplinks.begin(id, ASK).unwrap()).collect();
        assert!(uplinks.begin(9_999, ASK).is_err());
        drop(most);
        assert!(uplinks.rows.lock().by_session.is_empty());
    }

    #[test]
    fn pages_are_taken_in_order_and_an_answer_that_is_left_goes() {
        let uplinks = Uplinks::default();
        let part = uplinks.give(uplinks.begin(1, ASK).unwrap(), (5, 10), big(25), NOW).unwrap();
        assert_eq!((part.total, part.from, part.bytes.len()), (25, 0, 10));
        let more = |from, at| uplinks.more(1, (5, from, 10), at);
        assert_eq!(more(0, NOW), Err(RefusalCode::RequestMalformed));
        assert_eq!(uplinks.more(1, (4, 10, 10), NOW), Err(RefusalCode::NotFound));
        assert_eq!(uplinks.more(2, (5, 10, 10), NOW), Err(RefusalCode::NotFound));
        assert_eq!(more(10, NOW).unwrap().bytes.len(), 10);
        let last = more(20, NOW).unwrap();
        assert_eq!((last.from, last.bytes.len()), (20, 5));
        assert_eq!(more(25, NOW), Err(RefusalCode::NotFound));
        assert!(uplinks.rows.lock().by_session.is_empty());
        // One that is not asked for in time is not there any more; the next question takes its place at once.
        uplinks.give(uplinks.begin(1, ASK).unwrap(), (6, 10), big(25), NOW).unwrap();
        assert_eq!(uplinks.more(1, (6, 10, 10), NOW + UPLINK_HELD), Err(RefusalCode::NotFound));
        drop(uplinks.begin(1, ASK).unwrap());
        assert_eq!(uplinks.rows.lock().held_bytes, 0);
    }

    #[test]
    fn the_bytes_that_wait_are_bounded() {
        let uplinks = Uplinks::default();
        let half = UPLINK_HELD_BYTES / 2;
        let give = |id: u64, at| {
            uplinks.give(uplinks.begin(id, ASK).unwrap(), (1, 10), big(half), at).map(drop)
        };
        assert_eq!((give(1, NOW), give(2, NOW)), (Ok(()), Ok(())));
        assert_eq!(give(3, NOW), Err(RefusalCode::LimitReached));
        uplinks.ended(1);
        assert_eq!((give(3, NOW), give(4, NOW)), (Ok(()), Err(RefusalCode::LimitReached)));
        // Those that were left make room.
        assert_eq!(give(4, NOW + UPLINK_HELD), Ok(()));
        for id in 2..=4 {
            uplinks.ended(id);
        }
        assert_eq!(uplinks.rows.lock().held_bytes, 0);
    }
}
