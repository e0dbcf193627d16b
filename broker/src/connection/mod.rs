//! One socket: a thin shell around the session machine.
//!
//! 1. [`first`] reads the CONNECT, bounded in bytes and time.
//! 2. [`welcome`] lets it pass the gate and joins it to its session.
//! 3. [`serve`] moves packets until something ends it; [`effects`] does what the machine asks.
//! 4. [`goodbye`] tells the peer why.
//!
//! An idle connection owns no buffer: they are made when bytes come and dropped when they are used up.

mod effects;
mod first;
mod goodbye;
mod serve;
mod welcome;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tessera_agent::behaviour::Network;
use tokio::net::TcpStream;

use crate::admission::Ticket;
use crate::hub::Hub;

/// A socket from accept to close. Returns when it is closed.
pub(crate) async fn run(hub: Arc<Hub>, socket: TcpStream, peer: SocketAddr, mut ticket: Ticket) {
    let accepted = hub.clock.monotonic();
    let mut inbox = BytesMut::new();
    // The handshake needs much more room than the connection that follows: it is boxed and gone by then.
    let joined = Box::pin(async {
        let connect = first::connect(&hub, &socket, &mut inbox).await?;
        welcome::join(&hub, &socket, connect, Network::of(peer.ip()), accepted).await
    })
    .await;
    if let Some(joined) = joined {
        ticket.connected();
        serve::run(hub, socket, joined, inbox).await;
    }
    drop(ticket);
}
