use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use tessera_simulators::limits::DEVICES;
use tessera_simulators::load::limits::PAYLOAD_BYTES;
use tessera_token::ids::VerifierName;

use super::{HttpArg, PopArg, SimOperator};
use crate::time;

/// Options of every load: those of emqtt-bench first, by its names, then those of the devices' credentials and of the report.
#[derive(Args)]
pub(crate) struct LoadArgs {
    /// The host of the broker.
    #[arg(short = 'h', long, value_name = "HOST", default_value = "localhost")]
    pub(crate) host: String,
    /// The port of the broker.
    #[arg(short = 'p', long, value_name = "PORT", default_value_t = 1883)]
    pub(crate) port: u16,
    /// The version of MQTT: 4 is MQTT 3.1.1, 5 is MQTT 5.0.
    #[arg(short = 'V', long = "version", value_name = "4|5", default_value_t = 5,
        value_parser = clap::value_parser!(u8).range(4..=5))]
    pub(crate) mqtt_version: u8,
    /// Devices.
    #[arg(short = 'c', long, value_name = "N", default_value_t = 200,
        value_parser = count)]
    pub(crate) count: usize,
    /// The number of the first device, less one.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 0)]
    pub(crate) startnumber: u32,
    /// Milliseconds between the connects of two devices.
    #[arg(short = 'i', long, value_name = "MS", default_value_t = 10)]
    pub(crate) interval: u64,
    /// Connects a second, in the place of --interval; 0: --interval counts.
    #[arg(
        short = 'R',
        long = "connrate",
        visible_alias = "conn-rate",
        value_name = "N",
        default_value_t = 0
    )]
    pub(crate) connrate: u32,
    /// Seconds of keep-alive.
    #[arg(short = 'k', long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) keepalive: u16,
    /// Whether a former session ends.
    #[arg(short = 'C', long, value_name = "BOOL", default_value_t = true, num_args = 0..=1,
        default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) clean: bool,
    /// Seconds for which a session outlives its connection (MQTT 5.0).
    #[arg(
        short = 'x',
        long = "session-expiry",
        visible_alias = "expiry",
        value_name = "SECONDS",
        default_value_t = 0
    )]
    pub(crate) session_expiry: u32,
    /// Whether TLS is spoken.
    #[arg(short = 'S', long, value_name = "BOOL", default_value_t = false, num_args = 0..=1,
        default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) ssl: bool,
    /// The authorities that may sign the certificate of the broker, in PEM (else: as --cafile).
    #[arg(long, value_name = "FILE")]
    pub(crate) cacertfile: Option<PathBuf>,
    /// A certificate to show, in PEM.
    #[arg(long, value_name = "FILE", requires = "keyfile")]
    pub(crate) certfile: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "certfile")]
    pub(crate) keyfile: Option<PathBuf>,
    /// Whether MQTT goes over WebSocket (path /mqtt).
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1,
        default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) ws: bool,
    /// Addresses of this machine to connect from, with commas between; devices take them in turn.
    #[arg(long, value_name = "IP[,IP]", value_delimiter = ',')]
    pub(crate) ifaddr: Vec<IpAddr>,
    /// In front of every device id (default: from the seed).
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    #[command(flatten)]
    pub(crate) http: HttpArg,
    #[command(flatten)]
    pub(crate) operator: SimOperator,
    /// The role of the devices (default: one of the run with the rights that its topics need, removed with the devices).
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// The verifier behind the broker, when it has a name of its own (default: the audience).
    #[arg(long, value_name = "NAME")]
    pub(crate) verifier: Option<VerifierName>,
    /// The proof of the devices' tokens; hmac needs derivation keys (see `tessera up --help`).
    #[arg(long, value_enum, value_name = "HOW", default_value = "key")]
    pub(crate) pop: PopArg,
    /// End after this time (default: when the work is done, or on Ctrl-C).
    #[arg(long = "for", value_name = "TIME", value_parser = time::parse_span)]
    pub(crate) lasts: Option<Duration>,
    /// Leave the devices registered.
    #[arg(long)]
    pub(crate) keep: bool,
    /// The seed of the keys (default: a random one, printed).
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// The report as JSON into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The report as one HTML page with plots into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Tell the numbers to Prometheus on this address while the load runs (path /metrics).
    #[arg(long, value_name = "ADDR")]
    pub(crate) prometheus: Option<SocketAddr>,
    /// Print help.
    #[arg(long = "help", action = ArgAction::Help)]
    pub(crate) show_help: Option<bool>,
}

fn count(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|_| "this is no number".to_owned())?;
    match (1..=DEVICES).contains(&count) {
        true => Ok(count),
        false => Err(format!("1 to {DEVICES} devices in one process")),
    }
}

#[derive(Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = "Examples:
  tessera sim conn -c 15000 -R 1000 --for 60s --html conn.html
  tessera sim conn -c 40000 -R 2000 --ifaddr 127.0.0.1,127.0.0.2
  tessera sim conn -c 1000 -p 8883 -S --cacertfile ca.pem --json conn.json

Use it on test systems only: the keys of the devices can be computed from the seed."
)]
pub(crate) struct ConnArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Whether a device id is the prefix and the number alone.
    #[arg(short = 's', long, value_name = "BOOL", default_value_t = false, num_args = 0..=1,
        default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) shortids: bool,
}

#[derive(Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = "Examples:
  tessera sim pub -c 100 -I 10 -t bench/%i -s 256
  tessera sim pub -c 1000 -t d/%c/telemetry -q 1 -L 100000 -w --json pub.json
  tessera sim pub -c 10 -t bench/%i --payload-hdrs ts -L 1000

Use it on test systems only: the keys of the devices can be computed from the seed."
)]
pub(crate) struct PubArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// A topic; %c is the client id, %u the user name (the same), %i the number. May be given more than once.
    #[arg(short = 't', long, value_name = "TOPIC", required = true)]
    pub(crate) topic: Vec<String>,
    /// Bytes of a payload.
    #[arg(short = 's', long, value_name = "BYTES", default_value_t = 256, value_parser = size)]
    pub(crate) size: usize,
    /// The payload, in the place of --size.
    #[arg(short = 'm', long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// The quality of service.
    #[arg(short = 'q', long, value_name = "0|1|2", default_value_t = 0,
        value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    /// Whether the broker retains the messages.
    #[arg(short = 'r', long, value_name = "BOOL", default_value_t = false, num_args = 0..=1,
        default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) retain: bool,
    /// Milliseconds between two messages of one device.
    #[arg(short = 'I', long = "interval_of_msg", visible_alias = "interval-of-msg", value_name = "MS",
        default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub(crate) interval_of_msg: u64,
    /// Messages of all devices together; the run ends with the last. 0: no limit.
    #[arg(short = 'L', long, value_name = "N", default_value_t = 0)]
    pub(crate) limit: u64,
    /// Whether none publishes before all are connected.
    #[arg(short = 'w', long = "wait-before-publishing", value_name = "BOOL", default_value_t = false,
        num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) wait_before_publishing: bool,
    /// Headers in the payload, 8 bytes each: the number of the message, and the time in milliseconds.
    #[arg(long = "payload-hdrs", value_name = "cnt64,ts", value_delimiter = ',')]
    pub(crate) payload_hdrs: Vec<HeaderArg>,
    /// Whether a device id is the prefix and the number alone.
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1,
        default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) shortids: bool,
}

/// A header of a payload.
#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
pub(crate) enum HeaderArg {
    /// The number of the message.
    Cnt64,
    /// The time in milliseconds.
    Ts,
}

fn size(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "this is no number".to_owned())?;
    match bytes <= PAYLOAD_BYTES {
        true => Ok(bytes),
        false => Err(format!("at most {PAYLOAD_BYTES} bytes")),
    }
}

#[derive(Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = "Examples:
  tessera sim sub -c 1000 -t bench/%i -q 1
  tessera sim sub -c 10 -t 'bench/#' --payload-hdrs ts     with times from end to end

Use it on test systems only: the keys of the devices can be computed from the seed."
)]
pub(crate) struct SubArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// A filter; %c is the client id, %u the user name (the same), %i the number. May be given more than once.
    #[arg(short = 't', long, value_name = "FILTER", required = true)]
    pub(crate) topic: Vec<String>,
    /// The quality of service.
    #[arg(short = 'q', long, value_name = "0|1|2", default_value_t = 0,
        value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    /// Headers of the payloads that come: with ts, the time from end to end is told.
    #[arg(long = "payload-hdrs", value_name = "cnt64,ts", value_delimiter = ',')]
    pub(crate) payload_hdrs: Vec<HeaderArg>,
    /// Whether a device id is the prefix and the number alone.
    #[arg(short = 's', long, value_name = "BOOL", default_value_t = false, num_args = 0..=1,
        default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) shortids: bool,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
pub(crate) enum StormKind {
    /// All devices lose their connection at once and come back.
    Reconnect,
    /// 30,000 bad connects a second for 10 s, beside devices that publish once a second.
    Rejected,
    /// All devices need a new token at once, as after an outage, and connect with it.
    Refresh,
    /// All devices are revoked while they are connected, and try to come back.
    Revocation,
    /// The first device publishes to all others.
    FanOut,
}

#[derive(Args)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = "Examples:
  tessera sim storm --kind reconnect -c 10000 --html storm.html
  tessera sim storm --kind rejected -c 200       for a broker on 127.0.0.1 alone
  tessera sim storm --kind fan-out -c 1000 -q 1 -L 1000 -I 10

Use it on test systems only: the keys of the devices can be computed from the seed."
)]
pub(crate) struct StormArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// The storm.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) kind: StormKind,
    /// Bytes of a payload, in fan-out and rejected.
    #[arg(short = 's', long, value_name = "BYTES", default_value_t = 64, value_parser = size)]
    pub(crate) size: usize,
    /// The quality of service, in fan-out and rejected.
    #[arg(short = 'q', long, value_name = "0|1|2", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    /// Milliseconds between two messages of one device (default: 1000 in rejected, 10 in fan-out).
    #[arg(short = 'I', long = "interval_of_msg", visible_alias = "interval-of-msg", value_name = "MS",
        value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub(crate) interval_of_msg: Option<u64>,
    /// Messages of fan-out.
    #[arg(short = 'L', long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
}

#[derive(Args)]
#[command(after_help = "Example:
  tessera sim remove --prefix s2893719-

It deletes every device of the tenant whose id begins with the prefix, and the role of the run. A load prints its prefix as
its first line.")]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub(crate) http: HttpArg,
    #[command(flatten)]
    pub(crate) operator: SimOperator,
    /// The beginning of the device ids, 3 characters or more.
    #[arg(long, value_name = "TEXT", value_parser = prefix)]
    pub(crate) prefix: String,
    /// The result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn prefix(text: &str) -> Result<String, String> {
    match text.chars().count() >= 3 {
        true => Ok(text.to_owned()),
        false => Err("3 characters or more: a shorter one may be that of real devices".to_owned()),
    }
}
