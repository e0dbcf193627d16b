use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use tessera_token::ids::VerifierName;

use super::{
    ConnArgs, HttpArg, ObserveArgs, PlayArgs, PopArg, PubArgs, RemoveArgs, ScoreArgs, StormArgs,
    SubArgs,
};
use crate::time;

#[derive(Args)]
#[command(after_help = "Examples:
  tessera demo                    stays up; prints how to connect a device of your own
  tessera demo --for 30s          ends by itself; exit status 0 only if every expectation held
  tessera demo --for 60s --devices 1000 --seed 7")]
pub(crate) struct DemoArgs {
    /// End after this time and judge what was seen; give it 20s or more, so that the flood can be noticed and the tokens
    /// be refreshed.
    #[arg(long = "for", value_name = "TIME", value_parser = time::parse_span)]
    pub(crate) lasts: Option<Duration>,
    /// Honest devices.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) devices: usize,
    /// The seed that makes the same fleet again (default: a random one, printed).
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Life of a token, short, so that refreshes can be watched.
    #[arg(long, value_name = "TIME", value_parser = time::parse_span, default_value = "20s")]
    pub(crate) token_life: Duration,
    /// The summary as JSON into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Logs of the servers below this level are not shown.
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    pub(crate) log: String,
}

#[derive(Subcommand)]
pub(crate) enum SimCommand {
    /// Run a fleet against a running system and report.
    Run(SimRunArgs),
    /// Enrol devices and write one line each for any load tool: client id TAB user name TAB password as hex.
    Credentials(CredentialsArgs),
    /// Connect many devices and report, with the flags of emqtt-bench.
    Conn(Box<ConnArgs>),
    /// Let many devices publish and report, with the flags of emqtt-bench.
    Pub(Box<PubArgs>),
    /// Let many devices subscribe and report, with the flags of emqtt-bench.
    Sub(Box<SubArgs>),
    /// Run a named storm: reconnect, rejected, refresh, revocation, fan-out.
    Storm(Box<StormArgs>),
    /// Remove the devices that a load left behind.
    Remove(RemoveArgs),
    /// Write the observations of a simulated fleet on a virtual clock, with attacks and ground truth.
    Observe(ObserveArgs),
    /// Score the detection of odd behaviour, beside six references.
    Score(ScoreArgs),
    /// Play a scenario on real MQTT clients against a running system, and score its alerts.
    Play(Box<PlayArgs>),
}

/// The operator account.
#[derive(Args, Clone)]
pub(crate) struct SimOperator {
    /// The operator token, or @FILE with it (else: the variable TESSERA_OPERATOR_TOKEN).
    #[arg(long, value_name = "TOKEN|@FILE")]
    pub(crate) operator_token: Option<String>,
    /// The tenant.
    #[arg(long, value_name = "ID", default_value = "default")]
    pub(crate) tenant: String,
}

#[derive(Args)]
#[command(after_help = "Example:
  tessera sim run --devices 1000 --for 60s --operator-token @tessera-data/operator.token

Use it on test systems only: the keys of the devices can be computed from the seed.")]
pub(crate) struct SimRunArgs {
    #[command(flatten)]
    pub(crate) http: HttpArg,
    /// The broker: host:port, or a URL that begins with mqtt://, mqtts://, ws:// or wss://; --cafile is for both.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    pub(crate) mqtt: String,
    /// The verifier behind it, when it has a name of its own (default: the audience).
    #[arg(long, value_name = "NAME")]
    pub(crate) verifier: Option<VerifierName>,
    #[command(flatten)]
    pub(crate) operator: SimOperator,
    /// Honest devices.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) devices: usize,
    /// End after this time; without it, on Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = time::parse_span)]
    pub(crate) lasts: Option<Duration>,
    /// The seed (default: a random one, printed).
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Between two publishes of a device.
    #[arg(long, value_name = "TIME", value_parser = time::parse_span, default_value = "1s")]
    pub(crate) every: Duration,
    /// The role of the devices.
    #[arg(long, value_name = "ROLE", default_value = "sensor")]
    pub(crate) role: String,
    /// The role of the backend that reads them.
    #[arg(long, value_name = "ROLE", default_value = "backend")]
    pub(crate) backend_role: String,
    /// In front of every device id (default: from the seed).
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// The proof of the devices' tokens; hmac needs derivation keys (see `tessera up --help`).
    #[arg(long, value_enum, value_name = "HOW", default_value = "key")]
    pub(crate) pop: PopArg,
    /// Let thief, prober, flooder and a revocation take part; they need about 15s to be noticed.
    #[arg(long)]
    pub(crate) hostile: bool,
    /// The report as JSON into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the role of each device as JSON into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
pub(crate) enum ProofArg {
    /// Token and connect proof: each line is good once, within 60 seconds.
    Connect,
    /// A bearer token: good until it expires; the tenant must allow it.
    Bearer,
}

#[derive(Args)]
#[command(after_help = "Example:
  tessera sim credentials --devices 1000 --proof connect --out creds.tsv \\
    --operator-token @tessera-data/operator.token

Bearer tokens need a tenant that allows them: tessera tenant bearer default on")]
pub(crate) struct CredentialsArgs {
    #[command(flatten)]
    pub(crate) http: HttpArg,
    #[command(flatten)]
    pub(crate) operator: SimOperator,
    /// The number of devices.
    #[arg(long, value_name = "N")]
    pub(crate) devices: usize,
    /// How the devices prove themselves.
    #[arg(long, value_enum)]
    pub(crate) proof: ProofArg,
    /// The verifier that the lines are for, when it has a name of its own (default: the audience).
    #[arg(long, value_name = "NAME")]
    pub(crate) verifier: Option<VerifierName>,
    /// The file (mode 0600).
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The role.
    #[arg(long, value_name = "ROLE", default_value = "sensor")]
    pub(crate) role: String,
    /// In front of every device id (default: from the seed).
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// The seed (default: a random one, printed).
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// The result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
