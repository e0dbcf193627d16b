use tessera_runtime::clock::SystemClock;
use tessera_runtime::stop::Stop;

use super::life::{drain, ended, until_told, Reload};
use super::parts::{start_broker, Feed};
use super::run_file;
use super::signals::Signals;
use crate::args::BrokerArgs;
use crate::config::Raw;
use crate::fault::Outcome;
use crate::out;

/// The broker alone; it talks to provisioning over HTTP.
pub(crate) async fn run(args: BrokerArgs) -> Outcome {
    let mut raw = Raw::read(args.config.as_deref())?.with_log(&args.log);
    raw.data = args.data.clone().or(raw.data);
    raw.mqtt = args.mqtt.or(raw.mqtt);
    raw.metrics = args.metrics.or(raw.metrics);
    let config = raw.validate("./tessera-broker")?;
    let feed = Feed::read(&args.feed.provisioning, &args.feed.feed_token, &args.feed.root)?;
    let reload = Reload::start(args.config.as_deref(), &args.log, &config.log)?;
    let signals = Signals::listen()?;
    let stop = Stop::new();
    let broker = start_broker(&config, &feed, &SystemClock::shared(), &stop).await?;
    let (mqtt, metrics) = (broker.handle.mqtt_addr, broker.handle.http_addr);
    run_file::write(&config.data, &[("mqtt", mqtt.to_string()), ("metrics", metrics.to_string())])?;
    out::write(&format!(
        "data          {}\nmqtt          {mqtt}\nbroker        http://{metrics}   (/metrics /healthz /readyz)\nprovisioning  {}\n\n",
        config.data.display(),
        feed.url,
    ));
    until_told(signals, reload, || broker.handle.is_ready()).await.impatient();
    let left = drain(&[&stop], config.drain).await;
    broker.close();
    run_file::remove(&config.data);
    ended(&left)
}
