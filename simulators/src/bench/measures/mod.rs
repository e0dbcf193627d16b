//! The measures, one file each. Every function is one round of one measure on one server that was just started.

use super::error::BenchError;
use super::packet::Qos;
use super::server::{Running, Server};
use super::stage::{Sample, Stage};

mod command;
mod connect;
mod fan_in;
mod fan_out;
mod leave;
mod refused;
mod revoke;

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Measure {
    /// Connect, CONNACK, close.
    Connect,
    /// Connect and stay; memory of an idle session.
    Hold,
    /// A thousand devices to one wildcard subscriber, QoS 0.
    FanIn0,
    /// The same, QoS 1.
    FanIn1,
    /// One backend to each device on its own topic, QoS 1.
    Command,
    /// One publisher to a thousand subscribers of one topic, QoS 0.
    FanOut0,
    /// The same, QoS 1.
    FanOut1,
    /// CONNECTs that are refused, by kind.
    Refused,
    /// Everybody disconnects; how long others wait.
    Leave,
    /// Revocation acknowledged to socket closed.
    Revoke,
}

impl Measure {
    /// All, in the order in which they run.
    pub const ALL: [Self; 10] = [
        Self::Connect,
        Self::Hold,
        Self::FanIn0,
        Self::FanIn1,
        Self::Command,
        Self::FanOut0,
        Self::FanOut1,
        Self::Refused,
        Self::Leave,
        Self::Revoke,
    ];

    /// The name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Hold => "hold",
            Self::FanIn0 => "fan-in-0",
            Self::FanIn1 => "fan-in-1",
            Self::Command => "command",
            Self::FanOut0 => "fan-out-0",
            Self::FanOut1 => "fan-out-1",
            Self::Refused => "refused",
            Self::Leave => "leave",
            Self::Revoke => "revoke",
        }
    }

    /// What it counts.
    pub const fn operation(self) -> &'static str {
        match self {
            Self::Connect | Self::Hold => "connects",
            Self::FanIn0 | Self::FanIn1 | Self::Command => "messages",
            Self::FanOut0 | Self::FanOut1 => "deliveries",
            Self::Refused => "refusals",
            Self::Leave => "probes",
            Self::Revoke => "revocations",
        }
    }

    /// The servers that it compares; the first one is ours.
    pub const fn servers(self) -> &'static [Server] {
        match self {
            Self::Connect | Self::Hold => {
                &[Server::Tessera, Server::MosquittoPassword, Server::Mosquitto]
            }
            Self::Refused | Self::Revoke => &[Server::Tessera],
            _ => &[Server::Tessera, Server::Mosquitto],
        }
    }

    /// One round.
    pub(super) async fn run(
        self,
        stage: &Stage,
        running: &Running,
        round: usize,
    ) -> Result<Sample, BenchError> {
        match self {
            Self::Connect => connect::churn(stage, running).await,
            Self::Hold => connect::stay(stage, running).await,
            Self::FanIn0 => fan_in::at_most_once(stage, running).await,
            Self::FanIn1 => fan_in::at_least_once(stage, running).await,
            Self::Command => command::run(stage, running).await,
            Self::FanOut0 => fan_out::run(stage, running, Qos::Zero).await,
            Self::FanOut1 => fan_out::run(stage, running, Qos::One).await,
            Self::Refused => refused::run(stage, running).await,
            Self::Leave => leave::run(stage, running).await,
            Self::Revoke => revoke::run(stage, running, round).await,
        }
    }
}
