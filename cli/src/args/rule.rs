use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::account::{OperatorArgs, TenantArgs};
use super::list::ListArgs;

/// Rules: checked, tried, put and removed.
#[derive(Subcommand)]
pub(crate) enum RuleCommand {
    /// Check a rule, and print its normal form, its selector and its cost.
    Check(RuleCheckArgs),
    /// Hold a rule against recorded observations, and print what it would have done.
    Test(RuleTestArgs),
    /// Put a rule of a file, or a greater version of it.
    Put(RulePutArgs),
    /// The rules of a tenant.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// One rule.
    Show {
        /// Its id.
        rule: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Let a rule that waits for a second operator come into force.
    Approve {
        /// Its id.
        rule: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Take a rule away, at every broker.
    Remove {
        /// Its id.
        rule: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera rule put --rule large-commands.toml
  tessera rule put --rule large-commands.toml --now 'worm on site 3'

Brokers apply it within seconds. A rule whose mode is enforce was tried before: it ran in shadow for an hour, or `tessera rule
test --keep` held it against recorded observations. --now puts it untried; the reason stands in the audit log. A rule that cuts
off, and met more than one device in a hundred in its test, waits for `tessera rule approve` by a second operator. Each later
form has a greater version.")]
pub(crate) struct RulePutArgs {
    /// The rule, a file in TOML, or in JSON when its name ends with .json.
    #[arg(long, value_name = "FILE")]
    pub(crate) rule: PathBuf,
    /// Enforce it at once, untried, for this reason.
    #[arg(long, value_name = "REASON")]
    pub(crate) now: Option<String>,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
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
    /// Keep the outcome in the service: the rule may be enforced then.
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}
