use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

#[derive(Args)]
#[command(after_help = "Examples:
  tessera completions bash > ~/.local/share/bash-completion/completions/tessera
  tessera completions zsh > ~/.zfunc/_tessera
  tessera completions fish > ~/.config/fish/completions/tessera.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Args)]
#[command(after_help = "Example:
  tessera openapi --of agent > agent.json")]
pub(crate) struct OpenapiArgs {
    /// The service.
    #[arg(long, value_enum, default_value_t = Documented::Provisioning)]
    pub(crate) of: Documented,
}

/// A service with an OpenAPI document.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Documented {
    Provisioning,
    Agent,
}

#[derive(Args)]
#[command(after_help = "Example:
  tessera man ~/.local/share/man/man1 && man tessera-device-enrol
Files of the same name in DIR are replaced.")]
pub(crate) struct ManArgs {
    /// The folder for the pages; it is created if it does not exist.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}
