use std::path::PathBuf;

use clap::{ArgMatches, Args, FromArgMatches, Subcommand, ValueEnum};

use super::AgentArgs;

/// `tessera agent`: the daemon, which has flags of its own, or one of its other works.
pub(crate) enum AgentCommand {
    Serve(Box<AgentArgs>),
    Work(AgentWork),
}

impl FromArgMatches for AgentCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand_name() {
            Some(_) => AgentWork::from_arg_matches(matches).map(Self::Work),
            None => AgentArgs::from_arg_matches(matches).map(|args| Self::Serve(Box::new(args))),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for AgentCommand {
    fn augment_args(command: clap::Command) -> clap::Command {
        AgentWork::augment_subcommands(AgentArgs::augment_args(command))
            .subcommand_required(false)
            .arg_required_else_help(false)
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// The works of an agent beside serving.
#[derive(Subcommand)]
pub(crate) enum AgentWork {
    /// Judge a file of observations, and print the alerts.
    Replay(ReplayArgs),
    /// Make a file of observations from a log of mosquitto or from a capture.
    Convert(ConvertArgs),
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera agent replay --input observations.ndjson
  tessera agent replay --input - < observations.ndjson > alerts.ndjson

Each line of the file is one observation (docs/observations.md); its times are those of the
observations, so a month is judged in seconds and gives the same alerts each time. A line that is no observation, and one
more than 5 s older than the line before it, ends the replay with its number.")]
pub(crate) struct ReplayArgs {
    /// The observations as NDJSON; - is standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// The alerts as NDJSON into this file (default: standard output).
    #[arg(long, value_name = "FILE")]
    pub(crate) alerts: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Source {
    /// A log with `log_type all` and `connection_messages true`.
    MosquittoLog,
    /// The fields that tshark prints of a capture.
    Tshark,
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera agent convert --from mosquitto-log --input mosquitto.log --out observations.ndjson
  tshark -r capture.pcap -Y mqtt -T fields -E aggregator=';' -e frame.time_epoch -e ip.src -e ip.dst \\
    -e tcp.stream -e mqtt.msgtype -e mqtt.clientid -e mqtt.topic -e mqtt.len -e mqtt.kalive -e mqtt.conack.val \\
    | tessera agent convert --from tshark --input - --out observations.ndjson

The client id becomes the device. Groups, keys and refusal codes are in neither source, so signals that need them are
silent. Lines that say nothing about a client are passed over and counted.")]
pub(crate) struct ConvertArgs {
    /// The kind of the input.
    #[arg(long, value_enum)]
    pub(crate) from: Source,
    /// The input; - is standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// The observations as NDJSON into this file; - is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The tenant of the devices.
    #[arg(long, value_name = "ID", default_value = "default")]
    pub(crate) tenant: String,
    /// The level of a topic that holds the name of the device, 0 for the first: it tells a mistake from a probe.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) name_level: usize,
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera sim observe --default > scenario.toml
  tessera sim observe --scenario scenario.toml --seed 7 --out observations.ndjson --truth truth.ndjson

2,000 devices and 21 days are about 60 million lines and 8 GB. `tessera sim score` needs no file for that.")]
pub(crate) struct ObserveArgs {
    /// Print the default scenario, with a comment for each part, and end.
    #[arg(long, conflicts_with_all = ["scenario", "out", "truth", "seed"])]
    pub(crate) default: bool,
    /// The scenario (docs/detection.md); what it does not say is as in the default one.
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
    /// The seed (default: that of the scenario).
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// The observations as NDJSON into this file; - is standard output.
    #[arg(long, value_name = "FILE", required_unless_present = "default")]
    pub(crate) out: Option<PathBuf>,
    /// The ground truth as NDJSON into this file.
    #[arg(long, value_name = "FILE", required_unless_present = "default")]
    pub(crate) truth: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera sim score --scenario scenario.toml
  tessera sim score --scenario scenario.toml --seeds 301,302,303 --markdown docs/detection.md --json score.json
  tessera sim score --input observations.ndjson --truth truth.ndjson
  tessera sim score --input observations.ndjson --truth truth.ndjson --alerts others.ndjson
  tessera sim score --scenario scenario.toml --profile profile.json

With --alerts, the alerts of any other detector are judged by the same rules. The profile is the JSON that
`aws iot describe-security-profile` prints. docs/detection.md has the rules of the count.")]
pub(crate) struct ScoreArgs {
    /// The scenario (docs/detection.md); without it and without --input, the default one.
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub(crate) scenario: Option<PathBuf>,
    /// The seeds, separated by commas; the runs are added up (default: that of the scenario).
    #[arg(long, value_name = "N,…", value_delimiter = ',', conflicts_with = "input")]
    pub(crate) seeds: Vec<u64>,
    /// Observations as NDJSON, in the place of a scenario; - is standard input.
    #[arg(long, value_name = "FILE", requires = "truth")]
    pub(crate) input: Option<PathBuf>,
    /// The ground truth of that input.
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: Option<PathBuf>,
    /// The alerts of another detector on that input, as NDJSON: they alone are judged.
    #[arg(long, value_name = "FILE", requires = "truth")]
    pub(crate) alerts: Option<PathBuf>,
    /// The security profile for the first reference (default: the examples of its pages).
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    /// The scores as JSON into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The page with table, curves and blind spots into this file.
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub(crate) markdown: Option<PathBuf>,
}
