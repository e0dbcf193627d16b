//! Push refresh: the sessions of which provisioning has to hear again, while a connection of it listens.
//!
//! Nothing is noted without such a connection. The memory is bounded by the number of sessions: a session that changes
//! often is noted once, and one that ended and was never told is forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tessera_token::limits::PUSH_PAGE;
use tessera_token::refusal::RefusalCode;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::limits::PUSHES;
use crate::message::SubscriberId;

/// Changes that provisioning has to hear of.
pub(crate) struct PushChanges {
    is_on: AtomicBool,
    listener: Mutex<Option<Listener>>,
    bell: Notify,
    permits: Arc<Semaphore>,
}

/// The connection of provisioning that has the turn.
struct Listener {
    session: SubscriberId,
    /// Each once, in order, and
    order: BTreeMap<u64, SubscriberId>,
    /// the place of each.
    changed: HashMap<SubscriberId, u64>,
    /// The next place.
    place: u64,
    /// Those that were taken for a page that is not told yet.
    looked: HashSet<SubscriberId>,
    /// Those that it knows of.
    told: HashSet<SubscriberId>,
    failed: VecDeque<(SubscriberId, RefusalCode)>,
    /// Whether it waits for a page.
    waits: bool,
}

impl Listener {
    fn new(session: SubscriberId) -> Self {
        Self {
            session,
            order: BTreeMap::new(),
            changed: HashMap::new(),
            place: 0,
            looked: HashSet::new(),
            told: HashSet::new(),
            failed: VecDeque::new(),
            waits: false,
        }
    }

    /// Whether that is news.
    fn note(&mut self, session: SubscriberId) -> bool {
        if self.changed.contains_key(&session) {
            return false;
        }
        self.changed.insert(session, self.place);
        self.order.insert(self.place, session);
        self.place += 1;
        true
    }

    fn forget(&mut self, session: SubscriberId) {
        if let Some(place) = self.changed.remove(&session) {
            self.order.remove(&place);
        }
    }
}

/// A part of what has changed.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Sessions to look at.
    pub(crate) sessions: Vec<SubscriberId>,
    /// Pushes that failed.
    pub(crate) failed: Vec<(SubscriberId, RefusalCode)>,
}

impl Default for PushChanges {
    fn default() -> Self {
        Self {
            is_on: AtomicBool::new(false),
            listener: Mutex::new(None),
            bell: Notify::new(),
            permits: Arc::new(Semaphore::new(PUSHES)),
        }
    }
}

impl PushChanges {
    /// The connection of this session listens from now on, in the place of any other, and has to hear of all sessions. False
    /// when it listens already: it hears of all of them once.
    pub(crate) fn begin<I: Iterator<Item = SubscriberId>>(
        &self,
        session: SubscriberId,
        all: impl FnOnce() -> I,
    ) -> bool {
        let mut listener = self.listener.lock();
        if listener.as_ref().is_some_and(|one| one.session == session) {
            return false;
        }
        *listener = Some(Listener::new(session));
        // Before the sessions are counted: one that comes meanwhile is noted.
        self.is_on.store(true, Ordering::Release);
        drop(listener);
        let all: Vec<_> = all().filter(|one| *one != session).collect();
        let mut listener = self.listener.lock();
        if let Some(one) = listener.as_mut().filter(|one| one.session == session) {
            for each in all {
                one.note(each);
            }
        }
        drop(listener);
        // A page that another connection waited for.
        self.bell.notify_waiters();
        true
    }

    /// Something of this session has changed that may matter: its token, its connection, what it listens to.
    pub(crate) fn note(&self, session: SubscriberId) {
        if !self.is_on.load(Ordering::Acquire) {
            return;
        }
        let mut listener = self.listener.lock();
        if listener.as_mut().is_some_and(|one| one.note(session)) {
            self.bell.notify_waiters();
        }
    }

    /// This session has ended.
    pub(crate) fn ended(&self, session: SubscriberId) {
        if !self.is_on.load(Ordering::Acquire) {
            return;
        }
        let mut listener = self.listener.lock();
        match listener.as_mut() {
            Some(one) if one.session == session => {
                *listener = None;
                self.is_on.store(false, Ordering::Release);
                self.bell.notify_waiters();
            }
            // Also one of the page that is being made: it may be told as a session that lives.
            Some(one) if one.told.contains(&session) || one.looked.contains(&session) => {
                one.note(session);
                self.bell.notify_waiters();
            }
            Some(one) => one.forget(session),
            None => {}
        }
    }

    /// A push to this session failed.
    pub(crate) fn failed(&self, session: SubscriberId, code: RefusalCode) {
        let mut listener = self.listener.lock();
        let Some(listener) = listener.as_mut() else { return };
        // Beyond that the pushes have no outcome, which counts as failed too.
        if listener.failed.len() < PUSHES {
            listener.failed.push_back((session, code));
            self.bell.notify_waiters();
        }
    }

    /// The listener waits for a page from now on; false when it does already, or is no listener.
    pub(crate) fn wait(&self, session: SubscriberId) -> bool {
        let mut listener = self.listener.lock();
        let waiting = listener.as_mut().filter(|one| one.session == session && !one.waits);
        waiting.map(|one| one.waits = true).is_some()
    }

    /// Until something has changed since the last page, or is likely to have. The caller bounds the time.
    pub(crate) async fn changed(&self) {
        let bell = self.bell.notified();
        let is_empty = |one: &Listener| one.order.is_empty() && one.failed.is_empty();
        if self.listener.lock().as_ref().is_some_and(is_empty) {
            bell.await;
        }
    }

    /// The next part for the listener, which does not wait any more; `None` for another session.
    pub(crate) fn take(&self, session: SubscriberId) -> Option<Changed> {
        let mut listener = self.listener.lock();
        let one = listener.as_mut().filter(|one| one.session == session)?;
        one.waits = false;
        let mut changed = Changed::default();
        while changed.sessions.len() < PUSH_PAGE {
            let Some((_, next)) = one.order.pop_first() else { break };
            one.changed.remove(&next);
            changed.sessions.push(next);
        }
        one.looked = changed.sessions.iter().copied().collect();
        let failed = one.failed.len().min(PUSH_PAGE);
        changed.failed.extend(one.failed.drain(..failed));
        Some(changed)
    }

    /// Notes that the listener is told this: the sessions that take pushes. Gives those that it knew and that take none.
    pub(crate) fn tell(
        &self,
        session: SubscriberId,
        takes: &[SubscriberId],
        takes_none: Vec<SubscriberId>,
    ) -> Vec<SubscriberId> {
        let mut listener = self.listener.lock();
        let Some(one) = listener.as_mut().filter(|one| one.session == session) else {
            return Vec::new();
        };
        one.looked.clear();
        one.told.extend(takes);
        takes_none.into_iter().filter(|gone| one.told.remove(gone)).collect()
    }

    /// A place for one push, when there is one.
    pub(crate) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: SubscriberId = SubscriberId(1);

    fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<SubscriberId> {
        numbers.into_iter().map(SubscriberId).collect()
    }

    fn taken(changes: &PushChanges) -> Vec<SubscriberId> {
        changes.take(OWN).unwrap().sessions
    }

    #[test]
    fn without_a_listener_nothing_is_noted() {
        let changes = PushChanges::default();
        changes.note(SubscriberId(5));
        changes.failed(SubscriberId(5), RefusalCode::Internal);
        assert!(!changes.wait(OWN) && changes.take(OWN).is_none());
        assert!(changes.begin(OWN, || ids([1, 2]).into_iter()));
        assert_eq!(taken(&changes), ids([2]), "all but the listener itself");
        assert_eq!(changes.take(SubscriberId(2)), None, "another session gets nothing");
    }

    #[test]
    fn a_session_is_told_once_however_often_it_changes() {
        let changes = PushChanges::default();
        changes.begin(OWN, std::iter::empty);
        for _ in 0..10 {
            changes.note(SubscriberId(3));
        }
        assert_eq!(taken(&changes), ids([3]));
        assert_eq!(taken(&changes), []);
        changes.note(SubscriberId(3));
        assert_eq!(taken(&changes), ids([3]));
    }

    #[test]
    fn a_session_that_ended_is_told_only_when_it_was_known() {
        let changes = PushChanges::default();
        assert!(changes.begin(OWN, || ids([2, 3]).into_iter()));
        changes.ended(SubscriberId(2));
        assert_eq!(taken(&changes), ids([3]));
        assert_eq!(changes.tell(OWN, &ids([3]), ids([2])), [], "2 was never told");
        changes.ended(SubscriberId(3));
        assert_eq!(taken(&changes), ids([3]));
        assert_eq!(changes.tell(OWN, &[], ids([3])), ids([3]));
    }

    #[test]
    fn a_session_that_ends_while_its_page_is_made_is_told_as_gone() {
        let changes = PushChanges::default();
        changes.begin(OWN, || ids([2, 3]).into_iter());
        assert_eq!(taken(&changes), ids([2, 3]));
        changes.ended(SubscriberId(2));
        assert_eq!(changes.tell(OWN, &ids([2, 3]), Vec::new()), [], "as the page saw them");
        assert_eq!(taken(&changes), ids([2]));
        assert_eq!(changes.tell(OWN, &[], ids([2])), ids([2]));
        // One that was looked at and takes none is no news when it ends.
        changes.note(SubscriberId(4));
        assert_eq!(taken(&changes), ids([4]));
        assert_eq!(changes.tell(OWN, &[], ids([4])), []);
        changes.ended(SubscriberId(4));
        assert_eq!(taken(&changes), []);
    }

    #[test]
    fn sessions_that_come_and_go_untold_leave_nothing() {
        let changes = PushChanges::default();
        changes.begin(OWN, || ids([2]).into_iter());
        for number in 10..10_000 {
            changes.note(SubscriberId(number));
            changes.ended(SubscriberId(number));
        }
        let listener = changes.listener.lock();
        let one = listener.as_ref().unwrap();
        assert_eq!((one.order.len(), one.changed.len(), one.told.len()), (1, 1, 0));
    }

    #[test]
    fn a_listener_hears_of_all_sessions_once_and_of_one_that_comes_meanwhile() {
        let changes = PushChanges::default();
        let begun = changes.begin(OWN, || {
            changes.note(SubscriberId(7));
            ids([2, 3]).into_iter()
        });
        assert!(begun);
        assert_eq!(taken(&changes), ids([7, 2, 3]));
        assert!(!changes.begin(OWN, || ids([2, 3]).into_iter()));
        assert_eq!(taken(&changes), [], "a second call costs and tells nothing");
    }

    #[test]
    fn the_newest_listener_has_the_turn_and_its_end_ends_the_notes() {
        let changes = PushChanges::default();
        assert!(changes.begin(SubscriberId(9), || ids([2]).into_iter()));
        assert!(changes.wait(SubscriberId(9)));
        assert!(!changes.wait(SubscriberId(9)), "one page at a time");
        assert!(changes.begin(OWN, || ids([2, 9]).into_iter()));
        assert_eq!(changes.take(SubscriberId(9)), None);
        changes.ended(SubscriberId(9));
        assert!(changes.wait(OWN));
        changes.ended(OWN);
        assert!(!changes.wait(OWN));
        changes.note(SubscriberId(2));
        assert!(changes.listener.lock().is_none());
    }

    #[test]
    fn a_page_is_bounded() {
        let changes = PushChanges::default();
        assert!(changes.begin(OWN, || ids(10..10 + 2 * PUSH_PAGE as u64 + 1).into_iter()));
        let sizes: Vec<_> = (0..4).map(|_| taken(&changes).len()).collect();
        assert_eq!(sizes, [PUSH_PAGE, PUSH_PAGE, 1, 0]);
        for number in 0..1000 {
            changes.failed(SubscriberId(number), RefusalCode::Internal);
        }
        assert!(changes.take(OWN).unwrap().failed.len() <= PUSHES.min(PUSH_PAGE));
    }
}
