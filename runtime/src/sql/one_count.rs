//! One look at the count of changes for several reads of one request.
//!
//! Each read of a kept answer asks the server whether the answer is still good. A request reads several of them, and one
//! question when the first is read is enough: all are as of a moment after the request came. A request that
//! writes, or finds that another one has written, asks again.

use std::cell::Cell;
use std::future::Future;

tokio::task_local! {
    /// The count that this request has asked for.
    static COUNT: Cell<Option<u64>>;
}

/// Does `work`, in which the count of changes of a shared database is asked once, until [`forget`] or a commit.
pub async fn at_one_count<T>(work: impl Future<Output = T>) -> T {
    COUNT.scope(Cell::new(None), work).await
}

/// Answers that are read from now on are as of now.
pub fn forget() {
    // Outside of `at_one_count` nothing is remembered.
    let _ = COUNT.try_with(|count| count.set(None));
}

/// The count that was asked for.
pub(super) fn known() -> Option<u64> {
    COUNT.try_with(Cell::get).ok().flatten()
}

/// Remembers the count.
pub(super) fn asked(count: u64) {
    let _ = COUNT.try_with(|known| known.set(Some(count)));
}
