use clap::{Args, Subcommand};

use super::account::TenantArgs;

/// The rows of a list.
#[derive(Args, Clone, Default)]
pub(crate) struct ListArgs {
    /// Show only rows whose member NAME has this value, such as state=revoked; the names are those of --json. Given
    /// several times, a row must meet all.
    #[arg(long = "where", value_name = "NAME=VALUE", value_parser = condition)]
    pub(crate) conditions: Vec<(String, String)>,
    /// Show at most this many rows. The answer with --json is then one page: `items`, and `next` for --cursor.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Begin behind the page that gave this cursor as `next`.
    #[arg(long, value_name = "CURSOR", requires = "limit")]
    pub(crate) cursor: Option<String>,
}

fn condition(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("use NAME=VALUE, such as state=revoked".to_owned()),
    }
}

/// An attribute of a device, as `--attr` gives it.
pub(super) fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("use NAME=VALUE, such as site=hall-2".to_owned()),
    }
}

/// An act that a token may allow.
#[derive(Subcommand)]
pub(crate) enum Act {
    /// Publish a message to a topic.
    Publish {
        /// The topic.
        topic: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Subscribe to a topic filter.
    Subscribe {
        /// The filter; $share/GROUP/FILTER too.
        filter: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}
