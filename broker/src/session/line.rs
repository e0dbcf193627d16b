use parking_lot::Mutex;
use tokio::sync::Notify;

use super::machine::End;

/// The way to the connection that serves a session: whoever ends it rings here.
#[derive(Default)]
pub struct Line {
    end: Mutex<Option<End>>,
    bell: Notify,
}

impl Line {
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
}
