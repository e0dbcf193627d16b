use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::machine::End;

/// The way to the connection that serves a session: whoever ends it rings here.
#[derive(Default)]
pub struct Line {
    end: Mutex<Option<End>>,
    bell: Notify,
    encrypted: bool,
    proved: AtomicBool,
    status: AtomicBool,
}

impl Line {
    /// The line of a connection: whether it runs over TLS, and whether its peer proved the key of its token by more
    /// than a resumption secret.
    pub fn new(encrypted: bool, proved: bool) -> Self {
        Self { encrypted, proved: AtomicBool::new(proved), ..Self::default() }
    }

    /// Asks the connection to end. The first reason counts, but a withdrawn grant beats every other.
    pub fn end(&self, end: End) {
        let mut present = self.end.lock();
        if present.is_none() || end.forget {
            *present = Some(end);
        }
        drop(present);
        self.bell.notify_one();
    }

    /// Wakes the connection to look for deliveries.
    pub fn nudge(&self) {
        self.bell.notify_one();
    }

    /// The reason to end, when there is one.
    pub fn ended(&self) -> Option<End> {
        *self.end.lock()
    }

    /// Returns when it was rung. Cancel-safe.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// The peer proved its key on this connection.
    pub fn set_proved(&self) {
        self.proved.store(true, Ordering::Release);
    }

    /// Whether a resumption secret may be told here.
    pub fn may_hold_secret(&self) -> bool {
        self.encrypted && self.proved.load(Ordering::Acquire)
    }

    /// Asks the connection to tell its status.
    pub fn ask_status(&self) {
        self.status.store(true, Ordering::Release);
        self.bell.notify_one();
    }

    /// Whether the status was asked for since the last time.
    pub fn take_status(&self) -> bool {
        self.status.load(Ordering::Acquire) && self.status.swap(false, Ordering::AcqRel)
    }
}
