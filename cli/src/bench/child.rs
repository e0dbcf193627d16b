//! A child process: started, awaited until it serves, killed when it is no longer needed.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::error::Fault;

/// How long a server may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries to reach a server.
const AGAIN: Duration = Duration::from_millis(20);

/// Ports that a peer is tried on.
const PORTS: usize = 3;

/// Starts a peer, which `command` makes for an address, on a port that is free now. Another process may take the port
/// before the peer has it, so a peer that ends at once is tried on another one.
pub(super) async fn on_free_port(
    command: impl Fn(SocketAddr) -> Result<Command, Fault>,
) -> Result<(Server, SocketAddr), Fault> {
    let mut left = PORTS;
    loop {
        let at = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        left -= 1;
        match Server::until_open(command(at)?, at).await {
            Err(fault) if fault.is_passing() && left > 0 => {}
            opened => return Ok((opened?, at)),
        }
    }
}

/// A running child.
pub(super) struct Server(Child);

impl Server {
    /// Starts it and waits for the line `ready` on its output.
    pub(super) async fn until_ready(mut command: Command) -> Result<Self, Fault> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut server = Self(command.spawn()?);
        let output = server.0.stdout.take().ok_or_else(|| Fault::new("no output"))?;
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            // Read to its end, so that the server never waits for its reader.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if line == "ready" {
                    let _ = tell.take().map(|tell| tell.send(()));
                }
            }
        });
        match timeout(PATIENCE, told).await {
            Ok(Ok(())) => Ok(server),
            Ok(Err(_)) => Err(Fault::new(format!("{command:?} ended at once"))),
            Err(_) => Err(Fault::new(format!("{command:?} is not ready after {PATIENCE:?}"))),
        }
    }

    /// Starts it and waits until its port answers.
    async fn until_open(mut command: Command, at: SocketAddr) -> Result<Self, Fault> {
        // mosquitto warns at each start that it is run as root, which a test system's container does.
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let mut server = Self(command.spawn()?);
        let open = async {
            while TcpStream::connect(at).await.is_err() {
                if let Ok(Some(status)) = server.0.try_wait() {
                    let fault = Fault::new(format!("{command:?} ended: {status}"));
                    return Err(fault.passing(true));
                }
                sleep(AGAIN).await;
            }
            Ok(())
        };
        let opened = timeout(PATIENCE, open).await;
        opened.unwrap_or_else(|_| Err(Fault::new(format!("{command:?} does not listen"))))?;
        Ok(server)
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its data is as short-lived as it is: nothing to drain.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
