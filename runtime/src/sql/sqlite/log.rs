//! The log of writes moves into the database on a thread of its own, so that commits do not wait for it.
//!
//! The last pass is that of the writer, between two groups: only a log that has wholly moved begins again at its start.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::engine::Link;
use crate::limits::{SQL_LOG_LOOK, SQL_LOG_PAGES, SQL_LOG_PASSES};
use crate::store::StoreError;

/// The thread has nothing to do, works, or has moved what it could.
const IDLE: u8 = 0;
const WORKS: u8 = 1;
const MOVED: u8 = 2;

/// The handle of the thread, which ends with it.
pub(super) struct Mover {
    /// `None` when it ends.
    ask: Option<SyncSender<()>>,
    state: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Mover {
    /// Its connection is closed before the folder is free for others.
    fn drop(&mut self) {
        drop(self.ask.take());
        // A panic of it loses nothing: the log stays as it is.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Mover {
    pub(super) fn start(path: &Path) -> Result<Self, StoreError> {
        let link = Link::to_copy(path)?;
        let (ask, asked) = mpsc::sync_channel(1);
        let state = Arc::new(AtomicU8::new(IDLE));
        let seen = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("sql-log".to_owned());
        let thread = thread.spawn(move || run(&link, &asked, &seen)).map_err(StoreError::from)?;
        Ok(Self { ask: Some(ask), state, thread: Some(thread) })
    }

    /// Called after a group by the thread that writes, with its connection. Whether all of the log is in the database now.
    pub(super) fn after_group(&self, writer: &Link, groups: u64) -> bool {
        let mut is_all_moved = false;
        match self.state.load(Ordering::Acquire) {
            MOVED => {
                match writer.checkpoint() {
                    Ok(left) => is_all_moved = left == 0,
                    Err(error) => {
                        tracing::debug!(%error, "the rest of the log of the database was not moved");
                    }
                }
                self.state.store(IDLE, Ordering::Release);
            }
            // A look costs some microseconds.
            IDLE if groups.is_multiple_of(SQL_LOG_LOOK)
                && writer.log_pages().is_ok_and(|pages| pages >= SQL_LOG_PAGES) =>
            {
                self.state.store(WORKS, Ordering::Release);
                // The thread is there as long as this handle.
                let _ = self.ask.as_ref().map(|ask| ask.try_send(()));
            }
            _ => {}
        }
        is_all_moved
    }
}

fn run(link: &Link, asked: &Receiver<()>, state: &AtomicU8) {
    while asked.recv().is_ok() {
        for _ in 0..SQL_LOG_PASSES {
            match link.checkpoint() {
                Ok(left) if left > SQL_LOG_PAGES / 8 => {}
                // Little is left, or a reader holds the rest.
                _ => break,
            }
        }
        state.store(MOVED, Ordering::Release);
    }
}
