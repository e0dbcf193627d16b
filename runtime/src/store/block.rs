//! Waiting for one future on a plain thread, also inside of an async runtime's thread.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use crate::clock::Clock;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// As [`on`], but for `most` at most; `None` when that is over. The future must be one that may be dropped.
pub(super) fn within<F: Future>(future: F, most: Duration, clock: &dyn Clock) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(tokio::task::unconstrained(future));
    let until = clock.monotonic().saturating_add(most);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        match until.saturating_sub(clock.monotonic()) {
            Duration::ZERO => return None,
            left => std::thread::park_timeout(left),
        }
    }
}

/// Runs `future` to its end. It must not depend on the runtime of this thread; `unconstrained` because a used-up
/// budget of the surrounding task would defer the wake-up to a moment that never comes.
pub(crate) fn on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
