use clap::Args;

use super::HttpArg;

/// The operator account, and the form of the answer.
#[derive(Args, Clone)]
pub(crate) struct OperatorArgs {
    #[command(flatten)]
    pub(crate) http: HttpArg,
    /// The operator token, or @FILE with it (else: the variable TESSERA_OPERATOR_TOKEN, or
    /// ./tessera-data/operator.token).
    #[arg(long, value_name = "TOKEN|@FILE")]
    pub(crate) operator_token: Option<String>,
    /// The answer, or the error, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// As [`OperatorArgs`], within a tenant.
#[derive(Args, Clone)]
pub(crate) struct TenantArgs {
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
    /// The tenant.
    #[arg(long, value_name = "ID", default_value = "default")]
    pub(crate) tenant: String,
}

/// The revision on which a change rests.
#[derive(Args, Clone, Default)]
pub(crate) struct MatchArgs {
    /// Change only what has this ETag, as `--json` and the tables show it; * is any (default: what is there now).
    #[arg(long, value_name = "TAG")]
    pub(crate) if_match: Option<String>,
}
