use std::path::Path;
use std::sync::Arc;

use tessera_agent::daemon::{AgentDaemon, DaemonConfig};
use tessera_agent::verifier::Verifier;
use tessera_runtime::clock::SystemClock;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::secret::own_folder_of;
use tessera_runtime::stop::Stop;

use super::life::{drain, ended, until_told, Reload};
use super::parts::{counted, gateway};
use super::signals::Signals;
use super::{control, founded, run_file};
use crate::args::{AgentArgs, SeedsArgs};
use crate::config::Raw;
use crate::error::Outcome;

/// Where the agent answers by default.
const HTTP: ([u8; 4], u16) = ([127, 0, 0, 1], 9465);

/// The offline validator on a gateway.
pub(crate) async fn run(args: AgentArgs) -> Outcome {
    let raw = Raw::read(args.config.as_deref())?.with_log(&args.log);
    let mut raw = raw.after_loss(&args.loss, &SeedsArgs::default());
    raw.data = args.data.clone().or(raw.data);
    raw.audience = args.audience.clone().or(raw.audience);
    raw.verifier = args.verifier.clone().or(raw.verifier);
    let http = args.http.or(raw.http);
    let config = raw.validate("./tessera-agent")?;
    let mut agent = gateway(&args.feed, &config)?;
    own_folder_of(&config.data, &["agent"])?;
    let reload = Reload::start(args.config.as_deref(), &args.log, &config.log)?;
    let signals = Signals::listen()?;
    let stop = Stop::new();
    if config.verifier.is_none() {
        agent.verifier = Verifier::Own;
    }
    let mut daemon = DaemonConfig::new(agent);
    daemon.http = http.unwrap_or(HTTP.into());
    daemon.socket = args.socket.clone();
    let (clock, random) = (SystemClock::shared(), SystemRandom::shared());
    let daemon = AgentDaemon::start(daemon, clock, random, &counted()?, &stop).await?;
    let daemon = Arc::new(daemon);
    founded::note(&config.data)?;
    let copied = Arc::clone(&daemon);
    let copy = move |to: &Path| {
        copied.agent().copy_store_to(&to.join("agent")).map_err(|error| error.to_string())
    };
    control::serve(&config.data, &stop, Arc::new(copy));
    let verifier = daemon.agent().validator().verifier();
    let places = [("http", daemon.http().to_string()), ("verifier", verifier.to_string())];
    let text = format!(
        "data          {}\nverifier      {verifier}   (devices prove themselves for this name)\nagent         http://{}   (OpenAPI: /openapi.json)\n\n",
        config.data.display(),
        daemon.http(),
    );
    run_file::tell(&config.data, &places, (args.log.json, &text))?;
    let ready = || !daemon.agent().trust().load().is_empty();
    let reload_more = || daemon.agent().reload_locations();
    until_told(signals, reload, ready, reload_more).await.impatient();
    let left = drain(&[&stop], config.drain).await;
    if let Err(error) = daemon.agent().close() {
        tracing::error!(%error, "the agent's store was not closed cleanly");
    }
    run_file::remove(&config.data);
    ended(&left)
}
