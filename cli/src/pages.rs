//! `tessera completions` and `tessera man`: pages that are generated from the command line's own definition; and
//! `tessera openapi`.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::{Cli, CompletionsArgs, Documented, ManArgs, OpenapiArgs};
use crate::error::{Fault, Outcome};
use crate::output;

/// Prints the completion script of one shell.
pub(crate) fn completions(args: CompletionsArgs) -> Outcome {
    output::write(&script(args.shell)?);
    Ok(0)
}

fn script(shell: Shell) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tessera", &mut bytes);
    String::from_utf8(bytes)
        .map_err(|error| Fault::new(format!("the script is not UTF-8: {error}")))
}

/// Writes the manual pages.
pub(crate) fn man(args: ManArgs) -> Outcome {
    let pages = write_pages(&args.dir)?;
    output::line(&format!("{pages} manual pages are in {}", args.dir.display()));
    Ok(0)
}

/// Prints the OpenAPI document of a service.
pub(crate) fn openapi(args: &OpenapiArgs) -> Outcome {
    match args.of {
        Documented::Provisioning => {
            output::write(tessera_provisioning::openapi().map_err(Fault::new)?);
        }
        Documented::Agent => {
            let document = tessera_agent::daemon::openapi();
            output::write(&document.map_err(|error| Fault::new(error.to_string()))?);
        }
    }
    Ok(0)
}

fn write_pages(folder: &Path) -> Result<usize, Fault> {
    let failed = |error| Fault::new(format!("{}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)?;
    Ok(count(&Cli::command()))
}

/// The number of commands of a tree, its root included.
fn count(command: &clap::Command) -> usize {
    1 + command.get_subcommands().map(count).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_script_of_every_shell_names_every_verb() {
        for shell in Shell::value_variants() {
            let script = script(*shell).unwrap();
            for verb in Cli::command().get_subcommands() {
                assert!(script.contains(verb.get_name()), "{shell}: {}", verb.get_name());
            }
        }
    }

    #[test]
    fn every_command_has_a_manual_page_with_its_options() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("new/man1");
        let pages = write_pages(&place).unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), pages);
        let enrol = fs::read_to_string(place.join("tessera-device-enrol.1")).unwrap();
        assert!(enrol.contains("claim"), "{enrol}");
        assert_eq!(write_pages(&place).unwrap(), pages, "a second run replaces the pages");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let fault = write_pages(&file).err().unwrap();
        assert!(fault.to_string().contains("file"), "{fault}");
    }
}
