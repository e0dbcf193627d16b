//! One socket: a thin shell around the session machine.
//!
//! 0. [`crate::transport`] shakes hands as the listener asks.
//! 1. [`first`] reads the CONNECT, bounded in bytes and time.
//! 2. [`welcome`] lets it pass the gate and joins it to its session.
//! 3. [`serve`] moves packets until something ends it; [`effects`] does what the machine asks.
//! 4. [`goodbye`] tells the peer why.
//!
//! An idle connection owns no buffer: they are made when bytes come and dropped when they are used up.

mod ace;
mod anonymous;
mod effects;
mod first;
mod goodbye;
mod serve;
mod welcome;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use serve::Connection;
pub(crate) use serve::{see_off, Leaving};
use tessera_agent::behaviour::Network;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::admission::Ticket;
use crate::codec::Connect;
use crate::hub::Hub;
use crate::transport::accept::Door;
use crate::transport::Stream;

/// What an open socket holds in the books of the listener; given back when dropped.
pub(crate) struct Place {
    pub(crate) ticket: Ticket,
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// A socket from accept to close. Ends when it is closed.
///
/// The task of an idle connection is small: the handshake, which needs much more room, is boxed and gone by then, with
/// what it began with, and so is every rarer step.
pub(crate) fn run(
    hub: Arc<Hub>,
    door: Door,
    socket: TcpStream,
    peer: IpAddr,
    place: Place,
) -> impl Future<Output = ()> + Send {
    let handshake = Box::pin(handshake(hub, door, socket, peer, place));
    async move {
        if let Some(connection) = handshake.await {
            serve::run(connection).await;
        }
    }
}

async fn handshake(
    hub: Arc<Hub>,
    door: Door,
    socket: TcpStream,
    peer: IpAddr,
    mut place: Place,
) -> Option<Box<Connection>> {
    let accepted = hub.clock.monotonic();
    let caller = Caller { network: Network::of(peer), local: is_local(&socket, peer) };
    let call = place.ticket.call();
    let mut inbox = BytesMut::new();
    let first = tokio::select! {
        biased;
        () = call.notified() => None,
        first = first_packet(&hub, &door, socket, &mut inbox, &mut place.ticket) => Some(first?),
    };
    let Some((mut stream, connect)) = first.filter(|_| place.ticket.judged()) else {
        hub.metrics.turned_away.inc(&["made_room"]);
        return None;
    };
    if anonymous::is_anonymous(&hub, &stream, &connect) {
        place.ticket.blameless();
        anonymous::serve(&hub, stream, &mut inbox, &connect, place.ticket.prefix()).await;
        return None;
    }
    let ticket = &mut place.ticket;
    let joined =
        welcome::join(&hub, &mut stream, &mut inbox, connect, caller, accepted, ticket).await?;
    place.ticket.connected();
    stream.authenticated(hub.policy.max_packet);
    Some(Box::new(Connection::new(hub, stream, joined, inbox, place)))
}

/// Where a connection comes from.
#[derive(Clone, Copy)]
struct Caller {
    network: Network,
    /// From this machine.
    local: bool,
}

/// Whether the socket comes from this machine, and not from a balancer here that speaks for somebody else.
fn is_local(socket: &TcpStream, peer: IpAddr) -> bool {
    let ends_here = |address: IpAddr| address.to_canonical().is_loopback();
    ends_here(peer) && socket.peer_addr().is_ok_and(|real| ends_here(real.ip()))
}

/// From a socket to its CONNECT; `None` closes it.
async fn first_packet(
    hub: &Hub,
    door: &Door,
    socket: TcpStream,
    inbox: &mut BytesMut,
    ticket: &mut Ticket,
) -> Option<(Stream, Connect)> {
    match door.open(socket, ticket).await {
        Ok(mut stream) => {
            let connect = first::connect(hub, &mut stream, inbox, ticket).await?;
            Some((stream, connect))
        }
        Err(rule) => {
            hub.metrics.broken.inc(&[rule]);
            None
        }
    }
}
