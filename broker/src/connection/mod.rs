//! One socket: a thin shell around the session machine.
//!
//! 1. [`connect`] has the steps of a CONNECT, in their order, from the accepted socket to the session.
//! 2. [`serve`] moves packets until something ends the connection; [`effects`] performs what the machine asks,
//!    [`retained`] sends retained messages to new subscriptions.
//! 3. [`disconnect_queue`] lets connections whose peer has gone leave in turn; [`disconnect`] tells other peers why.
//!
//! An idle connection owns no buffer: they are made when bytes come and dropped when they are used up.

mod authz_info_only;
mod buffers;
mod challenge;
mod connect;
mod credentials;
mod disconnect;
mod disconnect_queue;
mod effects;
mod enhanced_auth;
mod enrol_only;
mod fingerprint;
mod guess;
mod open_session;
mod partner;
mod read_connect;
mod refuse;
mod retained;
mod serve;
mod wait;
mod without_session;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) use disconnect_queue::run_disconnect_queue;
use tessera_agent::behaviour::Network;
use tokio::sync::OwnedSemaphorePermit;

use crate::admission::{Prefix, SocketPermit};
use crate::hub::Hub;
use crate::refusals::{Broken, Refusal, Remote};
use crate::transport::acceptor::{Acceptor, Incoming};

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
    let connect = Box::pin(connect::connect(hub, acceptor, incoming, peer, place));
    async move {
        if let Some(connection) = connect.await {
            disconnect_queue::run(connection).await;
        }
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy)]
struct Origin {
    remote: Remote,
    network: Network,
    prefix: Prefix,
}

/// A peer that is not let in broke a rule or went away.
pub(crate) fn note_broken(hub: &Hub, remote: Remote, broken: &Broken) {
    hub.metrics.broken.inc(&[broken.rule]);
    let line = Refusal::of(broken.what, broken.rule, remote);
    broken.detail.as_deref().map_or(line, |detail| line.detail(detail)).tell();
}
