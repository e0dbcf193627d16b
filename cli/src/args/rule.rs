use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Rules, before they reach a fleet.
#[derive(Subcommand)]
pub(crate) enum RuleCommand {
    /// Check a rule, and print its normal form, its selector and its cost.
    Check(RuleCheckArgs),
    /// Hold a rule against recorded observations, and print what it would have done.
    Test(RuleTestArgs),
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera rule check --rule large-commands.toml
  tessera rule check --rule large-commands.json --json

A rule is a file in TOML or JSON:

  id = \"large-commands\"
  version = 1
  on = \"publish\"                      # or connect, subscribe
  text = 'topic.endsWith(\"/cmd\") && bytes > 65536'
  action = \"deny\"                     # or note, clamp, step_up, quarantine
  mode = \"shadow\"                     # or enforce
  not_before = \"2026-12-01\"
  expires = \"2026-12-31\"              # at most 90 days later
  author = \"maria\"
  reason = \"firmware 1.4 floods the command topics\"

  [selector]
  tenant = \"acme\"
  groups = [\"hall-1\", \"hall-2\"]       # and roles, devices, topic_prefix

docs/rules.md has the language, every attribute and every bound. A rule that is wrong ends the command with 1; the error
has the place in the text.")]
pub(crate) struct RuleCheckArgs {
    /// The rule, a file in TOML, or in JSON when its name ends with .json; - is standard input, in TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) rule: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera rule test --rule large-commands.toml --against observations.ndjson
  tessera agent convert --from mosquitto-log --input mosquitto.log --out - --tenant acme \\
    | tessera rule test --rule large-commands.toml --against -

The file has the form of docs/observations.md. An attribute that it lacks has its default, and the output names those that
the rule reads. The life of the rule is not asked, so a new rule is held against last week. The command ends with 1 when no
line is about the tenant and the event of the rule, since nothing was tested then.")]
pub(crate) struct RuleTestArgs {
    /// The rule, a file in TOML, or in JSON when its name ends with .json.
    #[arg(long, value_name = "FILE")]
    pub(crate) rule: PathBuf,
    /// The observations as NDJSON; - is standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) against: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
