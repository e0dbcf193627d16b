use clap::{Args, Subcommand};

use super::account::OperatorArgs;
use super::list::ListArgs;

#[derive(Subcommand)]
pub(crate) enum ApiTokenCommand {
    /// Make a token with a part of the rights of your account, for a program; it is shown once.
    #[command(after_help = "Examples:
  tessera api-token create --purpose 'nightly claims' --role fleet --tenant acme
  tessera api-token create --purpose export --role security --all-tenants --expires-in 604800 --plain > token
A program shows it as operators show theirs: --operator-token @FILE, TESSERA_OPERATOR_TOKEN, or Authorization: Bearer.
It can do no more than your account can at that time, makes no tokens and no accounts, and ends with your account.")]
    Create {
        /// The program and its owner: 1 to 100 characters.
        #[arg(long, value_name = "TEXT")]
        purpose: String,
        /// A role of your account. Give it several times for several roles.
        #[arg(long = "role", value_name = "ROLE", required = true,
              value_parser = ["viewer", "fleet", "security", "admin"])]
        roles: Vec<String>,
        #[command(flatten)]
        reach: Reach,
        /// Seconds until it expires (default: 90 days, at most 366 days).
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<u64>,
        /// The token alone: for scripts.
        #[arg(long, conflicts_with = "json")]
        plain: bool,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Your tokens; with the role admin or security those within your tenants. Tokens are not kept and cannot be shown.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// End a token at once.
    Delete {
        /// Its id, from the list or from `tessera token check`.
        id: String,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

/// The tenants of a new API token. One of the two is required.
#[derive(Args, Clone)]
#[group(required = true, multiple = false)]
pub(crate) struct Reach {
    /// A tenant that the token is for. Given several times, several.
    #[arg(long = "tenant", value_name = "ID")]
    pub(crate) tenants: Vec<String>,
    /// The token is for all tenants.
    #[arg(long)]
    pub(crate) all_tenants: bool,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Ask the service whether a device's token is good now: an access token or a refresh token of your tenants.
    #[command(after_help = "Examples:
  tessera token introspect 2D3ShEOh…
  tessera token introspect @token --json
The exit code is 1 when the token is not good, or not of your tenants: the answer is the same.")]
    Introspect {
        /// The token, or @FILE with it (else: standard input).
        #[arg(value_name = "TOKEN|@FILE")]
        token: Option<String>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Tell the class and the id of a token, and whether it is whole. No server is asked.
    #[command(after_help = "Examples:
  tessera token check @token
  tessera token check < token
The id is the one of `tessera api-token list`. A token that is whole may have expired or ended: only the service knows.
The exit code is 1 when the text is no token. Scanners find tokens by \\btsr_(?:op|pat|prt)_[0-9A-Za-z]{49}\\b")]
    Check {
        /// The token, or @FILE with it (else: standard input).
        #[arg(value_name = "TOKEN|@FILE")]
        token: Option<String>,
        /// The answer, or the error, as JSON.
        #[arg(long)]
        json: bool,
    },
}
