//! The servers that are compared, and who starts them.

use std::any::Any;
use std::future::Future;
use std::net::SocketAddr;

use serde::Serialize;

use super::error::BenchError;

/// A server under test.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// Tessera's broker, with everything switched on.
    Tessera,
    /// mosquitto that lets anybody in.
    Mosquitto,
    /// mosquitto with a password file.
    MosquittoPassword,
}

impl Server {
    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tessera => "tessera",
            Self::Mosquitto => "mosquitto",
            Self::MosquittoPassword => "mosquitto+password",
        }
    }
}

/// A running server; it ends when this is dropped.
pub struct Running {
    /// Which.
    pub server: Server,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its process.
    pub pid: u32,
    /// What ends it when dropped.
    pub keep: Box<dyn Any + Send>,
}

/// Starts servers. Every start is a new process with nothing stored.
pub trait Servers {
    /// Starts one and waits until it serves.
    fn start(&self, server: Server) -> impl Future<Output = Result<Running, BenchError>> + Send;
}
