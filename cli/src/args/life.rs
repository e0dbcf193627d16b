use clap::Subcommand;

use super::account::{OperatorArgs, TenantArgs};

#[derive(Subcommand)]
pub(crate) enum Suspended {
    /// One device.
    Device {
        /// Its id.
        device: String,
        /// The reason, for other operators: 1 to 200 characters.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// All devices of a group, also those that come into it later.
    Group {
        /// Its name.
        group: String,
        /// The reason, for other operators: 1 to 200 characters.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

#[derive(Subcommand)]
pub(crate) enum Again {
    /// One device.
    Device {
        /// Its id.
        device: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// A group; devices that are suspended or revoked themselves stay so.
    Group {
        /// Its name.
        group: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// A whole tenant.
    Tenant {
        /// Its id.
        id: String,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

#[derive(Subcommand)]
pub(crate) enum RekeyCommand {
    /// The requests that wait.
    List {
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Give the device the key with this thumbprint; all tokens of its former key end.
    #[command(
        after_help = "Example:\n  tessera rekey approve d-17 1oCn7uKzl6nJqXGQHlNdGv3bTt8xDhXEJ1nSAfz1pQk\nCompare the thumbprint with the one that `tessera device rekey --lost` shows on the device: any peer can make such a request."
    )]
    Approve {
        /// The device.
        device: String,
        /// The thumbprint of the new key.
        #[arg(allow_hyphen_values = true)]
        thumbprint: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Take the request off the list.
    Refuse {
        /// The device.
        device: String,
        /// The thumbprint of the new key.
        #[arg(allow_hyphen_values = true)]
        thumbprint: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}
