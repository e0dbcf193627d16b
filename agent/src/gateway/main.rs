//! `tessera-agent`: the agent alone, as a small binary for gateways. It is `tessera agent` without the rest of `tessera`,
//! over the same data folder.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use settings::Settings;
use tessera_agent::daemon::AgentDaemon;
use tessera_runtime::clock::SystemClock;
use tessera_runtime::log;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::secret::{own_folder_of, write_secret_file};
use tessera_runtime::stop::Stop;
use tessera_runtime::{inherited, service_manager};
use tokio::signal::unix::{signal, SignalKind};

mod file;
mod settings;

/// How often the service manager hears of the process, when nothing asks for it.
const SELDOM: Duration = Duration::from_secs(3600);
/// Threads for what waits; the actors have their own.
const THREADS: usize = 2;

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let settings = match Settings::read(std::env::args().skip(1)) {
        Ok(Some(settings)) if settings.is_check => {
            tell("the settings are good\n");
            return ExitCode::SUCCESS;
        }
        Ok(Some(settings)) => settings,
        Ok(None) => {
            tell(settings::HELP);
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            complain(&wrong);
            return ExitCode::from(2);
        }
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(THREADS).enable_all().build();
    let outcome = runtime.map_err(Failed::from).and_then(|runtime| {
        let outcome = runtime.block_on(serve(settings));
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> Result<(), Failed> {
    let Settings { data, mut daemon, log, format, drain, .. } = settings;
    let (clock, random) = (SystemClock::shared(), SystemRandom::shared());
    log::init(&log, format, clock.clone())?;
    own_folder_of(&data, &["agent"])?;
    // A store that was made here before and is missing is a loss.
    let founded = data.join("founded");
    daemon.agent.must_exist = founded.exists();
    let metrics = Metrics::of_server(env!("CARGO_PKG_VERSION"))?;
    log::count_in(&metrics)?;
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let stop = Stop::new();
    let daemon = AgentDaemon::start(daemon, clock, random, &metrics, &stop).await?;
    note(&founded)?;
    let verifier = daemon.agent().validator().verifier().clone();
    tell(&format!("agent http://{}\nverifier {verifier}\n", daemon.http()));
    inherited::close_the_rest();
    service_manager::serving("/readyz says whether it decides");
    let watchdog = service_manager::watchdog();
    let mut alive = tokio::time::interval(watchdog.map_or(SELDOM, |span| span / 2));
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = alive.tick() => if watchdog.is_some() { service_manager::alive() },
        }
    }
    service_manager::stopping();
    for name in stop.finish(drain).await {
        complain(&format!("did not stop in time: {name}"));
    }
    let closed = daemon.agent().close();
    log::close();
    Ok(closed?)
}

/// Says that the stores are there, durably.
fn note(founded: &Path) -> Result<(), Failed> {
    if !founded.exists() {
        write_secret_file(founded, b"")?;
    }
    Ok(())
}

fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone is no reason to end.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn complain(error: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "error: {error}");
}
