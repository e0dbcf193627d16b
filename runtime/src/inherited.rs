//! Sockets that the service manager listens on for this process (`sd_listen_fds(3)`): connections wait in them while the
//! process starts again. A socket belongs to the listener of the settings that has its address. The only file that names
//! `listenfd`.

use std::net::{SocketAddr, TcpListener};
use std::sync::OnceLock;

use listenfd::ListenFd;
use parking_lot::Mutex;

static SOCKETS: OnceLock<Mutex<Vec<TcpListener>>> = OnceLock::new();

/// The socket of this address, when the service manager has given one. Each is given once.
pub fn take(address: SocketAddr) -> Option<TcpListener> {
    let mut sockets = all().lock();
    let is_it = |socket: &TcpListener| socket.local_addr().is_ok_and(|own| own == address);
    let place = sockets.iter().position(is_it)?;
    let socket = sockets.swap_remove(place);
    tracing::info!(%address, "listening on the socket of the service manager");
    Some(socket)
}

/// Names the sockets that no listener has taken, and gives them up. The service manager still holds them: connections to
/// them wait until its unit is stopped.
pub fn close_the_rest() {
    for socket in all().lock().drain(..) {
        if let Ok(address) = socket.local_addr() {
            tracing::error!(
                %address,
                "the service manager has given a socket of which the settings do not know: connections to it wait for \
                 ever; let its unit and the settings name the same address"
            );
        }
    }
}

fn all() -> &'static Mutex<Vec<TcpListener>> {
    SOCKETS.get_or_init(|| {
        let mut given = ListenFd::from_env();
        let sockets = (0..given.len()).filter_map(|at| match given.take_tcp_listener(at) {
            Ok(socket) => socket.filter(|socket| socket.set_nonblocking(true).is_ok()),
            Err(error) => {
                tracing::error!(at, %error, "a socket of the service manager is no TCP socket that listens");
                None
            }
        });
        Mutex::new(sockets.collect())
    })
}
