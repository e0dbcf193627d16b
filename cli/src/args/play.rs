use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tessera_simulators::play::limits::FASTEST;
use tessera_token::ids::VerifierName;

use super::{HttpArg, SimOperator};
use crate::time;

#[derive(Args)]
#[command(after_help = "Examples:
  tessera sim play --scenario examples/detection/play.toml --speed 60 --for 10m
  tessera sim play --scenario scenario.toml --devices 2000 --speed 60 --for 30m --mqtt mqtts://localhost:8883 \\
    --truth truth.ndjson --alerts alerts.ndjson --json play.json

Each device enrols with a key of its own and does what the scenario says (docs/play.md). The devices are removed after
the run. Use it on test systems only: the keys of the devices can be computed from the seed.")]
pub(crate) struct PlayArgs {
    /// The scenario (docs/detection.md); what it does not say is as in the default one.
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
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
    /// Devices, in the place of the number in the scenario.
    #[arg(long, value_name = "N")]
    pub(crate) devices: Option<u64>,
    /// Seconds of the scenario in one second.
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed)]
    pub(crate) speed: f64,
    /// End after this time (default: with the scenario, or on Ctrl-C).
    #[arg(long = "for", value_name = "TIME", value_parser = time::parse_span)]
    pub(crate) lasts: Option<Duration>,
    /// How long alerts are waited for after the last act.
    #[arg(long, value_name = "TIME", value_parser = time::parse_span, default_value = "5s")]
    pub(crate) settle: Duration,
    /// The seed of the world and of the keys (default: that of the scenario).
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// In front of every device id (default: a random one, printed).
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// Leave the devices registered.
    #[arg(long)]
    pub(crate) keep: bool,
    /// The ground truth as NDJSON into this file, by the names and the clock of the run.
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: Option<PathBuf>,
    /// The alerts of the broker as NDJSON into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) alerts: Option<PathBuf>,
    /// Numbers and scores as JSON into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.1..=FASTEST).contains(&speed) => Ok(speed),
        _ => Err(format!("a number from 0.1 to {FASTEST}")),
    }
}
