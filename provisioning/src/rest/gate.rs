//! The order of the extractors of a request: nothing of it is read or judged before its caller is known.
//!
//! Extractors of a handler are begun in the order of its parameters, and then asked in turns. The one that judges the
//! caller comes first and leaves a gate; those behind it wait until it is open.

use std::future::Future;

use actix_web::{HttpMessage, HttpRequest};
use tokio::sync::watch;

use super::problem::Problem;

/// Opened by the extractor that judges the caller.
pub(super) struct Gate(watch::Sender<bool>);

#[derive(Clone)]
struct Closed(watch::Receiver<bool>);

impl Gate {
    /// Leaves a closed gate.
    pub(super) fn close(request: &HttpRequest) -> Self {
        let (open, closed) = watch::channel(false);
        request.extensions_mut().insert(Closed(closed));
        Self(open)
    }

    /// The outcome of the judgement; the gate is open when it is good.
    pub(super) fn judged<T>(self, outcome: Result<T, Problem>) -> Result<T, Problem> {
        if outcome.is_ok() {
            self.0.send_replace(true);
        }
        outcome
    }
}

/// Does `work` once the caller of the request is judged, when there is a gate. A refused caller has its answer by then, and
/// this is dropped, but for a handler that takes the refusal as a value.
pub(super) fn behind<T>(
    request: &HttpRequest,
    work: impl Future<Output = Result<T, Problem>>,
) -> impl Future<Output = Result<T, Problem>> {
    let closed = request.extensions().get::<Closed>().cloned();
    async move {
        if let Some(Closed(mut gate)) = closed {
            // Its end without a word is a refusal.
            let _ = gate.wait_for(|open| *open).await;
        }
        work.await
    }
}
