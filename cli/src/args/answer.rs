use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::account::TenantArgs;
use super::list::ListArgs;
use crate::time::parse_span;

/// Devices that are held back, and the policies by which alerts are answered.
#[derive(Subcommand)]
pub(crate) enum AnswerCommand {
    /// Hold a device back for a time.
    #[command(
        after_help = "Examples:\n  tessera answer restrain d-17 --step quarantine --for 1h --reason 'worm on site 3'\n  tessera answer restrain d-17 --step clamp --for 24h --reason 'floods since the update'\nclamp reads one message a second of it, step_up ends its sessions until it proves its key anew, quarantine leaves it its\ntoken and its status alone. Brokers hear of it within seconds. It ends by itself; `tessera answer release` ends it before."
    )]
    Restrain {
        /// The device.
        device: String,
        /// How.
        #[arg(long, value_name = "STEP")]
        step: StepArg,
        /// For how long, up to 720h.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
        lasts: Duration,
        /// Why, for people and the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// End what holds a device back, at every broker.
    Release {
        /// The device.
        device: String,
        /// Why, for people and the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Say whether the alert behind a restraint is real, harmless or wrong.
    #[command(
        after_help = "Examples:\n  tessera answer verdict d-17 wrong --reason 'a test bench'\n  tessera answer verdict d-17 real --for 48h --reason 'token was copied'\nA real alert keeps the device held back, for a day without --for. The others release it at once."
    )]
    Verdict {
        /// The device.
        device: String,
        /// The word.
        verdict: VerdictArg,
        /// For how long a real one keeps it, from now on.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
        lasts: Option<Duration>,
        /// Why, for people and the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// The devices that are held back, and those that were released lately.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Set the answers to alerts about the devices of a group, or of the tenant.
    Set(AnswerSetArgs),
    /// The policies.
    Policies {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Take a policy away: its alerts are noted alone.
    Remove {
        /// The group; without it the policy of the tenant.
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  tessera answer set --high quarantine --moderate clamp --for 1h --devices-an-hour 20 --shadow\n  tessera answer set --group pumps --high step_up --for 30m --devices-an-hour 5\nThe answers are note, clamp, step_up, quarantine and end, which ends all tokens of the device. With --shadow they are written\ninto the audit log alone (action answer.would): look there for a day before you leave it out. A policy touches at most so many\ndevices in an hour. docs/answers.md says more."
)]
pub(crate) struct AnswerSetArgs {
    /// The group; without it all groups without a policy of their own.
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// The answer to an alert of low severity.
    #[arg(long, value_name = "ANSWER", default_value = "note")]
    pub(crate) low: AnswerArg,
    /// The answer to an alert of moderate severity.
    #[arg(long, value_name = "ANSWER", default_value = "note")]
    pub(crate) moderate: AnswerArg,
    /// The answer to an alert of high severity.
    #[arg(long, value_name = "ANSWER")]
    pub(crate) high: AnswerArg,
    /// For how long a device is held back, 1m to 720h.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span)]
    pub(crate) lasts: Duration,
    /// Devices that the policy may touch in an hour.
    #[arg(long, value_name = "N")]
    pub(crate) devices_an_hour: u64,
    /// Write the answers into the audit log alone.
    #[arg(long)]
    pub(crate) shadow: bool,
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum StepArg {
    /// One message a second.
    Clamp,
    /// A fresh proof of the key.
    StepUp,
    /// Token and status alone.
    Quarantine,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum AnswerArg {
    /// Nothing but the entry.
    Note,
    /// One message a second.
    Clamp,
    /// A fresh proof of the key.
    StepUp,
    /// Token and status alone.
    Quarantine,
    /// All tokens end.
    End,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum VerdictArg {
    /// An attack.
    Real,
    /// Odd, and none.
    Harmless,
    /// The alert is wrong.
    Wrong,
}

impl StepArg {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Clamp => "clamp",
            Self::StepUp => "step_up",
            Self::Quarantine => "quarantine",
        }
    }
}

impl AnswerArg {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Clamp => "clamp",
            Self::StepUp => "step_up",
            Self::Quarantine => "quarantine",
            Self::End => "end",
        }
    }
}

impl VerdictArg {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Harmless => "harmless",
            Self::Wrong => "wrong",
        }
    }
}
