//! The count of changes of the tables whose answers are kept: a task asks the server for it. All that wait get one answer,
//! which was asked for after they came.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::engine::{changes_of, Link, Server};
use crate::limits::{SQL_LANE_GROUP, STORE_QUEUE};
use crate::store::StoreError;

type Request = oneshot::Sender<Result<u64, StoreError>>;

/// The task and its inbox.
#[derive(Clone)]
pub(super) struct Changes(mpsc::Sender<Request>);

impl Changes {
    /// Starts the task. It ends with the last of these.
    pub(super) fn start(server: Arc<Server>) -> (Self, tokio::task::JoinHandle<()>) {
        let (send, inbox) = mpsc::channel(STORE_QUEUE);
        (Self(send), tokio::spawn(run(server, inbox)))
    }

    /// The count as of now.
    pub(super) async fn count(&self) -> Result<u64, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(answer).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }
}

async fn run(server: Arc<Server>, mut inbox: mpsc::Receiver<Request>) {
    let mut link: Option<Link> = None;
    let mut waiting = Vec::new();
    while inbox.recv_many(&mut waiting, SQL_LANE_GROUP).await > 0 {
        // And all others that came meanwhile.
        while let Ok(one) = inbox.try_recv() {
            waiting.push(one);
        }
        let count = count(&mut link, &server).await;
        if count.is_err() {
            link = None;
        }
        for one in waiting.drain(..) {
            // The caller may be gone.
            let _ = one.send(count.clone());
        }
    }
}

async fn count(link: &mut Option<Link>, server: &Server) -> Result<u64, StoreError> {
    if link.as_ref().is_none_or(Link::is_closed) {
        *link = Some(Link::open(server).await?);
    }
    let Some(open) = link else { return Err(StoreError::Closed) };
    let rows = open.rows(&changes_of(server.name())).await?;
    rows.into_iter().next().map_or(Ok(0), |mut row| row.number())
}
