use std::path::Path;
use std::sync::Arc;

use tessera_provisioning::{reachable, ProvisioningHandle, PushBroker};
use tessera_runtime::clock::SystemClock;
use tessera_runtime::http::Server;
use tessera_runtime::stop::Stop;

use super::life::{drain, ended, until_told, Reload};
use super::parts::{
    copy_provisioning, reload_certificates, start_broker, start_provisioning, BrokerPart, Feed,
};
use super::signals::Signals;
use super::{control, first_token, run_file};
use crate::args::UpArgs;
use crate::config::{Config, Raw};
use crate::error::{Fault, Outcome};

/// Provisioning and broker in one process; the broker talks to provisioning over loopback HTTP, as it would elsewhere.
pub(crate) async fn run(args: UpArgs) -> Outcome {
    let config = config(&args)?;
    let reload = Reload::start(args.config.as_deref(), &args.log, &config.log)?;
    let mut signals = Signals::listen()?;
    let clock = SystemClock::shared();
    let (front, back) = (Stop::new(), Stop::new());
    let start = start_provisioning(&config, true, &clock, &back);
    let Some(provisioning) = signals.during(&back, start).await? else {
        return ended(&drain(&[&back], config.drain).await);
    };
    let started = broker(&config, &provisioning, &clock, &front).await;
    let broker = match started {
        Ok(broker) => broker,
        Err(fault) => {
            drain(&[&front, &back], config.drain).await;
            return Err(fault);
        }
    };
    if config.pushes_to_self() {
        push_to_self(&config, &provisioning, &broker)?;
    }
    let (provisioning, broker) = (Arc::new(provisioning), Arc::new(broker));
    let copied = (Arc::clone(&provisioning), Arc::clone(&broker));
    let copy = move |to: &Path| {
        copy_provisioning(&copied.0, to)?;
        copied.1.copy_stores(to)
    };
    control::serve(&config.data, &front, Arc::new(copy));
    tell(&config, &provisioning, &broker, args.log.json)?;
    let ready = || broker.handle.is_ready();
    let signals = until_told(signals, reload, ready, || {
        reload_certificates(&provisioning);
        broker.reload_files();
    })
    .await;
    signals.impatient();
    tracing::info!("draining");
    let left = drain(&[&front, &back], config.drain).await;
    broker.close();
    run_file::remove(&config.data);
    ended(&left)
}

/// Over the listener in clear on this machine.
fn push_to_self(
    config: &Config,
    provisioning: &ProvisioningHandle,
    broker: &BrokerPart,
) -> Result<(), Fault> {
    let at = PushBroker::here(reachable(broker.handle.mqtt_addr), config.verifier.as_ref());
    let is_begun = match config.mqtt.address() {
        Some(_) => provisioning.push_to(at).map_err(|error| Fault::new(error.to_string()))?,
        None => false,
    };
    match is_begun {
        true => Ok(()),
        false => Err(Fault::new("provisioning.push.brokers: self needs the listener mqtt")
            .hint("name an address with --mqtt, or the broker by its URL with --push")),
    }
}

/// Several processes share a database, and each `up` would be a broker of its own with tokens that only one has.
fn alone(config: Config) -> Result<Config, Fault> {
    match config.provisioning()?.database {
        None => Ok(config),
        Some(_) => Err(Fault::new(
            "provisioning.database is set, and `tessera up` has its database in its folder",
        )
        .hint("run `tessera provision` and `tessera broker` (docs/postgresql.md)")),
    }
}

fn config(args: &UpArgs) -> Result<Config, Fault> {
    let mut raw = Raw::read(args.config.as_deref())?
        .with_log(&args.log)
        .with_listeners(&args.listen)
        .with_verifier(args.verifier.verifier.as_ref())
        .with_service(&args.service)
        .with_proxy(&args.proxy)
        .with_derivation(&args.derivation)
        .after_loss(&args.loss, &args.seeds);
    raw.data = args.data.clone().or(raw.data);
    alone(raw.validate("./tessera-data")?)
}

async fn broker(
    config: &Config,
    provisioning: &ProvisioningHandle,
    clock: &tessera_runtime::clock::SharedClock,
    stop: &Stop,
) -> Result<BrokerPart, Fault> {
    let token = tessera_runtime::secret::read_secret_text(&config.data.join("feed.token"))?;
    let server = Server::from(provisioning.inner_url());
    let feed = Feed {
        server,
        token,
        root: provisioning.founding_thumbprint(),
        offline_root: None,
        tenants: None,
    };
    start_broker(config, &feed, clock, stop).await
}

fn tell(
    config: &Config,
    provisioning: &ProvisioningHandle,
    broker: &BrokerPart,
    json: bool,
) -> Result<(), Fault> {
    let (http, mqtt) = (provisioning.addr(), broker.handle.mqtt_addr);
    let metrics = broker.handle.http_addr;
    let mut places = broker.places();
    places.extend([("http", http.to_string()), ("metrics", metrics.to_string())]);
    let data = config.data.display();
    if let Some(first) = provisioning.first_start() {
        first_token::tell(&config.data, first, json);
    }
    let text = format!(
        "data          {data}
{told}provisioning  {scheme}://{http}   (OpenAPI: /openapi.json)
broker        http://{metrics}   (/metrics /healthz /readyz)

Next, in another terminal:
  export TESSERA_OPERATOR_TOKEN=@{data}/operator.token
  tessera claim create --role sensor --http {scheme}://{http}
  tessera device enrol --http {scheme}://{http} --device d-17 --claim CODE --dir d-17
  mosquitto_pub -h {host} -p {port} -i d-17 -u d-17 -P \"$(tessera device password --dir d-17)\" -t d/d-17/telemetry -m 21.5

",
        scheme = provisioning.scheme(),
        told = broker.told(),
        host = reachable(mqtt).ip(),
        port = mqtt.port(),
    );
    run_file::tell(&config.data, &places, (json, &text))
}
