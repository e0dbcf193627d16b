//! The measures, one file each. Every function is one round of one measure on one server that was just started.

pub(crate) use flood::{Flood, Flooding};

use super::error::BenchError;
use super::packet::Qos;
use super::server::{Running, Server, Servers, Setup};
use super::stage::{Sample, Stage};

mod command;
mod connect;
mod enrol;
mod fan_in;
mod fan_out;
mod flood;
mod growth;
mod import;
mod issue;
mod leave;
mod line;
mod push_refresh;
mod refused;
mod revoke;
mod revoke_feed;
mod storm;
mod wear;

/// The measures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Measure {
    /// Connect, CONNACK, close.
    Connect,
    /// The same for devices that have connected to this broker before.
    Reconnect,
    /// As [`Measure::Connect`], with symmetric tokens: a MAC in the place of the device's signature.
    ConnectHmac,
    /// Connect and stay; memory of an idle session.
    Hold,
    /// As [`Measure::Connect`], over TLS 1.3 with full handshakes.
    ConnectTls,
    /// As [`Measure::Hold`], over TLS 1.3.
    HoldTls,
    /// All come back over TLS, proved by the resumption secret.
    Storm,
    /// The same after the server was killed and started again.
    StormRestart,
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
    /// All devices disconnect; how long others wait.
    Leave,
    /// Revocation acknowledged to socket closed.
    Revoke,
    /// Revocation acknowledged to applied at readers of the trust feed.
    RevokeFeed,
    /// Cost of one operation beside few sessions and beside many.
    Growth,
    /// Honest devices while others flood the broker with bad connects.
    Flood,
    /// Tokens issued over REST, durable.
    Issue,
    /// Devices enrolled over REST, durable.
    Enrol,
    /// Devices imported as one stream, durable. It fills the registry and is measured when it is named.
    Import,
    /// Next tokens pushed to all devices. Its tokens are short, and it is measured alone.
    PushRefresh,
    /// Bytes written to the disk. It takes long and is measured when it is named.
    Wear,
}

impl Measure {
    /// Those of a run that names none, in the order in which they run.
    pub const ALL: [Self; 21] = [
        Self::Connect,
        Self::Reconnect,
        Self::ConnectHmac,
        Self::Hold,
        Self::ConnectTls,
        Self::HoldTls,
        Self::Storm,
        Self::StormRestart,
        Self::FanIn0,
        Self::FanIn1,
        Self::Command,
        Self::FanOut0,
        Self::FanOut1,
        Self::Refused,
        Self::Leave,
        Self::Revoke,
        Self::RevokeFeed,
        Self::Growth,
        Self::Flood,
        Self::Issue,
        Self::Enrol,
    ];

    /// The name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reconnect => "reconnect",
            Self::ConnectHmac => "connect-hmac",
            Self::Hold => "hold",
            Self::ConnectTls => "connect-tls",
            Self::HoldTls => "hold-tls",
            Self::Storm => "storm",
            Self::StormRestart => "storm-restart",
            Self::FanIn0 => "fan-in-0",
            Self::FanIn1 => "fan-in-1",
            Self::Command => "command",
            Self::FanOut0 => "fan-out-0",
            Self::FanOut1 => "fan-out-1",
            Self::Refused => "refused",
            Self::Leave => "leave",
            Self::Revoke => "revoke",
            Self::RevokeFeed => "revoke-feed",
            Self::Growth => "growth",
            Self::Flood => "flood",
            Self::Issue => "issue",
            Self::Enrol => "enrol",
            Self::Import => "import",
            Self::PushRefresh => "push-refresh",
            Self::Wear => "wear",
        }
    }

    /// Its unit.
    pub const fn operation(self) -> &'static str {
        match self {
            Self::Connect | Self::ConnectHmac | Self::Hold | Self::ConnectTls | Self::HoldTls => {
                "connects"
            }
            Self::Wear => "reconnects",
            Self::Reconnect | Self::Storm | Self::StormRestart => "reconnects",
            Self::FanIn0 | Self::FanIn1 | Self::Command | Self::Growth => "messages",
            Self::FanOut0 | Self::FanOut1 => "deliveries",
            Self::Refused => "refusals",
            Self::Leave => "probes",
            Self::Revoke | Self::RevokeFeed => "revocations",
            Self::Flood => "bad connects",
            Self::Issue | Self::PushRefresh => "tokens",
            Self::Enrol => "enrolments",
            Self::Import => "devices",
        }
    }

    /// The servers that it compares; the first one is ours.
    pub const fn servers(self) -> &'static [Server] {
        match self {
            Self::Connect | Self::Reconnect | Self::ConnectHmac | Self::Hold => {
                &[Server::Tessera, Server::MosquittoPassword, Server::Mosquitto, Server::Flashmq]
            }
            Self::Refused | Self::Revoke | Self::RevokeFeed => &[Server::Tessera],
            Self::Flood | Self::Issue | Self::Enrol => &[Server::Tessera],
            Self::Import | Self::PushRefresh | Self::Wear => &[Server::Tessera],
            _ => &[Server::Tessera, Server::Mosquitto, Server::Flashmq],
        }
    }

    /// How the servers are set up for it.
    pub(super) const fn setup(self) -> Setup {
        match self {
            Self::ConnectTls | Self::HoldTls | Self::Storm | Self::StormRestart => Setup::Tls,
            Self::Flood => Setup::Field,
            Self::PushRefresh => Setup::Pushed,
            _ => Setup::Plain,
        }
    }

    /// Rounds of it, when so many are asked for: counts of bytes hardly differ.
    pub(super) const fn rounds(self, asked: usize) -> usize {
        match self {
            Self::Wear | Self::PushRefresh => 1,
            _ => asked,
        }
    }

    /// One round.
    pub(super) async fn run(
        self,
        stage: &Stage,
        servers: &impl Servers,
        running: Running,
        round: usize,
    ) -> Result<Sample, BenchError> {
        match self {
            Self::Connect | Self::ConnectTls => {
                connect::churn(stage, &stage.devices, &running).await
            }
            Self::ConnectHmac => connect::churn(stage, &stage.symmetric, &running).await,
            Self::Reconnect => connect::again(stage, &running).await,
            Self::Hold | Self::HoldTls => connect::stay(stage, &running).await,
            Self::Storm => storm::run(stage, servers, running, false).await,
            Self::StormRestart => storm::run(stage, servers, running, true).await,
            Self::FanIn0 => fan_in::at_most_once(stage, &running).await,
            Self::FanIn1 => fan_in::at_least_once(stage, &running).await,
            Self::Command => command::run(stage, &running).await,
            Self::FanOut0 => fan_out::run(stage, &running, Qos::Zero).await,
            Self::FanOut1 => fan_out::run(stage, &running, Qos::One).await,
            Self::Refused => refused::run(stage, &running).await,
            Self::Leave => leave::run(stage, &running).await,
            Self::Revoke => revoke::run(stage, &running, round).await,
            Self::RevokeFeed => revoke_feed::run(stage, servers, round).await,
            Self::Growth => growth::run(stage, &running).await,
            Self::Flood => flood::run(stage, &running).await,
            Self::Issue => issue::run(stage, servers).await,
            Self::Enrol => enrol::run(stage, servers, round).await,
            Self::Import => import::run(stage, servers, round).await,
            Self::PushRefresh => push_refresh::run(stage, servers, &running).await,
            Self::Wear => wear::run(stage, servers, &running).await,
        }
    }
}
