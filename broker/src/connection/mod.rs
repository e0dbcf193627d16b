//! One socket: a thin shell around the session machine.
//!
//! 0. [`crate::transport`] shakes hands as the listener asks.
//! 1. [`read_connect`] reads the CONNECT, bounded in bytes and time. [`authz_info_only`] serves one without credentials.
//! 2. [`credentials`] takes the proof out of it, [`open_session`] authenticates it and opens its session.
//! 3. [`serve`] moves packets until something ends it; [`effects`] performs what the machine asks, [`retained`] sends
//!    retained messages to new subscriptions.
//! 4. [`disconnect_queue`] lets connections whose peer has gone leave in turn; [`disconnect`] tells other peers why.
//!
//! An idle connection owns no buffer: they are made when bytes come and dropped when they are used up.

mod authz_info_only;
mod challenge;
mod credentials;
mod disconnect;
mod disconnect_queue;
mod effects;
mod enhanced_auth;
mod open_session;
mod read_connect;
mod retained;
mod serve;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
pub(crate) use disconnect_queue::run_disconnect_queue;
use serve::Connection;
use tessera_agent::behaviour::Network;
use tokio::sync::OwnedSemaphorePermit;

use crate::admission::SocketPermit;
use crate::codec::Connect;
use crate::hub::Hub;
use crate::refusals::{Broken, Refusal, Remote, What};
use crate::transport::acceptor::{Acceptor, Incoming};
use crate::transport::Stream;

/// The permits of an open socket: its entry in the table of sockets, and one of the listener's sockets. Dropping it
/// returns both.
pub(crate) struct Place {
    pub(crate) permit: SocketPermit,
    pub(crate) _of_listener: OwnedSemaphorePermit,
}

/// A connection from accept to close. Ends when it is closed.
///
/// The task of an idle connection is small: the handshake, which needs much more room, is boxed and gone by then, with
/// what it began with, and so is every rarer step.
pub(crate) fn run(
    hub: Arc<Hub>,
    acceptor: Acceptor,
    incoming: Incoming,
    peer: IpAddr,
    place: Place,
) -> impl Future<Output = ()> + Send {
    let handshake = Box::pin(handshake(hub, acceptor, incoming, peer, place));
    async move {
        if let Some(connection) = handshake.await {
            disconnect_queue::run(connection).await;
        }
    }
}

async fn handshake(
    hub: Arc<Hub>,
    acceptor: Acceptor,
    incoming: Incoming,
    peer: IpAddr,
    mut place: Place,
) -> Option<Box<Connection>> {
    let accepted = hub.clock.monotonic();
    let remote = acceptor.remote(peer);
    let origin = Origin { remote, network: Network::of(peer) };
    let call = place.permit.call()?;
    let mut inbox = BytesMut::new();
    let first = tokio::select! {
        biased;
        () = call.notified() => None,
        first = first_packet(&hub, &acceptor, incoming, &mut inbox, &mut place.permit, remote) => Some(first?),
    };
    let Some((mut stream, connect)) = first.filter(|_| place.permit.judged()) else {
        hub.metrics.turned_away.inc(&["made_room"]);
        Refusal::of(What::Connection, "made_room", remote).tell();
        return None;
    };
    if authz_info_only::is_anonymous(&hub, &stream, &connect) {
        let prefix = place.permit.prefix();
        if Box::pin(authz_info_only::serve(&hub, stream, &mut inbox, &connect, prefix, remote))
            .await
        {
            place.permit.mark_not_at_fault();
        }
        return None;
    }
    let permit = &mut place.permit;
    let join = open_session::join(&hub, &mut stream, &mut inbox, connect, origin, accepted, permit);
    // Boxed: a socket from which no CONNECT has come pays no room for it.
    let joined = Box::pin(join).await?;
    place.permit.connected();
    stream.authenticated(hub.policy.max_packet);
    Some(Box::new(Connection::new(hub, stream, joined, inbox, place)))
}

/// Where a connection comes from.
#[derive(Clone, Copy)]
struct Origin {
    remote: Remote,
    network: Network,
}

/// Opens the stream of an incoming connection and reads its CONNECT; `None` closes it.
async fn first_packet(
    hub: &Hub,
    acceptor: &Acceptor,
    incoming: Incoming,
    inbox: &mut BytesMut,
    permit: &mut SocketPermit,
    remote: Remote,
) -> Option<(Stream, Connect)> {
    match acceptor.open(incoming, remote.address, permit).await {
        Ok(mut stream) => {
            let connect = read_connect::connect(hub, &mut stream, inbox, permit, remote).await?;
            Some((stream, connect))
        }
        Err(broken) => {
            note_broken(hub, remote, &broken);
            None
        }
    }
}

/// A peer that is not let in broke a rule or went away.
pub(crate) fn note_broken(hub: &Hub, remote: Remote, broken: &Broken) {
    hub.metrics.broken.inc(&[broken.rule]);
    let line = Refusal::of(broken.what, broken.rule, remote);
    broken.detail.as_deref().map_or(line, |detail| line.detail(detail)).tell();
}
