use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::Pkcs11Args;

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// Connects a second: connect, CONNACK, close.
    Connect,
    /// The same for devices that have connected to this broker before.
    Reconnect,
    /// As connect, with symmetric tokens: a MAC in the place of the device's signature.
    ConnectHmac,
    /// Connect and stay; memory of an idle session.
    Hold,
    /// As connect, over TLS 1.3 with full handshakes.
    ConnectTls,
    /// As hold, over TLS 1.3.
    HoldTls,
    /// All come back over TLS, proved by the resumption secret.
    Storm,
    /// The same after both servers were killed and started again.
    StormRestart,
    /// 1,000 devices to one wildcard subscriber, QoS 0.
    #[value(name = "fan-in-0")]
    FanIn0,
    /// The same with QoS 1.
    #[value(name = "fan-in-1")]
    FanIn1,
    /// One backend to each device on its own topic, QoS 1.
    Command,
    /// One publisher to 1,000 subscribers of the same topic, QoS 0.
    #[value(name = "fan-out-0")]
    FanOut0,
    /// The same with QoS 1.
    #[value(name = "fan-out-1")]
    FanOut1,
    /// Cost of a refused CONNECT, by the guard that refuses it.
    Refused,
    /// All devices disconnect; how long others wait.
    Leave,
    /// Revocation acknowledged to socket closed.
    Revoke,
    /// Revocation acknowledged to applied at 50 readers of the trust feed.
    RevokeFeed,
    /// Cost of an operation beside 1,000 sessions and beside --sessions.
    Growth,
    /// 200 honest devices while 30,000 bad connects a second come in.
    Flood,
    /// Tokens a second over REST, each durable before its answer.
    Issue,
    /// Enrolments a second over REST by claim codes, each durable before its answer.
    Enrol,
    /// Devices a second in an import, each durable before its answer; only when named.
    Import,
    /// Next tokens pushed to all devices, and the busiest second; two lives of short tokens, only when named, and alone.
    PushRefresh,
    /// Bytes to the disk for a connect, a refresh and a day; only when named.
    Wear,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Peer {
    /// mosquitto of this machine takes its turns.
    Mosquitto,
    /// FlashMQ takes its turns, from this binary.
    Flashmq(PathBuf),
    /// Tessera alone.
    None,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "mosquitto" => Ok(Self::Mosquitto),
            None if text == "none" => Ok(Self::None),
            Some(("flashmq", path)) if !path.is_empty() => Ok(Self::Flashmq(path.into())),
            _ if text.starts_with("flashmq") => {
                Err("flashmq needs the path of its binary: flashmq=/usr/bin/flashmq".to_owned())
            }
            _ => Err("use mosquitto, flashmq=PATH or none".to_owned()),
        }
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera bench --clients 2000                   everything, beside mosquitto
  tessera bench connect fan-in-0 --rounds 5 --json bench.json
  tessera bench fan-in-1 --peer mosquitto --peer flashmq=/usr/bin/flashmq
  tessera bench connect-tls storm storm-restart  the transport that devices use
  tessera bench growth --sessions 15000 --peer none
  tessera bench flood revoke leave --peer none --clients 10000
  tessera bench wear --peer none --clients 10000 what a day writes to the disk
  tessera bench issue --peer none --pkcs11-module /usr/lib/softhsm/libsofthsm2.so --pkcs11-token tessera \\
    --pkcs11-pin-file token.pin                  tokens signed in a security module
  tessera bench import --devices 100000 --peer none --clients 10 --rounds 1

All servers are started in a temporary folder on free ports of 127.0.0.1 and take turns round by round, each time as a
new process. On a machine that does other things too, the ratios count and not the absolute figures; measure a release
build.

Needs of the measures:
  all          two descriptors for each device, one here and one in the server (ulimit -Hn of --clients + 2,500)
  connect-tls, hold-tls, storm, storm-restart
               nothing more: one self-signed P-256 certificate is made and shown by all servers
  growth       enrols --sessions + 1,000 devices, whatever --clients is (some minutes when there are many)
  flood        18,000 descriptors, 15 s for each round, 200 honest devices; binds its sockets to addresses of all of
               127.0.0.0/8, as attackers come from many networks
  revoke       100 devices more for each round; 10,000 --clients for the target
  revoke-feed  100 devices more for each round; it measures provisioning, and a few --clients do
  wear         12 minutes, one round whatever --rounds is; as root it makes a disk of its own (a loop device with ext4) and
               counts its sectors, otherwise it counts what the kernel says that the two processes wrote
A peer takes no turn in refused, revoke, revoke-feed, flood, issue, import and wear: it has nothing to compare there.")]
pub(crate) struct BenchArgs {
    /// The measures (default: everything but import and wear).
    #[arg(value_enum, value_name = "WHICH")]
    pub(crate) which: Vec<Which>,
    /// Devices; two descriptors each are needed, one here and one in the server.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) clients: usize,
    /// Sessions at the upper end of `growth`.
    #[arg(long, value_name = "N", default_value_t = 15_000)]
    pub(crate) sessions: usize,
    /// A server to measure beside Tessera: mosquitto, flashmq=PATH of its binary, or none. More than one may be given.
    #[arg(long, value_name = "PEER", default_value = "mosquitto")]
    pub(crate) peer: Vec<Peer>,
    /// Devices of one round of `import`.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) devices: usize,
    /// Turns of each server; the median counts.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Seconds for which message rates are measured in each round.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Seconds for which wear watches the disk, first without devices and then with --clients that publish once a minute.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) quiet: u64,
    /// Options by which wear mounts its disk, as `mount -o` takes them: `commit=300,noatime`.
    #[arg(long, value_name = "OPTIONS", default_value = "")]
    pub(crate) mount: String,
    #[command(flatten)]
    pub(crate) pkcs11: Pkcs11Args,
    /// An empty PostgreSQL database that two processes of provisioning share, in the place of SQLite: for issue.
    #[arg(long, value_name = "URL")]
    pub(crate) database: Option<String>,
    /// Every sample, the medians and the verdicts as JSON into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
