//! Work on a blocking thread that keeps the place it takes up until it is done.

use std::future::Future;

use tessera_token::refusal::RefusalCode;

/// Runs `work`. `hold` stays with it and comes back with the outcome: the caller may be gone before that, and the work
/// goes on all the same.
///
/// # Errors
/// `internal` when the work broke off.
pub(crate) async fn run<H: Send + 'static, T: Send + 'static>(
    hold: H,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(T, H), RefusalCode> {
    let held = tokio::task::spawn_blocking(move || (work(), hold));
    held.await.map_err(|_| RefusalCode::Internal)
}

/// As [`run`], of work that reads tables.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_reading<H: Send + 'static, T: Send + 'static, F: Future<Output = T>>(
    hold: H,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<(T, H), RefusalCode> {
    let runtime = tokio::runtime::Handle::current();
    run(hold, move || runtime.block_on(work())).await
}

#[cfg(test)]
mod tests {
    use std::future::{poll_fn, Future};
    use std::sync::mpsc;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;
    use crate::trust::waiters::Waiters;

    #[tokio::test]
    async fn place_stays_taken_until_the_work_is_done_also_when_the_caller_is_gone() {
        let waiters = Waiters::at(0);
        let right = waiters.show("a", true, Duration::ZERO).await.unwrap();
        let (go, wait) = mpsc::sync_channel::<()>(1);
        let mut caller = Box::pin(run(right, move || wait.recv()));
        poll_fn(|context| {
            assert!(caller.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(caller);
        let again = waiters.show("a", true, Duration::ZERO).await;
        assert_eq!(again.err(), Some(RefusalCode::RateLimited));
        let other = waiters.show("b", true, Duration::ZERO).await;
        assert_eq!(other.err(), Some(RefusalCode::LimitReached));
        go.send(()).unwrap();
        waiters.show("b", true, Duration::MAX).await.unwrap();
    }
}
