use std::path::PathBuf;

use clap::Subcommand;

use super::account::TenantArgs;

#[derive(Subcommand)]
pub(crate) enum Imported {
    /// Devices whose keys are known: a JSON object a line.
    #[command(after_help = "Examples:
  tessera import devices fleet.ndjson --dry-run
  tessera import devices fleet.ndjson --errors refused.ndjson
  tessera export devices --tenant old | tessera import devices - --tenant new

A line:
  {\"device\":\"d-17\",\"key\":\"pAEBIAYhWCA…\",\"role\":\"sensor\",\"group\":\"floor-2\",\"attributes\":{\"site\":\"hall-2\"}}

The key is the public key, as COSE_Key in base64url or as JWK. group, attributes and state (active, suspended, revoked)
may be left out. The device needs no claim code: it gets its first token by its key (`tessera device token --refresh`).

A line that is refused stops no other. A device that is there as its line says is unchanged, so a file may be sent again
as it is. A connection that breaks is taken up again by itself. The exit code is 1 when a line was refused.")]
    Devices {
        /// The file; - is the standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Write nothing, and tell what an import would do. Lines are compared with those of the same 5,000.
        #[arg(long)]
        dry_run: bool,
        /// Begin at this line of the file: an import that ended early says where to go on.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        from_line: u64,
        /// Write the answers to refused lines into this file, a JSON object a line.
        #[arg(long, value_name = "FILE")]
        errors: Option<PathBuf>,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// Claims, a JSON object a line; their codes are in the answers.
    #[command(after_help = "Examples:
  tessera import claims lots.ndjson --dry-run
  tessera import claims lots.ndjson --answers codes.ndjson

A line:
  {\"role\":\"sensor\",\"device\":\"d-17\",\"group\":\"floor-2\",\"attributes\":{\"site\":\"hall-2\"},\"expires_in\":86400}

Only role must be there. In the place of device, uses and pattern make a claim for several devices.

The file of answers is for its owner alone. It holds the codes, which are shown nowhere else, and the key of the import.
The same command with the same files goes on where it was stopped; codes whose answers were lost come again. The exit
code is 1 when a line was refused.")]
    Claims {
        /// The file; - is the standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The file for the answers with the codes; one that is there goes on.
        #[arg(
            long,
            value_name = "FILE",
            required_unless_present = "dry_run",
            conflicts_with = "dry_run"
        )]
        answers: Option<PathBuf>,
        /// Write nothing, and tell what an import would do.
        #[arg(long)]
        dry_run: bool,
        /// Begin at this line of the file, in the place of the one behind the last answer.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        from_line: Option<u64>,
        /// Write the answers to refused lines into this file too.
        #[arg(long, value_name = "FILE")]
        errors: Option<PathBuf>,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}

#[derive(Subcommand)]
pub(crate) enum Exported {
    /// All devices of a tenant, as `tessera import devices` takes them. It holds no secret.
    #[command(after_help = "Examples:
  tessera export devices fleet.ndjson
  tessera export devices --tenant acme | jq -r .device")]
    Devices {
        /// The file; - is the standard output.
        #[arg(value_name = "FILE", default_value = "-")]
        file: PathBuf,
        #[command(flatten)]
        tenant: TenantArgs,
    },
    /// All claims of a tenant, without their codes, which are not kept.
    #[command(after_help = "Example:
  tessera export claims | jq -r 'select(.state == \"open\") | .claim'")]
    Claims {
        /// The file; - is the standard output.
        #[arg(value_name = "FILE", default_value = "-")]
        file: PathBuf,
        #[command(flatten)]
        tenant: TenantArgs,
    },
}
