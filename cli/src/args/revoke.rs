use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};

use super::account::{OperatorArgs, TenantArgs};
use crate::time::parse_span;

#[derive(Subcommand)]
pub(crate) enum What {
    /// One device.
    Device {
        /// Its id.
        device: String,
        #[command(flatten)]
        waits: Waits,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// A group of devices.
    Group {
        /// Its name.
        group: String,
        #[command(flatten)]
        waits: Waits,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// One token alone, by its RFC 9770 hash (`tessera device token` shows it), or the token itself.
    #[command(group(ArgGroup::new("which").required(true).args(["hash", "shown"])))]
    Token {
        /// The hash as base64url.
        hash: Option<String>,
        /// The token itself, as base64url: it is found at once, and its tenant stands in it.
        #[arg(long, value_name = "TOKEN")]
        shown: Option<String>,
        #[command(flatten)]
        waits: Waits,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// A whole tenant.
    Tenant {
        /// Its id.
        id: String,
        #[command(flatten)]
        waits: Waits,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// An issuer key: the same as `tessera keys compromise`.
    Key {
        /// Its key id, from `tessera keys list`.
        kid: String,
        #[command(flatten)]
        waits: Waits,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

/// Whether a revocation waits for the verifiers.
#[derive(Args, Clone)]
pub(crate) struct Waits {
    /// Wait until the verifiers have taken it, 30 s when no time is given.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "30s", value_parser = parse_span)]
    pub(crate) wait: Option<Duration>,
}
