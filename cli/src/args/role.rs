use clap::{ArgGroup, Args, Subcommand};

use super::account::{MatchArgs, TenantArgs};
use super::list::ListArgs;

#[derive(Subcommand)]
pub(crate) enum RoleCommand {
    /// Make or change a role. It tells how many devices have it, and whose tokens end.
    #[command(
        after_help = "Examples ({device} stands for the device's own id, {attr.site} for its attribute site):
  tessera role set meter --publish 'd/{device}/telemetry' --subscribe 'd/{device}/cmd'
  tessera role set meter --publish '{attr.site}/{device}/telemetry' --dry-run
  tessera role set dashboard --class service --subscribe 'd/+/telemetry'
  tessera role set billing --class partner --publish 'billing/orders'
A change of its topics ends the tokens of its devices, which may ask for their next tokens at once."
    )]
    Set {
        /// Its name.
        name: String,
        /// `device` (own topics only), `service` (wildcards) or `partner` (exact topics).
        #[arg(long, default_value = "device", value_parser = ["device", "service", "partner"])]
        class: String,
        /// A topic template to publish to; may be repeated.
        #[arg(long, value_name = "TEMPLATE")]
        publish: Vec<String>,
        /// A filter template to subscribe to; may be repeated.
        #[arg(long, value_name = "TEMPLATE")]
        subscribe: Vec<String>,
        /// Life of its tokens in seconds.
        #[arg(long, value_name = "SECONDS")]
        token_seconds: Option<u64>,
        /// Its devices may have refresh tokens, by which a device that cannot sign gets bearer tokens. The tenant must allow
        /// bearer tokens too.
        #[arg(long)]
        refresh_tokens: bool,
        /// End no tokens: devices get the new rights with their next ones. Refused when a right is taken away.
        #[arg(long)]
        keep_tokens: bool,
        /// Only tell what would change.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        matches: MatchArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// All roles.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// One role.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Add lines to a role; the others stay as they are.
    #[command(
        after_help = "Example:\n  tessera role add-line meter --publish 'd/{device}/alarm' --dry-run\n  tessera role add-line meter --publish 'd/{device}/alarm' --keep-tokens\nThe tokens of its devices end, as after `tessera role set`; with --keep-tokens they stay. A line that is there already changes nothing."
    )]
    AddLine(LineArgs),
    /// Remove lines from a role; the others stay as they are.
    #[command(
        after_help = "Example:\n  tessera role remove-line meter --subscribe 'd/{device}/cmd'\nThe line is given as `tessera role show` shows it. One that the role does not have is refused, and nothing is changed."
    )]
    RemoveLine(LineArgs),
    /// Tell which token each device of a role would get: topics, bytes and refusals. Nothing is changed.
    #[command(
        after_help = "Examples:\n  tessera role preview meter\n  tessera role preview meter --device d-17      a device that may have another role now\n  tessera role preview meter --prefix pump- --json"
    )]
    Preview {
        /// Its name.
        name: String,
        /// One device, whatever role it has now.
        #[arg(long, value_name = "ID", conflicts_with_all = ["prefix", "limit", "cursor", "conditions"])]
        device: Option<String>,
        /// Only devices of the role whose ids begin with this text.
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// List the topics that the devices of a role really used, and those that they were refused.
    #[command(
        after_help = "Examples:\n  tessera role uses meter\n  tessera role uses meter --device d-17      one device, whatever role it has\nBrokers and gateways tell it ten seconds after a device was first seen, then once an hour. {device} stands for the device's own id."
    )]
    Uses {
        /// Its name.
        name: String,
        /// One device.
        #[arg(long, value_name = "ID")]
        device: Option<String>,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Compare a role with what its devices used: lines that none used, and narrower ones for those that are too wide.
    /// Nothing is changed.
    #[command(
        after_help = "Examples:\n  tessera role advise meter\n  tessera role advise meter --days 90 --preview\nA topic that was used last before these days counts as not used. With --preview the service also tells what the change\nwould do, as `tessera role set --dry-run` does. The page docs/roles.md says how the advice is made."
    )]
    Advise {
        /// Its name.
        name: String,
        /// Days of use that count.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=90))]
        days: u64,
        /// Tell what the change would do to its devices. Nothing is changed.
        #[arg(long)]
        preview: bool,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Delete a role that no device, no open claim and no entry of another way has.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        matches: MatchArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

/// Lines of a role. At least one.
#[derive(Args)]
#[command(group(ArgGroup::new("line").required(true).multiple(true).args(["publish", "subscribe"])))]
pub(crate) struct LineArgs {
    /// The name of the role.
    pub(crate) name: String,
    /// A topic template to publish to; may be repeated.
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) publish: Vec<String>,
    /// A filter template to subscribe to; may be repeated.
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) subscribe: Vec<String>,
    /// End no tokens: devices get the new rights with their next ones. Refused when a right is taken away.
    #[arg(long)]
    pub(crate) keep_tokens: bool,
    /// Only tell what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) matches: MatchArgs,
    #[command(flatten)]
    pub(crate) tenant: TenantArgs,
}
