use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DatabaseArgs;

#[derive(Args)]
#[command(after_help = "Examples:
  tessera backup --data /var/lib/tessera --out /backup/tessera-$(date +%F)
  tessera backup --data ./tessera-data --out ./copy --without-keys
It is consistent while the server runs, which makes the copies of its stores itself. It works for the folders of up,
provision, broker and agent. OUT is a new folder; manifest.json in it is written last and names every file with its SHA-256.
OUT HOLDS SECRETS: seeds of signing keys and tokens, unless --without-keys is given. Configuration and certificates lie
elsewhere and are not in it. See docs/backup.md.")]
pub(crate) struct BackupArgs {
    /// The folder of the server, as given to it by --data.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The backup: a new folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Leave out seeds, ticket keys and tokens. Without provisioning/keys/root.seed, kept elsewhere, it cannot be started.
    #[arg(long)]
    pub(crate) without_keys: bool,
    /// The result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The verbs of `tessera store`.
#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Check the database of provisioning while its server does not run.
    Check(CheckArgs),
    /// Move the database of provisioning to a PostgreSQL server, for several processes.
    Move(MoveArgs),
    /// Mark a PostgreSQL database that was restored from a dump, before provisioning runs on it.
    MarkRestored(MarkRestoredArgs),
}

#[derive(Args)]
#[command(after_help = "Example:
  createdb tessera
  tessera store move --data /var/lib/tessera --database postgres://tessera@127.0.0.1/tessera
  tessera provision --data /var/lib/tessera --database postgres://tessera@127.0.0.1/tessera
The server of DATA must not run, and the database must be empty. Seeds of keys are sealed to DATA/provisioning/database.key,
which every process of the database needs. The former files stay in DATA as store.moved-N and keys.moved-N: remove them once
the service runs. A move that was cut off is ended by the same command. See docs/postgresql.md.")]
pub(crate) struct MoveArgs {
    /// The folder of the server, as given to it by --data.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// The result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:
  pg_restore --clean --dbname tessera tessera.dump
  tessera store mark-restored --database postgres://tessera@127.0.0.1/tessera
No process may run on the database. The next start goes on above all numbers and epochs that may have been given out since
the dump was made. See docs/postgresql.md.")]
pub(crate) struct MarkRestoredArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// The result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:
  tessera store check --data /var/lib/tessera
It reads every page and every row of provisioning's database, follows the chains of the audit log and of the trust feed,
and looks for rows that name rows which are not there. The exit code is 1 when there is a fault. A database of up to
64 MiB is checked like this, but for the chains and names, at each start. The check of a running server is that of its
backup, restored to another folder.")]
pub(crate) struct CheckArgs {
    /// The folder of the server, as given to it by --data.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:
  tessera new-ticket-keys --data /var/lib/tessera
Use it when a ticket key may have been seen, as in a backup. Connections that were accepted by a resumption secret end;
devices prove their key at the next CONNECT and get new secrets. Nodes that share a ticket_key_file replace its lines
instead.")]
pub(crate) struct TicketKeysArgs {
    /// The folder of the server, as given to it by --data. It may run.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:
  tessera restore --from /backup/tessera-2026-11-28 --data /var/lib/tessera
The command overwrites nothing: DATA must not exist, or be empty. It refuses a backup that is incomplete or was changed,
and then leaves no files behind. Changes since the backup are lost: docs/backup.md says what to do then.")]
pub(crate) struct RestoreArgs {
    /// The backup.
    #[arg(long, value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
