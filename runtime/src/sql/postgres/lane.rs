//! A lane: a task with a connection of its own. It takes what waits into one transaction, and answers when that is
//! committed. A caller that goes away leaves nothing open: the task holds the connection.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, Mutex};

use super::engine::{Failed, Link, Server};
use crate::limits::{SQL_DEADLOCKS, SQL_LANE_GROUP};
use crate::sql::batch::Batch;
use crate::store::StoreError;

/// A batch, and where its outcome goes.
pub(super) type Request = (Batch, oneshot::Sender<Result<(), StoreError>>);

/// The inbox of all lanes: the next one that is free takes from it.
pub(super) type Inbox = Arc<Mutex<mpsc::Receiver<Request>>>;

/// Writes until no request can come any more.
pub(super) async fn run(server: Arc<Server>, inbox: Inbox) {
    let mut link = None;
    loop {
        let group = next(&inbox).await;
        if group.is_empty() {
            return;
        }
        if let Err(error) = connected(&mut link, &server).await {
            answer_all(group, &error);
            continue;
        }
        let Some(open) = &mut link else { continue };
        if !write(open, group).await {
            // Its outcome is unknown, or its tables are others: the next group gets a new one.
            link = None;
        }
    }
}

/// The requests that wait; none once the last sender is gone.
async fn next(inbox: &Inbox) -> Vec<Request> {
    let mut inbox = inbox.lock().await;
    let mut group = Vec::with_capacity(SQL_LANE_GROUP);
    inbox.recv_many(&mut group, SQL_LANE_GROUP).await;
    group
}

async fn connected(link: &mut Option<Link>, server: &Server) -> Result<(), StoreError> {
    if link.as_ref().is_none_or(Link::is_closed) {
        *link = None;
        *link = Some(Link::open(server).await?);
    }
    Ok(())
}

/// Writes the group. A batch that is refused is answered, and the others are sent again without it. False when the
/// connection is of no more use.
async fn write(link: &mut Link, mut group: Vec<Request>) -> bool {
    let mut deadlocks = 0;
    while !group.is_empty() {
        let batches: Vec<&Batch> = group.iter().map(|(batch, _)| batch).collect();
        match link.write(&batches).await {
            Ok(()) => {
                for (_, answer) in group.drain(..) {
                    // The caller may be gone: what it asked for is done.
                    let _ = answer.send(Ok(()));
                }
            }
            Err(Failed::One(number, error)) if number < group.len() => {
                let (_, answer) = group.remove(number);
                let _ = answer.send(Err(error));
            }
            Err(Failed::Deadlock) if group.len() > 1 => {
                for one in group.drain(..) {
                    if !Box::pin(write(link, vec![one])).await {
                        return false;
                    }
                }
            }
            // Alone it meets others that are alone too.
            Err(Failed::Deadlock) if deadlocks < SQL_DEADLOCKS => deadlocks += 1,
            Err(Failed::Deadlock) => answer_all(std::mem::take(&mut group), &StoreError::Busy),
            Err(Failed::One(_, error) | Failed::All(error)) => {
                answer_all(group, &error);
                return false;
            }
        }
    }
    true
}

fn answer_all(group: Vec<Request>, error: &StoreError) {
    tracing::warn!(%error, batches = group.len(), "the database did not take a change");
    for (_, answer) in group {
        let _ = answer.send(Err(error.clone()));
    }
}
