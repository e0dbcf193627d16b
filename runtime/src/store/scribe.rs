//! The steps of the writing thread for a group: journal, sync, rows in memory, mark. And when a checkpoint begins.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::checkpoint::{self, Frozen};
use super::core::{at, Core};
use super::engine::Changes;
use super::error::{is_full, StoreError};
use super::journal::{self, Journal};
use crate::clock::{Clock, SystemClock};
use crate::limits::{
    JOURNAL_BYTES, JOURNAL_FILES, STORE_CHECKPOINT_PAUSE, STORE_MEMORY_BYTES, STORE_MEMORY_MOST,
    STORE_PACE, STORE_SMALL_BYTES,
};

/// The state of the writing thread.
pub(super) struct Scribe {
    core: Arc<Core>,
    /// Made with the first commit: a start that changes nothing writes nothing.
    journal: Option<Journal>,
    next_journal: u64,
    commit: u64,
    /// The part that waits for its base, or is on its way there; its rows are in the view alone.
    frozen: Option<Frozen>,
    running: Option<JoinHandle<Result<(), StoreError>>>,
    clock: SystemClock,
    stuck: Option<Stuck>,
    /// Outcome of the last try.
    why: Option<StoreError>,
    /// Before this moment a disk without room is not tried again.
    next_try: Duration,
    /// Why the last checkpoint failed; `None` once one has been made.
    failed: Option<StoreError>,
    /// Before this moment a checkpoint that failed is not tried again.
    not_before: Duration,
    /// Whether it was told that nothing is taken until there is a new base.
    told_crowded: bool,
    sync_took: Duration,
}

/// The work that a disk without room has left open. Nothing more is written before it is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stuck {
    /// A record could not be written, and its written part could not be taken back.
    Torn,
    /// The head does not say yet what the last answer rests on.
    Unmarked,
    /// There was no room, and nothing else is wrong.
    Full,
}

impl Scribe {
    pub(super) fn new(core: Arc<Core>, next_journal: u64) -> Self {
        let commit = core.head.lock().state().commit;
        let clock = SystemClock::new();
        let (next_try, not_before, sync_took) = Default::default();
        Self {
            core,
            journal: None,
            next_journal,
            commit,
            frozen: None,
            running: None,
            stuck: None,
            why: None,
            clock,
            next_try,
            failed: None,
            not_before,
            told_crowded: false,
            sync_took,
        }
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    /// Makes a group durable and lets readers see it. With [`StoreError::Full`] nothing of it was written, and it is
    /// given back.
    pub(super) fn write(&mut self, changes: Changes) -> Result<(), (StoreError, Changes)> {
        if let Err(error) = self.try_when_due() {
            return Err((error, changes));
        }
        let commit = self.commit + 1;
        let before = self.clock.monotonic();
        if let Err(error) = self.append(commit, &changes) {
            return Err((self.not_appended(&error), changes));
        }
        self.take_in(commit, before, changes).map_err(|error| (error, Changes::new()))
    }

    /// The journal holds the group: readers see it.
    fn take_in(
        &mut self,
        commit: u64,
        before: Duration,
        changes: Changes,
    ) -> Result<(), StoreError> {
        let core = Arc::clone(&self.core);
        self.sync_took = self.clock.monotonic().saturating_sub(before);
        self.commit = commit;
        // Under the lock of the head, so that a copy sees the rows and the number of one commit.
        let mut head = core.head.lock();
        core.apply(changes)?;
        match head.mark(commit) {
            Err(error) if is_full(&error) => {
                // The journal holds it, so it is done. A power cut may leave an older mark too.
                self.wait(Stuck::Unmarked, at(&core.folder, &error));
                self.tell(&error);
                Ok(())
            }
            marked => marked.map_err(|error| at(&core.folder, &error)),
        }
    }

    fn append(&mut self, commit: u64, changes: &Changes) -> io::Result<()> {
        if self.journal.is_none() {
            self.journal = Some(self.new_journal(commit)?);
        }
        self.journal.as_mut().map_or(Ok(()), |journal| journal.append(commit, changes))
    }

    /// A record that found no room is taken back, so that no start reads what was refused.
    fn not_appended(&mut self, error: &io::Error) -> StoreError {
        let refused = at(&self.core.folder, error);
        if !is_full(error) {
            return refused;
        }
        self.tell(error);
        match self.journal.as_mut().map_or(Ok(()), Journal::take_back) {
            Ok(()) => {
                self.wait(Stuck::Full, refused.clone());
                refused
            }
            // Not for want of room: the content of the disk is unknown, and nothing more is written.
            Err(error) if !is_full(&error) => at(&self.core.folder, &error),
            Err(error) => {
                self.wait(Stuck::Torn, refused);
                let folder = self.core.folder.display();
                StoreError::Io(format!("{folder}: a record is not taken back: {error}"))
            }
        }
    }

    fn tell(&self, error: &io::Error) {
        let store = self.core.folder.display();
        tracing::error!(%store, %error, "no room on the disk: the store writes nothing until there is some, and tries again by itself");
    }

    /// Whether it found no room and has not gone on since.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    /// How long to wait for the next try; `None` when there is nothing to try.
    pub(super) fn tries_after(&self) -> Option<Duration> {
        match self.stuck {
            Some(_) => Some(self.next_try.saturating_sub(self.clock.monotonic())),
            None => self.is_crowded().then(|| self.core.disk.pause()),
        }
    }

    pub(super) fn clock(&self) -> SystemClock {
        self.clock
    }

    fn wait(&mut self, stuck: Stuck, why: StoreError) {
        (self.stuck, self.why) = (Some(stuck), Some(why));
        self.next_try = self.clock.monotonic().saturating_add(self.core.disk.pause());
    }

    /// As [`Self::try_again`] for callers. Each try writes, so their number must not grow with that of the callers: until
    /// the next one is due, they are refused by what the last one met.
    pub(super) fn try_when_due(&mut self) -> Result<(), StoreError> {
        let is_due = self.clock.monotonic() >= self.next_try || self.core.disk.has_room_again();
        match &self.why {
            Some(why) if self.is_stuck() && !is_due => Err(why.clone()),
            _ => self.try_again(),
        }
    }

    /// Finishes what a full disk has left open and goes on when there is room for the next record.
    pub(super) fn try_again(&mut self) -> Result<(), StoreError> {
        let Some(stuck) = self.stuck else { return Ok(()) };
        if let Err(error) = self.go_on(stuck) {
            let why = at(&self.core.folder, &error);
            match (is_full(&error), self.stuck) {
                (true, Some(stuck)) => self.wait(stuck, why.clone()),
                // Another fault than the one that is waited for: the store ends, as by any such.
                _ => self.stuck = None,
            }
            return Err(why);
        }
        (self.stuck, self.why) = (None, None);
        tracing::info!(store = %self.core.folder.display(), "there is room on the disk again: the store goes on");
        Ok(())
    }

    fn go_on(&mut self, stuck: Stuck) -> io::Result<()> {
        match stuck {
            Stuck::Torn => {
                self.journal.as_mut().map_or(Ok(()), Journal::take_back)?;
                self.stuck = Some(Stuck::Full);
            }
            Stuck::Unmarked => self.core.head.lock().mark(self.commit)?,
            Stuck::Full => {}
        }
        if self.journal.is_none() {
            self.journal = Some(self.new_journal(self.commit + 1)?);
        }
        self.journal.as_mut().map_or(Ok(()), Journal::make_room)
    }

    fn new_journal(&mut self, first_commit: u64) -> io::Result<Journal> {
        let Core { disk, folder, .. } = &*self.core;
        let store = self.core.head.lock().state().store;
        let journal = Journal::create(disk, folder, store, self.next_journal, first_commit)?;
        self.next_journal += 1;
        Ok(journal)
    }

    /// Whether a sync takes so little time that a pause lets more callers share the next one.
    pub(super) fn is_fast(&self) -> bool {
        self.sync_took < STORE_PACE
    }

    /// Begins a checkpoint when one is due, and takes in one that has ended.
    pub(super) fn look_after(&mut self) {
        let waits = self.has_too_much() && self.failed.is_none();
        if self.running.as_ref().is_some_and(|thread| thread.is_finished() || waits) {
            self.settle();
        }
        self.begin_when_due();
        self.tell_crowded();
    }

    fn begin_when_due(&mut self) {
        if self.running.is_some() || self.clock.monotonic() < self.not_before {
            return;
        }
        if self.frozen.is_some() || self.is_due() {
            self.begin();
        }
    }

    /// Whether rows in memory wait for a base that could not be written: nothing more is taken until it is, also while it
    /// is tried again.
    pub(super) fn is_crowded(&self) -> bool {
        self.failed.is_some() && self.frozen.is_some() && self.has_too_much()
    }

    fn has_too_much(&self) -> bool {
        self.memory() > STORE_MEMORY_MOST * STORE_MEMORY_BYTES
    }

    fn tell_crowded(&mut self) {
        let is_crowded = self.is_crowded();
        if is_crowded == std::mem::replace(&mut self.told_crowded, is_crowded) {
            return;
        }
        let store = self.core.folder.display();
        match &self.failed {
            Some(error) if is_crowded => tracing::error!(
                %store,
                %error,
                "rows in memory wait for a new base, which cannot be written: the store takes no change until it is, and \
                 tries each minute; make room for three times the bytes of the store, or mend what the error names"
            ),
            _ => tracing::info!(%store, "the new base is written: the store takes changes again"),
        }
    }

    fn is_due(&self) -> bool {
        let most = JOURNAL_BYTES.max(2 * self.core.base_bytes());
        self.journal_bytes() > most
            || self.core.former.lock().len() > JOURNAL_FILES
            || self.memory() > STORE_MEMORY_BYTES
    }

    fn memory(&self) -> usize {
        self.core.read(|view| Ok(view.active.bytes())).unwrap_or(0)
    }

    fn journal_bytes(&self) -> u64 {
        let former: u64 = self.core.former.lock().iter().map(|(_, bytes)| bytes).sum();
        former + self.journal.as_ref().map_or(0, Journal::bytes)
    }

    fn begin(&mut self) {
        let Some(frozen) = self.freeze() else { return };
        let core = Arc::clone(&self.core);
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || checkpoint::run(&core, frozen));
        match thread {
            Ok(thread) => self.running = Some(thread),
            Err(error) => self.failed(&StoreError::Io(error.to_string())),
        }
    }

    /// Contents of the next base: what an earlier try set aside, or all rows of now.
    fn freeze(&mut self) -> Option<Frozen> {
        if self.stuck == Some(Stuck::Torn) {
            // The journal that holds a refused record must not be set aside with it.
            return None;
        }
        if self.frozen.is_none() {
            // The next commit begins a journal of its own.
            if let Some(journal) = self.journal.take() {
                self.core.former.lock().push((journal.number(), journal.bytes()));
            }
            let set_aside = self.core.change(|view| {
                view.freeze();
                Ok(())
            });
            set_aside.ok()?;
            self.frozen = Some(Frozen { commit: self.commit, journal: self.next_journal });
        }
        self.frozen
    }

    fn settle(&mut self) {
        let Some(thread) = self.running.take() else { return };
        match thread.join() {
            Ok(Ok(())) => (self.frozen, self.failed) = (None, None),
            Ok(Err(error)) => self.failed(&error),
            Err(_) => self.failed(&StoreError::Io("the checkpoint panicked".to_owned())),
        }
    }

    fn failed(&mut self, error: &StoreError) {
        if !self.told_crowded {
            let store = self.core.folder.display();
            tracing::error!(%store, %error, "the new base of the store is not written: its journal goes on, and the next try is in a minute");
        }
        self.failed = Some(error.clone());
        self.not_before = self.clock.monotonic() + STORE_CHECKPOINT_PAUSE;
    }

    /// The end: rows that are worth it go into a base, and the head says that the store was closed.
    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        if let Err(error) = self.try_again() {
            let _ = self.abandon();
            return Err(error);
        }
        self.settle();
        let most = STORE_SMALL_BYTES.max(self.core.base_bytes());
        if self.frozen.is_some() || self.journal_bytes() > most {
            self.compact();
        }
        let closed = self.say_closed();
        self.core.close();
        closed.map_err(|error| at(&self.core.folder, &error))
    }

    fn say_closed(&self) -> io::Result<()> {
        self.journal.as_ref().map_or(Ok(()), Journal::trim)?;
        journal::remove_spare(&self.core.folder)?;
        let commit = self.commit;
        self.core.head.lock().update(|state| {
            state.commit = commit;
            state.clean = true;
            state.copied = false;
        })
    }

    /// Rows were lost and the loss was accepted: the rest becomes a base before anything else, and the head names it.
    pub(super) fn rebuild(&mut self) -> Result<(), StoreError> {
        let Some(frozen) = self.freeze() else { return Err(StoreError::Closed) };
        checkpoint::run(&self.core, frozen)?;
        self.frozen = None;
        Ok(())
    }

    /// A checkpoint on this thread. A failure costs nothing but room: the journals have everything.
    pub(super) fn compact(&mut self) {
        self.settle();
        let Some(frozen) = self.freeze() else { return };
        let done = checkpoint::run(&self.core, frozen).and_then(|()| {
            self.frozen = None;
            // Rows that were committed behind what an earlier try had set aside.
            let left = self.core.read(|view| Ok(!view.active.is_empty()))?;
            match left.then(|| self.freeze()).flatten() {
                Some(frozen) => checkpoint::run(&self.core, frozen),
                None => Ok(()),
            }
        });
        match done {
            Ok(()) => (self.frozen, self.failed) = (None, None),
            Err(error) => self.failed(&error),
        }
    }

    /// The end of a store that could not be written: it stays as a crash would leave it.
    pub(super) fn abandon(mut self) -> Result<(), StoreError> {
        self.settle();
        self.core.close();
        Err(StoreError::Poisoned)
    }
}
