//! The one thread that accepts: a flood fills the kernel's backlog in a tenth of a second, so the thread that empties
//! it waits behind no connection.

use std::io;
use std::net::TcpListener;

use tessera_runtime::stop::Stop;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::listener::Listener;
use super::StartError;

/// Starts it; what is given tells its end, when stop was told. Dropping that ends it too.
///
/// # Errors
/// The system gives no thread or no descriptor.
pub(super) async fn start(
    listeners: Vec<(Listener, TcpListener)>,
    stop: Stop,
) -> Result<oneshot::Receiver<()>, StartError> {
    let (started, starting) = oneshot::channel();
    let (mut ended, ending) = oneshot::channel();
    let body = move || {
        accept(listeners, &stop, started, &mut ended);
        // No caller waits when the runtime of the broker is gone.
        let _ = ended.send(());
    };
    let named = std::thread::Builder::new().name("broker-accept".to_owned());
    named.spawn(body).map_err(StartError::Thread)?;
    let gone = || io::Error::other("the accepting thread has ended");
    let begun = starting.await.unwrap_or_else(|_| Err(gone()));
    begun.map_err(StartError::Thread)?;
    Ok(ending)
}

fn accept(
    listeners: Vec<(Listener, TcpListener)>,
    stop: &Stop,
    started: oneshot::Sender<io::Result<()>>,
    ended: &mut oneshot::Sender<()>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tell(started, Err(error)),
    };
    runtime.block_on(async {
        let mut running = JoinSet::new();
        for (listener, socket) in listeners {
            match watched(socket) {
                Ok(socket) => running.spawn(listener.run(socket, stop.clone())),
                Err(error) => return tell(started, Err(error)),
            };
        }
        tell(started, Ok(()));
        let all = async { while running.join_next().await.is_some() {} };
        tokio::select! {
            () = all => {}
            // Without a thread that serves, no socket may be let in.
            () = ended.closed() => {}
        }
    });
}

#[allow(
    deprecated,
    reason = "unsound for types that lie about their descriptor; its successor is unsafe"
)]
fn watched(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::new(socket)
}

fn tell(started: oneshot::Sender<io::Result<()>>, what: io::Result<()>) {
    // The caller has gone when the broker is not wanted any more.
    let _ = started.send(what);
}
