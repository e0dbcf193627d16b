//! The verbs about webhooks.

use clap::{Subcommand, ValueEnum};

use super::account::{MatchArgs, TenantArgs};
use super::list::ListArgs;

/// Whether messages go out.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum WebhookState {
    Active,
    Paused,
}

#[derive(Subcommand)]
pub(crate) enum WebhookCommand {
    /// Send events of a tenant to a URL, signed. The secret is shown once, here.
    #[command(after_help = "Examples:
  tessera webhook create https://hooks.example.com/tessera --on device.revoke --on 'group.*'
  tessera webhook create https://hooks.example.com/all --on '*' --purpose 'night shift'
Events are entries of the audit log: `tessera audit list` shows their actions. See docs/webhooks.md.")]
    Create {
        /// Where events go: https://, and a public address.
        url: String,
        /// An action such as device.revoke, all of a noun (device.*), or * for all. May be given several times.
        #[arg(long = "on", value_name = "ACTION", required = true)]
        actions: Vec<String>,
        /// A purpose, for the list.
        #[arg(long, value_name = "TEXT", default_value = "")]
        purpose: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Webhooks, and how their messages fare.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// One webhook.
    Show {
        /// Its id.
        webhook: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Change a webhook, pause it, or make one active that was paused or disabled.
    #[command(after_help = "Examples:
  tessera webhook change 0011223344556677 --state paused
  tessera webhook change 0011223344556677 --url https://new.example.com/tessera --state active")]
    Change {
        /// Its id.
        webhook: String,
        /// Another URL.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Other actions, in the place of those that it has.
        #[arg(long = "on", value_name = "ACTION")]
        actions: Vec<String>,
        /// Another purpose.
        #[arg(long, value_name = "TEXT")]
        purpose: Option<String>,
        /// Whether messages go out.
        #[arg(long)]
        state: Option<WebhookState>,
        #[command(flatten)]
        matches: MatchArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Delete a webhook: messages that wait are not sent.
    Delete {
        /// Its id.
        webhook: String,
        #[command(flatten)]
        matches: MatchArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Give a webhook a new secret, which is shown once, here. For a day the former one signs too.
    Rotate {
        /// Its id.
        webhook: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Send an event webhook.test to this webhook alone.
    Test {
        /// Its id.
        webhook: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Send events of the audit log again, under their former ids.
    #[command(after_help = "Example:
  tessera webhook replay 0011223344556677 --first 1200 --last 1300
The numbers are those of the audit log; only entries that the webhook wants are sent.")]
    Replay {
        /// Its id.
        webhook: String,
        /// The number of the first entry.
        #[arg(long, value_name = "N")]
        first: u64,
        /// The number of the last entry (default: the first alone).
        #[arg(long, value_name = "N")]
        last: Option<u64>,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// The last 100 attempts to deliver, the newest first.
    Attempts {
        /// Its id.
        webhook: String,
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}
