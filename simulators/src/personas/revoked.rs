//! The revoked one: connected and innocent of the time, until an operator revokes it.

use std::future::Future;
use std::time::Duration;

use tessera_runtime::clock::SharedClock;

use crate::limits;
use crate::mqtt::{Closed, Connect, Incoming, Link};

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// From the acknowledged revocation to the closed connection; zero when the connection closed first.
    pub took: Duration,
    /// How it ended.
    pub closed: Closed,
    /// Whether a new connection with the old token was let in: false, or the product is broken.
    pub came_back: bool,
}

/// Why nothing could be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CutError {
    /// The device could not connect in the first place.
    NotConnected(Closed),
    /// The operator's call failed.
    NotRevoked(String),
    /// The connection stayed open for [`limits::ANSWER`].
    StillOpen,
}

/// Connects, revokes by `revoke`, and measures until the socket is closed; then tries to come back by `again`.
///
/// # Errors
/// [`CutError`].
pub async fn measure<F: Future<Output = Result<(), String>>>(
    first: &Connect,
    revoke: F,
    again: impl FnOnce() -> Connect,
    clock: &SharedClock,
) -> Result<Cut, CutError> {
    let link = Link::open(first).await.map_err(CutError::NotConnected)?;
    let watched = clock.clone();
    let closing = tokio::spawn(async move { closed_at(link, &watched).await });
    revoke.await.map_err(CutError::NotRevoked)?;
    let acknowledged = clock.monotonic();
    let waited = tokio::time::timeout(limits::ANSWER, closing).await;
    let Ok(Ok((closed, at))) = waited else { return Err(CutError::StillOpen) };
    let came_back = Link::open(&again()).await.is_ok();
    Ok(Cut { took: at.saturating_sub(acknowledged), closed, came_back })
}

async fn closed_at(mut link: Link, clock: &SharedClock) -> (Closed, Duration) {
    loop {
        if let Incoming::Closed(closed) = link.next().await {
            return (closed, clock.monotonic());
        }
    }
}
