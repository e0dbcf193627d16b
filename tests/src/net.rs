//! TCP connections from a chosen address of this machine: limits per address tell peers apart by it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

/// Connects from `source`, or from the address that the system takes.
///
/// # Errors
/// As [`TcpStream::connect_timeout`].
pub fn connect(
    source: Option<Ipv4Addr>,
    at: SocketAddr,
    within: Duration,
) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect_timeout(&at, within) };
    let stream = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((source, 0).into())?;
            tokio::time::timeout(within, socket.connect(at)).await?
        })
    })?;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}
