use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use tessera_runtime::secret::Secret;

use super::machine::End;
use crate::refusals::Remote;

/// The way to the connection that serves a session: whoever ends it rings here.
#[derive(Default)]
pub struct Line {
    end: Mutex<Option<End>>,
    ended: AtomicBool,
    rang: AtomicBool,
    bell: AtomicWaker,
    privacy: Privacy,
    remote: Remote,
    proved: AtomicBool,
    status: AtomicBool,
    aside: Mutex<Option<Box<Secret<Vec<u8>>>>>,
}

/// Who may read along.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Privacy {
    /// Whoever is on the way.
    #[default]
    Clear,
    /// Nobody outside this machine: in clear, and from here.
    Local,
    /// Nobody: TLS.
    Encrypted,
}

impl Line {
    /// The line of a connection: who may read along, and whether its peer proved the key of its token by more
    /// than a resumption secret.
    pub fn new(privacy: Privacy, proved: bool, remote: Remote) -> Self {
        Self { privacy, remote, proved: AtomicBool::new(proved), ..Self::default() }
    }

    /// The other end of the connection.
    pub fn remote(&self) -> Remote {
        self.remote
    }

    /// Asks the connection to end. The first reason counts, but a withdrawn grant beats every other.
    pub fn end(&self, end: End) {
        let mut present = self.end.lock();
        if present.is_none() || end.forget {
            *present = Some(end);
        }
        drop(present);
        self.ended.store(true, Ordering::Release);
        self.nudge();
    }

    /// Wakes the connection to look for deliveries.
    pub fn nudge(&self) {
        self.rang.store(true, Ordering::Release);
        self.bell.wake();
    }

    /// The reason to end, when there is one.
    pub fn ended(&self) -> Option<End> {
        match self.ended.load(Ordering::Acquire) {
            true => *self.end.lock(),
            false => None,
        }
    }

    /// Whether it was rung since it was asked last. For the one connection that it belongs to.
    pub fn poll_rung(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.take_ring() {
            return Poll::Ready(());
        }
        self.bell.register(context.waker());
        // It may have been rung before the waker was there.
        match self.take_ring() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    fn take_ring(&self) -> bool {
        self.rang.load(Ordering::Acquire) && self.rang.swap(false, Ordering::AcqRel)
    }

    /// The peer proved its key on this connection.
    pub fn set_proved(&self) {
        self.proved.store(true, Ordering::Release);
    }

    /// Whether a resumption secret may be told here.
    pub fn may_hold_secret(&self) -> bool {
        self.privacy == Privacy::Encrypted && self.proved.load(Ordering::Acquire)
    }

    /// Whether nobody outside this machine reads along.
    pub fn is_private(&self) -> bool {
        self.privacy != Privacy::Clear
    }

    /// Asks the connection to tell this, and its status. It passes no queue: whatever comes of the connection, no
    /// other one of the session tells it.
    pub fn tell_aside(&self, payload: Secret<Vec<u8>>) {
        *self.aside.lock() = Some(Box::new(payload));
        self.ask_status();
    }

    /// What is to be told aside since the last time.
    pub fn take_aside(&self) -> Option<Box<Secret<Vec<u8>>>> {
        self.aside.lock().take()
    }

    /// Asks the connection to tell its status.
    pub fn ask_status(&self) {
        self.status.store(true, Ordering::Release);
        self.nudge();
    }

    /// Whether the status was asked for since the last time.
    pub fn take_status(&self) -> bool {
        self.status.load(Ordering::Acquire) && self.status.swap(false, Ordering::AcqRel)
    }
}
