use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting with the value that holds: that of the file, or the default.
    #[command(after_help = "Examples:
  tessera config print
  tessera config print --config tessera.toml --json
The output is a configuration file. A setting without a value stands in it as a comment.")]
    Print(PrintArgs),
    /// Check a configuration file, and that the files it names can be read. Nothing is started.
    #[command(after_help = "Example:
  tessera config check tessera.toml && systemctl restart tessera")]
    Check(CheckArgs),
}

#[derive(Args)]
pub(crate) struct PrintArgs {
    /// The configuration file in TOML (default: none, which shows the defaults).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The server that reads it; the default of `data` depends on it.
    #[arg(long = "for", value_enum, value_name = "SERVER", default_value = "up")]
    pub(crate) server: ConfiguredServer,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The configuration file in TOML.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The result, or the error, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A server that reads a configuration file.
#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
pub(crate) enum ConfiguredServer {
    Up,
    Provision,
    Broker,
}
