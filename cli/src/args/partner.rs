//! The verbs about partner tokens.

use clap::Subcommand;

use super::account::TenantArgs;
use super::list::ListArgs;

#[derive(Subcommand)]
pub(crate) enum PartnerTokenCommand {
    /// Make a password by which a system of another party connects to a broker; it is shown once.
    #[command(after_help = "Examples:
  tessera role set billing --class partner --publish 'billing/orders' --subscribe 'billing/{device}/in'
  tessera partner-token create acme-erp --role billing --purpose 'ERP of ACME'
  tessera partner-token create acme-erp --purpose 'the next one' --expires-in 2592000 --plain > token
The partner connects with the client id acme-erp (or acme-erp~NAME for several connections), any user name, and the token as
password, to a broker with the setting partner_tokens. Its rights are those of the role, which has the class partner.")]
    Create {
        /// The device as which the partner connects.
        device: String,
        /// The partner and the owner of the token: 1 to 100 characters.
        #[arg(long, value_name = "TEXT")]
        purpose: String,
        /// Make the device when it is not there, with this role of the class partner.
        #[arg(long, value_name = "ID")]
        role: Option<String>,
        /// The group of a new device (default: `default`).
        #[arg(long, value_name = "ID", requires = "role")]
        group: Option<String>,
        /// Seconds until it expires (default: 90 days, at most 366 days).
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<u64>,
        /// The token alone: for scripts.
        #[arg(long, conflicts_with = "json")]
        plain: bool,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// The partner tokens of a tenant. Tokens are not kept and cannot be shown.
    List {
        /// Those of this device.
        #[arg(long, value_name = "ID")]
        device: Option<String>,
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// The use of a partner token by day.
    Uses {
        /// Its id, from the list or from `tessera token check`.
        id: String,
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// End a partner token. Connections by it end at once; those by other tokens of the device come again.
    Delete {
        /// Its id, from the list or from `tessera token check`.
        id: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}
