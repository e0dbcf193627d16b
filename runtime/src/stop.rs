//! Stopping: one signal for the whole process, and named tasks that are waited for.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handle to the stop signal and to the tasks that must end before the process may.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    tracker: TaskTracker,
    names: Names,
}

type Names = Arc<Mutex<BTreeMap<u64, String>>>;

impl Stop {
    /// A signal that is not given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal of its own that is also given when `self` is; its tasks are its own.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), ..Self::default() }
    }

    /// Starts a task that [`Stop::finish`] waits for and names when it does not end.
    /// It must watch [`Stop::stopping`] itself. Needs a running tokio.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let registered = Registered::new(&self.names, name.into());
        self.tracker.spawn(async move {
            let _registered = registered;
            future.await
        })
    }

    /// Tells every task to stop. Telling twice is the same as once.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether stop was told.
    pub fn is_stopping(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns once stop was told. Cancel-safe.
    pub async fn stopping(&self) {
        self.token.cancelled().await;
    }

    /// Tells every task to stop and waits at most `deadline`; returns the names of the tasks that did not end.
    pub async fn finish(&self, deadline: Duration) -> Vec<String> {
        self.trigger();
        self.tracker.close();
        match tokio::time::timeout(deadline, self.tracker.wait()).await {
            Ok(()) => Vec::new(),
            Err(_) => self.names.lock().values().cloned().collect(),
        }
    }
}

struct Registered {
    names: Names,
    id: u64,
}

impl Registered {
    fn new(names: &Names, name: String) -> Self {
        let mut map = names.lock();
        let id = map.last_key_value().map_or(0, |(last, _)| last + 1);
        map.insert(id, name);
        Self { names: Arc::clone(names), id }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.names.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn finish_names_what_did_not_stop() {
        let stop = Stop::new();
        let watcher = stop.clone();
        stop.spawn("obedient", async move { watcher.stopping().await });
        stop.spawn("deaf", std::future::pending::<()>());
        let left = stop.finish(Duration::from_millis(50)).await;
        assert_eq!(left, ["deaf"]);
        assert!(stop.is_stopping());
    }

    #[tokio::test]
    async fn finish_without_tasks_is_immediate() {
        assert!(Stop::new().finish(Duration::from_secs(60)).await.is_empty());
    }

    #[tokio::test]
    async fn a_child_hears_its_parent_and_not_the_other_way() {
        let parent = Stop::new();
        let child = parent.child();
        child.trigger();
        assert!(!parent.is_stopping());
        let second = parent.child();
        parent.trigger();
        second.stopping().await;
    }
}
