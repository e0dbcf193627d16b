//! The attackers alone, for a load on a broker that is not started here.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};

use tessera_runtime::clock::SharedClock;
use tokio::task::JoinHandle;

use super::super::super::crowd::Crowd;
use super::super::super::error::BenchError;
use super::attack::{Attack, Offered};
use super::shots::{self, Shot};
use crate::device::life::Device;
use crate::mqtt::Broker;

/// A flood that has not begun.
pub(crate) struct Flood {
    server: SocketAddr,
    shots: Vec<Shot>,
    clock: SharedClock,
}

/// A flood under way.
pub(crate) struct Flooding(JoinHandle<Result<Offered, BenchError>>);

impl Flood {
    /// Bad connects by what an attacker has seen of these devices.
    pub(crate) fn prepare(
        broker: &Broker,
        devices: &[Device],
        clock: &SharedClock,
    ) -> Result<Self, BenchError> {
        let mut found = (broker.host.as_str(), broker.port).to_socket_addrs()?;
        let server = found.find(|at| at.is_ipv4() && at.ip().is_loopback());
        let server = server.ok_or_else(|| {
            BenchError::new("a flood is for a broker on an IPv4 loopback address alone")
        })?;
        let crowd = Crowd::new(devices, clock);
        let shots = shots::mix(&crowd, crowd.members());
        Ok(Self { server, shots, clock: clock.clone() })
    }

    /// Begins it; it ends by itself.
    pub(crate) fn start(self) -> Result<Flooding, BenchError> {
        let attack = Attack::start(self.server, self.shots, &self.clock)?;
        Ok(Flooding(tokio::spawn(attack.finish())))
    }
}

impl Flooding {
    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// Its figures, by name with the unit.
    pub(crate) async fn finish(self) -> Result<BTreeMap<String, f64>, BenchError> {
        let offered = self.0.await??;
        let rate = offered.started as f64 / offered.took.as_secs_f64().max(1e-9);
        let taken = offered.written as f64 / (offered.loud as f64).max(1.0);
        let named = [
            ("bad connects", offered.started as f64),
            ("bad connects a second", rate),
            ("percent taken at once", 100.0 * taken),
            ("due without a socket", offered.without_socket as f64),
        ];
        Ok(named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}
