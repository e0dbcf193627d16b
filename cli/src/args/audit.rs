use std::path::PathBuf;

use clap::{Args, Subcommand};
use tessera_simulators::operator::segment;

use super::account::OperatorArgs;
use super::list::ListArgs;
use crate::time::parse_moment;

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// List the changes and the refused attempts, with the accounts that made them.
    #[command(after_help = "Examples:
  tessera audit list --actor ann --since 2026-11-01
  tessera audit list --tenant acme --subject d-17
  tessera audit list --action request.refused --limit 100 --json")]
    List {
        #[command(flatten)]
        wanted: AuditArgs,
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Show the newest entries, then each new one as it comes, until you stop the command.
    #[command(after_help = "Example:
  tessera audit tail --lines 50 --tenant acme --json")]
    Tail {
        /// Begin with so many of the newest entries of the log.
        #[arg(long, value_name = "N", default_value_t = 10,
              value_parser = clap::value_parser!(u32).range(1..=1000))]
        lines: u32,
        #[command(flatten)]
        wanted: AuditArgs,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Write the whole log: one entry a line as JSON, and its signed head in the last line.
    #[command(after_help = "Examples:
  tessera audit export > audit.ndjson
  tessera audit verify --file audit.ndjson --root root.thumbprint")]
    Export {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Check the hash chain over the whole log, against the service's own head and against one that was kept.
    #[command(after_help = "Examples:
  tessera audit verify
  tessera audit verify --head head.txt --root root.thumbprint
  tessera audit verify --file audit.ndjson --root root.thumbprint
  tessera audit verify --file audit-2025.ndjson --root root.thumbprint --links root.links
With --file no server is asked: the file of `tessera audit export` is checked.
It fails when the log is broken, or shorter or another one than a head says. Keep heads where the service cannot write.")]
    Verify {
        /// A file of `tessera audit export`, in the place of the log of the service.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// A head that `tessera audit head` gave: a file, or its text.
        #[arg(long, value_name = "FILE|TEXT")]
        head: Option<String>,
        /// The thumbprint of the root key, or a file with it (default: tessera-data/root.thumbprint when it is there).
        #[arg(long, value_name = "THUMBPRINT|FILE")]
        root: Option<String>,
        /// The file of the links between root keys, for heads of before a change of the root (default:
        /// tessera-data/root.links when --root is not given).
        #[arg(long, value_name = "FILE")]
        links: Option<PathBuf>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// The signed head of the log, to be kept elsewhere: its length and hash, the place of the trust feed, the last serial.
    #[command(after_help = "Example:
  tessera audit head > head-$(date +%F).txt")]
    Head {
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

/// The entries of the audit log that are wanted. An entry must meet all conditions that are given.
#[derive(Args, Clone, Default)]
pub(crate) struct AuditArgs {
    /// Only entries of this tenant.
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only entries of this account, of a device such as "device d-17", or of "service".
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only this action, such as device.revoke or request.refused.
    #[arg(long, value_name = "NOUN.VERB")]
    action: Option<String>,
    /// Only entries about this device, role, group or account.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Not before this moment: 2026-11-01, 2026-11-01T10:00:00Z, or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<u64>,
    /// Not after this moment.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<u64>,
}

impl AuditArgs {
    /// The conditions as parameters of a query, each with `&` before it.
    pub(crate) fn query(&self) -> String {
        let Self { tenant, actor, action, subject, since, until } = self;
        let texts =
            [("tenant", tenant), ("actor", actor), ("action", action), ("subject", subject)];
        let texts = texts.map(|(name, text)| (name, text.as_deref().map(segment)));
        let times = [("since", since), ("until", until)];
        let times = times.map(|(name, time)| (name, time.map(|time| time.to_string())));
        let given = texts.into_iter().chain(times);
        given.filter_map(|(name, value)| Some(format!("&{name}={}", value?))).collect()
    }
}
