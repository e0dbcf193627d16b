//! One binary for all of Tessera.
//!
//! It wires: the command line ([`args`]) to the servers ([`serve`], [`demo`]), backups ([`backup`]) and ticket keys ([`ticket_keys`]), the device's folder ([`device`]), the
//! operator interface ([`operator`]), completions and manual pages ([`pages`]), the simulators ([`sim`], [`mod@load`]), the judge of odd behaviour ([`detection`]), rules ([`mod@rule`]) and the load ([`mod@bench`]). The work is done by the other crates.

mod allocator;
mod args;
mod backup;
mod config;

mod demo;
mod serve;

mod bench;
mod detection;
mod device;
mod load;
mod operator;
mod sim;
mod store;

mod error;
mod open_files;
mod output;
mod pages;
mod play;
mod progress;
mod root;
mod rule;
mod secrets;
mod terminal;
mod ticket_keys;
mod time;

use std::process::ExitCode;

use args::{AgentCommand, AgentWork, Cli, Command, DeviceCommand, SimCommand};
use clap::Parser;
use error::{Fault, Outcome};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) if wrong.use_stderr() && wants_json() => {
            complain(&wrong_words(&wrong));
            return ExitCode::from(2);
        }
        Err(wrong) if wrong.use_stderr() => wrong.exit(),
        Err(asked) => return show(&asked),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&Fault::from(error));
            return ExitCode::FAILURE;
        }
    };
    let serves = is_server(&cli.command);
    let outcome = runtime.block_on(run(cli.command));
    // Whatever still runs has been named by its drain; it does not hold the process.
    runtime.shutdown_background();
    match outcome {
        // The exit code of a server does not depend on the reader of its output.
        Ok(status) if serves => ExitCode::from(status),
        Ok(status) => ExitCode::from(output::status().unwrap_or(status)),
        Err(fault) => {
            complain(&fault);
            ExitCode::FAILURE
        }
    }
}

/// Whether the command line has `--json`. It is asked before the command line is understood: words that are wrong are told
/// as JSON too.
fn wants_json() -> bool {
    let mut words = std::env::args_os().skip(1).take_while(|word| word != "--");
    words.any(|word| word == "--json" || word.as_encoded_bytes().starts_with(b"--json="))
}

/// Tells why the command failed.
fn complain(fault: &Fault) {
    match wants_json() {
        true => output::complain(&fault.to_json().to_string()),
        false => output::complain(&format!("tessera: {fault}")),
    }
}

/// Words of the command line that are not understood.
fn wrong_words(wrong: &clap::Error) -> Fault {
    let text = wrong.render().to_string();
    let text = text.trim().trim_start_matches("error: ");
    match text.split_once("\n\n") {
        Some((error, hint)) => Fault::new(error).hint(hint),
        None => Fault::new(text),
    }
}

/// The help or the version, which were asked for.
fn show(asked: &clap::Error) -> ExitCode {
    let text = asked.render();
    match output::is_terminal() {
        true => output::write(&text.ansi().to_string()),
        false => output::write(&text.to_string()),
    }
    ExitCode::from(output::status().unwrap_or(0))
}

fn is_server(command: &Command) -> bool {
    matches!(
        command,
        Command::Up(_)
            | Command::Provision(_)
            | Command::Broker(_)
            | Command::Agent(AgentCommand::Serve(_))
            | Command::Device(DeviceCommand::Proxy(_))
    )
}

/// Whether it leaves folders with secrets in them. The bench starts mosquitto, which reads its files as another user.
fn keeps_secrets(command: &Command) -> bool {
    !matches!(
        command,
        Command::Bench(_)
            | Command::Operator(_)
            | Command::Config(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Openapi(_)
    )
}

async fn run(command: Command) -> Outcome {
    if keeps_secrets(&command) {
        tessera_runtime::kernel::owner_alone();
    }
    match command {
        Command::Up(args) => serve::up(args).await,
        Command::Provision(args) => serve::provision(args).await,
        Command::Broker(args) => serve::broker(args).await,
        Command::Agent(command) => agent(command).await,
        Command::Backup(args) => backup::run(args).await,
        Command::Restore(args) => backup::run_restore(args).await,
        Command::Store(command) => store::run(command).await,
        Command::Root(command) => root::run(command).await,
        Command::NewTicketKeys(args) => ticket_keys::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Device(command) => device::run(command).await,
        Command::Sim(command) => simulate(command).await,
        Command::Rule(command) => rule::run(command).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Config(command) => config::run(command),
        Command::Completions(args) => pages::completions(args),
        Command::Man(args) => pages::man(args),
        Command::Openapi(args) => pages::openapi(&args),
        Command::Operator(command) => operator::run(command).await,
    }
}

async fn agent(command: AgentCommand) -> Outcome {
    match command {
        AgentCommand::Serve(args) => serve::agent(*args).await,
        AgentCommand::Work(AgentWork::Replay(args)) => detection::replay(&args),
        AgentCommand::Work(AgentWork::Convert(args)) => detection::convert(&args),
    }
}

async fn simulate(command: SimCommand) -> Outcome {
    match command {
        SimCommand::Run(args) => sim::fleet(args).await,
        SimCommand::Credentials(args) => sim::credentials(args).await,
        SimCommand::Conn(args) => load::conn(*args).await,
        SimCommand::Pub(args) => load::publish(*args).await,
        SimCommand::Sub(args) => load::subscribe(*args).await,
        SimCommand::Storm(args) => load::storm(*args).await,
        SimCommand::Remove(args) => load::remove(args).await,
        SimCommand::Observe(args) => detection::observe(&args),
        SimCommand::Score(args) => detection::score(&args),
        SimCommand::Play(args) => play::run(*args).await,
    }
}
