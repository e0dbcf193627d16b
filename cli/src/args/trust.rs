use std::path::PathBuf;

use clap::Subcommand;

use super::account::{OperatorArgs, TenantArgs};
use super::list::ListArgs;

#[derive(Subcommand)]
pub(crate) enum TrustCommand {
    /// The verifiers that read the trust feed, and the event that each has.
    #[command(after_help = "Examples:
  tessera trust verifiers
  tessera trust verifiers --where state=away
A verifier is `here` when it was seen in the last two minutes. `behind` counts the events that it has not taken.")]
    Verifiers {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// The hashes of tokens that are revoked and have not expired (RFC 9770).
    #[command(after_help = "Examples:
  tessera trust revoked
  tessera trust revoked --after 17     what has changed since the cursor of an earlier answer")]
    Revoked {
        /// The cursor of an earlier answer.
        #[arg(long, value_name = "CURSOR")]
        after: Option<u64>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Write the signed Token Status List of a tenant into a file, for a gateway that is seldom connected.
    #[command(after_help = "Example:
  tessera trust status-list status.cwt --tenant acme")]
    StatusList {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Whether the service came back from an older copy, and what was revoked since that copy.
    #[command(after_help = "Examples:
  tessera trust restored
  tessera trust restored --looked-at     when everything in the list was looked at")]
    Restored {
        /// Clear the list: an operator has looked at it.
        #[arg(long)]
        looked_at: bool,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}
