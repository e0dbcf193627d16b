//! The servers that are compared, and who starts them.

use std::any::Any;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::connection::Place;
use super::error::BenchError;

/// A server under test.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// Tessera's broker, with everything switched on.
    Tessera,
    /// mosquitto that checks no credential.
    Mosquitto,
    /// mosquitto with a password file.
    MosquittoPassword,
    /// FlashMQ that checks no credential.
    Flashmq,
}

impl Server {
    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tessera => "tessera",
            Self::Mosquitto => "mosquitto",
            Self::MosquittoPassword => "mosquitto+password",
            Self::Flashmq => "flashmq",
        }
    }
}

/// How a server is set up for a measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setup {
    /// Over plain TCP; the limits per address prefix are opened, since all load comes from one.
    Plain,
    /// The same over TLS 1.3.
    Tls,
    /// Over plain TCP with the limits of the field: the load comes from many prefixes.
    Field,
    /// As [`Setup::Plain`], the one broker of the run to which provisioning pushes tokens.
    Pushed,
}

/// A running server; it ends when this is dropped.
pub struct Running {
    /// Which.
    pub server: Server,
    /// How it is set up.
    pub setup: Setup,
    /// Where it listens.
    pub place: Place,
    /// Its process.
    pub pid: u32,
    /// Its data.
    pub data: PathBuf,
    /// Guard that ends it when dropped.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// Starts servers.
pub trait Servers: Sync {
    /// Starts one as a new process with nothing stored and waits until it serves.
    fn start(
        &self,
        server: Server,
        setup: Setup,
    ) -> impl Future<Output = Result<Running, BenchError>> + Send;

    /// Kills one without a word and starts it again on what it has stored.
    fn again(&self, running: Running) -> impl Future<Output = Result<Running, BenchError>> + Send;

    /// The processes of provisioning, and where each listens.
    fn provisioning(&self) -> Vec<(u32, SocketAddr)>;

    /// The life of the tokens that are pushed to the broker of [`Setup::Pushed`], when there is one.
    fn pushed_life(&self) -> Option<Duration>;

    /// Bytes that went to the disk so far, with all that was written before by provisioning and this broker.
    ///
    /// # Errors
    /// [`BenchError`] when the system does not tell.
    fn written(&self, broker: u32) -> Result<u64, BenchError>;

    /// Whether [`Servers::written`] counts at the disk itself, with what the file system adds.
    fn counts_at_disk(&self) -> bool;
}
