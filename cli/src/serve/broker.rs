use std::sync::Arc;

use tessera_runtime::clock::SystemClock;
use tessera_runtime::secret::own_folder_of;
use tessera_runtime::stop::Stop;

use super::life::{drain, ended, until_told, Reload};
use super::parts::{start_broker, Feed};
use super::signals::Signals;
use super::{control, run_file};
use crate::args::{BrokerArgs, SeedsArgs};
use crate::config::Raw;
use crate::error::Outcome;

/// The broker alone; it talks to provisioning over HTTP.
pub(crate) async fn run(args: BrokerArgs) -> Outcome {
    let mut raw = Raw::read(args.config.as_deref())?
        .with_log(&args.log)
        .with_listeners(&args.listen)
        .with_verifier(args.verifier.verifier.as_ref())
        .with_proxy(&args.proxy)
        .with_derivation(&args.derivation)
        .after_loss(&args.loss, &SeedsArgs::default());
    raw.data = args.data.clone().or(raw.data);
    let config = raw.validate("./tessera-broker")?;
    let feed = Feed::read(&args.feed, &config)?;
    own_folder_of(&config.data, &["agent", "broker"])?;
    let reload = Reload::start(args.config.as_deref(), &args.log, &config.log)?;
    let signals = Signals::listen()?;
    let stop = Stop::new();
    let broker = Arc::new(start_broker(&config, &feed, &SystemClock::shared(), &stop).await?);
    let copied = Arc::clone(&broker);
    control::serve(&config.data, &stop, Arc::new(move |to| copied.copy_stores(to)));
    let metrics = broker.handle.http_addr;
    let mut places = broker.places();
    places.push(("metrics", metrics.to_string()));
    let text = format!(
        "data          {}\n{}broker        http://{metrics}   (/metrics /healthz /readyz)\nprovisioning  {}\n\n",
        config.data.display(),
        broker.told(),
        feed.server.url,
    );
    run_file::tell(&config.data, &places, (args.log.json, &text))?;
    until_told(signals, reload, || broker.handle.is_ready(), || broker.reload_files())
        .await
        .impatient();
    let left = drain(&[&stop], config.drain).await;
    broker.close();
    run_file::remove(&config.data);
    ended(&left)
}
