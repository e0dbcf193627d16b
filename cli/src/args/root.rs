use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DatabaseArgs;

/// The verbs of `tessera root`.
#[derive(Subcommand)]
pub(crate) enum RootCommand {
    /// Make an offline root key, on a machine without network, and print its thumbprint.
    #[command(after_help = "Example:
  tessera root new --out root.key
The file holds the key: keep it on this machine, and a copy in a safe. The thumbprint is no secret; `tessera root request
--offline` and brokers and agents (--offline-root) take it.")]
    New {
        /// The file of the key; it must not be there.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write the request for other root keys into a file, while provisioning does not run.
    Request(RootRequestArgs),
    /// Sign a request with the offline root key. Needs no network.
    #[command(after_help = "Examples:
  tessera root sign request.cbor --key root.key --out signed.cbor          shows what would be signed
  tessera root sign request.cbor --key root.key --out signed.cbor --yes    signs it")]
    Sign {
        /// The request, from `tessera root request`.
        request: PathBuf,
        /// The file of the offline root key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The signed request: a new file.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Sign what is shown.
        #[arg(long)]
        yes: bool,
        /// The result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take a signed request, while provisioning does not run: its online root signs from the next start on.
    #[command(after_help = "Example:
  tessera root accept signed.cbor --data /var/lib/tessera
Brokers and agents follow by themselves, also those that were away. Make a backup then: an older one has the former root.")]
    Accept {
        /// The signed request; an unsigned one where no offline root has to sign.
        request: PathBuf,
        /// The folder of provisioning.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        #[command(flatten)]
        database: DatabaseArgs,
        /// The seed of the first root key is lost for good: the new online root takes its place. Refresh tokens and group keys
        /// end.
        #[arg(long)]
        seed_lost: bool,
        /// The result as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
#[command(after_help = "Examples:
  tessera root request --data /var/lib/tessera --out request.cbor                         another online root
  tessera root request --data DIR --out request.cbor --keep-online --offline THUMBPRINT   the first offline root
  tessera root request --data DIR --out request.cbor --compromised                        the online root was stolen
  tessera root request --data DIR --out request.cbor --seed-lost                          its seed is lost
  tessera root request --data DIR --out request.cbor --seed-lost --behind signed.cbor     that of a change since the backup
No process of the service may run. See docs/keys.md.")]
pub(crate) struct RootRequestArgs {
    /// The folder of provisioning.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// The request: a new file.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Keep the online root key, and change the offline one alone.
    #[arg(long)]
    pub(crate) keep_online: bool,
    /// The offline root key from now on: a thumbprint, or a file with it.
    #[arg(long, value_name = "THUMBPRINT|FILE", conflicts_with = "no_offline")]
    pub(crate) offline: Option<String>,
    /// No offline root key from now on.
    #[arg(long)]
    pub(crate) no_offline: bool,
    /// The present online root key may be in other hands.
    #[arg(long, conflicts_with = "keep_online")]
    pub(crate) compromised: bool,
    /// The seed of the present online root, or of the first one, is lost for good: the offline root signs alone.
    #[arg(long, conflicts_with = "keep_online")]
    pub(crate) seed_lost: bool,
    /// The signed request of a change that brokers and agents have taken and this folder does not know: the new change
    /// follows it.
    #[arg(long, value_name = "FILE")]
    pub(crate) behind: Option<PathBuf>,
    /// The result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
