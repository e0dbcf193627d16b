use std::path::PathBuf;

use clap::Subcommand;

use super::account::{MatchArgs, TenantArgs};
use super::list::{attribute, ListArgs};

#[derive(Subcommand)]
pub(crate) enum ClaimCommand {
    /// Make claim codes. Each is shown once, here, and entitles one device to enrol, or with --uses several.
    #[command(after_help = "Examples:
  tessera claim create --role sensor
  tessera claim create --role sensor --count 500 --json > codes.json
  tessera claim create --role sensor --device d-17 --expires-in 86400
  tessera claim create --role meter --attr site=hall-2
  tessera claim create --role sensor --devices ids.txt --json > codes.json
  tessera claim create --role sensor --uses 200 --pattern 'press-*'")]
    Create {
        /// The role of the device that uses it.
        #[arg(long, value_name = "ROLE")]
        role: String,
        /// The group of the device.
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// The only device id that may use it.
        #[arg(long, value_name = "ID")]
        device: Option<String>,
        /// A file with a device id a line: a code for each, which no other device may use.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["device", "count"])]
        devices: Option<PathBuf>,
        /// An attribute of the device that uses it; may be repeated.
        #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = attribute)]
        attributes: Vec<(String, String)>,
        /// The device ids that may use it: the characters of an id and at most one *, which stands for one or more.
        #[arg(long, value_name = "PATTERN", conflicts_with = "device")]
        pattern: Option<String>,
        /// The number of devices that may use each code.
        #[arg(long, value_name = "N", conflicts_with = "device")]
        uses: Option<u64>,
        /// The number of codes.
        #[arg(long, value_name = "N", default_value_t = 1)]
        count: u64,
        /// Seconds until it expires.
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<u64>,
        /// The codes alone, one a line: for scripts.
        #[arg(long, conflicts_with = "json")]
        plain: bool,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Claims and whether they were used; codes are not kept and cannot be shown.
    List {
        #[command(flatten)]
        rows: ListArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// One claim; its code is not kept and cannot be shown.
    Show {
        /// Its id, from the list.
        id: String,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Delete an unused claim; one that some devices have used is closed for others.
    Delete {
        /// Its id, from the list.
        id: String,
        #[command(flatten)]
        matches: MatchArgs,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}
