use std::fmt;
use std::io;
use std::net::SocketAddr;

use tessera_runtime::http::HttpError;
use tessera_runtime::metrics::MetricsError;
use tessera_runtime::store::StoreError;

use crate::resumption::TicketError;
use crate::transport::tls::TlsError;

/// Why the broker did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on: taken, or not ours.
    Listen(SocketAddr, io::Error),
    /// The URL of provisioning.
    Provisioning(HttpError),
    /// Enrolment is offered, and no address of provisioning is set.
    Enrolment,
    /// A metric's name is taken: two brokers share a registry.
    Metrics(MetricsError),
    /// Certificate, key or authorities.
    Tls(TlsError),
    /// Ticket keys cannot be read, made or kept.
    Tickets(TicketError),
    /// The store of sessions and retained messages cannot be opened or read.
    Store(StoreError),
    /// The system gives no thread or descriptor.
    Thread(io::Error),
    /// The actix thread ended before it began.
    Actix,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Provisioning(error) => write!(f, "provisioning: {error}"),
            Self::Enrolment => f.write_str(
                "enrolment over MQTT needs the address of provisioning: set provisioning, or turn enrolment off",
            ),
            Self::Metrics(error) => error.fmt(f),
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::Tickets(error) => write!(f, "ticket keys: {error}"),
            Self::Store(error) => write!(f, "session store: {error}"),
            Self::Thread(error) => write!(f, "the system refuses: {error}"),
            Self::Actix => f.write_str("the actor thread did not start"),
        }
    }
}

impl std::error::Error for StartError {}
