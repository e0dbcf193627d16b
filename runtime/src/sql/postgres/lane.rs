//! A lane: a task with a connection of its own. It takes what waits into one transaction, and answers when that is
//! committed. A caller that goes away leaves nothing open: the task holds the connection.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, Mutex, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::engine::{Failed, Link, Server};
use crate::limits::{SQL_DEADLOCKS, SQL_LANE_GROUP, SQL_LANE_TURN, SQL_LANE_TURNS};
use crate::sql::batch::Batch;
use crate::store::StoreError;

/// A batch, and where its outcome goes.
pub(super) type Request = (Batch, oneshot::Sender<Result<(), StoreError>>);

/// The inbox of all lanes: the next one that is free and has a turn takes from it.
pub(super) struct Inbox {
    requests: Mutex<mpsc::Receiver<Request>>,
    turns: Semaphore,
}

impl Inbox {
    /// Of these requests.
    pub(super) fn of(requests: mpsc::Receiver<Request>) -> Arc<Self> {
        Arc::new(Self { requests: Mutex::new(requests), turns: Semaphore::new(SQL_LANE_TURNS) })
    }

    /// The requests that wait; none once the last sender is gone.
    async fn next(&self) -> Vec<Request> {
        let mut requests = self.requests.lock().await;
        let mut group = Vec::with_capacity(SQL_LANE_GROUP);
        requests.recv_many(&mut group, SQL_LANE_GROUP).await;
        group
    }
}

/// Writes until no request can come any more.
pub(super) async fn run(server: Arc<Server>, inbox: Arc<Inbox>) {
    let mut link = None;
    // The semaphore is never closed.
    while let Ok(turn) = inbox.turns.acquire().await {
        let group = inbox.next().await;
        if group.is_empty() {
            return;
        }
        in_turn(turn, serve(&mut link, &server, group)).await;
    }
}

/// Writes the group over the connection, which is made when there is none.
async fn serve(link: &mut Option<Link>, server: &Server, group: Vec<Request>) {
    if let Err(error) = connected(link, server).await {
        return answer_all(group, &error);
    }
    let Some(open) = link else { return };
    if !write(open, group).await {
        // Its outcome is unknown, or its tables are others: the next group gets a new one.
        *link = None;
    }
}

/// Does `work`. When it takes longer than a turn, another lane begins beside it.
async fn in_turn<T>(turn: SemaphorePermit<'_>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if let Ok(done) = timeout(SQL_LANE_TURN, &mut work).await {
        return done;
    }
    drop(turn);
    work.await
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
            Err(Failed::Some(numbers, error))
                if numbers.last().is_some_and(|last| *last < group.len()) =>
            {
                // From behind: the numbers of those before stay.
                for number in numbers.into_iter().rev() {
                    let (_, answer) = group.remove(number);
                    let _ = answer.send(Err(error.clone()));
                }
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
            Err(Failed::Some(_, error) | Failed::All(error)) => {
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
