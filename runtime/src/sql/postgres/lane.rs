//! A lane: a task with a connection of its own. It takes what waits into one transaction, and answers when that is
//! committed. A caller that goes away leaves nothing open: the task holds the connection.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, Mutex};

use super::engine::{Failed, Link, Server};
use crate::limits::SQL_LANE_GROUP;
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
        if let Some(open) = &mut link {
            write(open, group).await;
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
        *link = Some(Link::connect(server).await?);
    }
    Ok(())
}

/// Writes the group. A batch that is refused is answered, and the others are sent again without it.
async fn write(link: &mut Link, mut group: Vec<Request>) {
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
                    Box::pin(write(link, vec![one])).await;
                }
            }
            // Alone it meets others that are alone too: it comes again until it is through.
            Err(Failed::Deadlock) => {}
            Err(Failed::One(_, error) | Failed::All(error)) => {
                return answer_all(group, &error);
            }
        }
    }
}

fn answer_all(group: Vec<Request>, error: &StoreError) {
    tracing::warn!(%error, batches = group.len(), "the database did not take a change");
    for (_, answer) in group {
        let _ = answer.send(Err(error.clone()));
    }
}
