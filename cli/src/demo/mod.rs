//! The demo: a system of its own in a temporary folder, a fleet, four who misbehave, and what must come of it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tessera_provisioning::ProvisioningHandle;
use tessera_runtime::clock::{SharedClock, SystemClock};
use tessera_runtime::secret::Secret;
use tessera_runtime::stop::Stop;
use tessera_simulators::mqtt::Broker;
use tessera_simulators::operator::OperatorClient;
use tessera_simulators::scenario::{self, News, Plan, Presence};
use tessera_token::ids::TenantId;
use tessera_token::messages::TokenKind;

use crate::args::DemoArgs;
use crate::args::Place;
use crate::config::{Config, Raw};
use crate::error::{Fault, Outcome};
use crate::serve::{start_broker, start_provisioning, BrokerPart, Feed};
use crate::{output, sim};

mod board;
mod by_hand;
mod folder;
mod show;
#[cfg(test)]
mod tests;

use folder::TemporaryFolder;
use show::Show;

/// Time to stop for each of broker and provisioning.
const DRAIN: Duration = Duration::from_secs(10);
/// Of MQTT, provisioning and metrics.
const USUAL_PORTS: [u16; 3] = [1883, 8080, 9464];
/// Time for the broker to hear the trust feed.
const START: Duration = Duration::from_secs(20);
/// Between two publishes of a device.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// Runs it.
pub(crate) async fn run(args: DemoArgs) -> Outcome {
    let seed = sim::seed(args.seed)?;
    let clock = SystemClock::shared();
    let mut stage = Stage::new(&args, USUAL_PORTS.map(free_or_any))?;
    tessera_runtime::log::init(&stage.config.log.level, stage.config.log.format, clock.clone())?;
    let system = match stage.start(&clock).await {
        // Another process took it since it was found free.
        Err(_) if stage.lost_a_port() => {
            stage = Stage::new(&args, USUAL_PORTS.map(|_| local(0)))?;
            stage.start(&clock).await?
        }
        started => started?,
    };
    let outcome = system.watch(&args, &stage.folder, seed, &clock).await;
    let left = stage.finish().await;
    system.broker.close();
    for name in left {
        output::complain(&format!("did not stop in time: {name}"));
    }
    outcome
}

/// The parts of a system, and how it is stopped.
struct Stage {
    folder: TemporaryFolder,
    config: Config,
    places: [SocketAddr; 3],
    front: Stop,
    back: Stop,
}

impl Stage {
    fn new(args: &DemoArgs, places: [SocketAddr; 3]) -> Result<Self, Fault> {
        let folder = TemporaryFolder::new()?;
        by_hand::place_binary(folder.path())?;
        let config = config(args, &folder, places)?;
        Ok(Self { folder, config, places, front: Stop::new(), back: Stop::new() })
    }

    async fn start(&self, clock: &SharedClock) -> Result<System, Fault> {
        let started = System::start(&self.config, clock, &self.front, &self.back).await;
        if started.is_err() {
            self.finish().await;
        }
        started
    }

    /// The names of those who did not stop.
    async fn finish(&self) -> Vec<String> {
        let mut left = self.front.finish(DRAIN).await;
        left.extend(self.back.finish(DRAIN).await);
        left
    }

    /// Whether another process has one of the ports that were found free.
    fn lost_a_port(&self) -> bool {
        self.places.iter().any(|place| TcpListener::bind(place).is_err())
    }
}

struct System {
    http: SocketAddr,
    operator_token: Secret<String>,
    broker: Arc<BrokerPart>,
}

impl System {
    async fn start(
        config: &Config,
        clock: &SharedClock,
        front: &Stop,
        back: &Stop,
    ) -> Result<Self, Fault> {
        let provisioning = start_provisioning(config, true, clock, back).await?;
        let http = provisioning.addr();
        let feed = feed(config, &provisioning)?;
        let broker = start_broker(config, &feed, clock, front).await?;
        let ready = tessera_simulators::fleet::until(START, || broker.handle.is_ready()).await;
        if !ready {
            return Err(Fault::new("the broker heard nothing from provisioning"));
        }
        let first = provisioning.first_start();
        let token = first.ok_or_else(|| Fault::new("the temporary folder was not empty"))?;
        Ok(Self { http, operator_token: token.operator_token.clone(), broker: Arc::new(broker) })
    }

    /// Where the servers are.
    fn place(&self) -> String {
        let (mqtt, metrics) = (self.broker.handle.mqtt_addr, self.broker.handle.http_addr);
        format!("http://{}   mqtt {mqtt}   metrics {metrics}", self.http)
    }

    /// The clients that are connected to this broker.
    fn presence(&self) -> Presence {
        let broker = Arc::clone(&self.broker);
        Arc::new(move |tenant, device| broker.handle.connected_clients(tenant, device))
    }

    async fn watch(
        &self,
        args: &DemoArgs,
        folder: &TemporaryFolder,
        seed: u64,
        clock: &SharedClock,
    ) -> Outcome {
        let http = format!("http://{}", self.http);
        let mqtt = self.broker.handle.mqtt_addr;
        let long_enough = |lasts: Duration| lasts >= args.token_life.mul_f64(0.9);
        let plan = Plan {
            operator: OperatorClient::new(&http, self.operator_token.clone())?,
            http: http.into(),
            broker: Broker::plain(mqtt.ip().to_string(), mqtt.port()),
            tenant: TenantId::parse("default")?,
            sensor_role: "sensor".to_owned(),
            backend_role: "backend".to_owned(),
            devices: args.devices,
            prefix: String::new(),
            seed,
            publish_every: PUBLISH_EVERY,
            lasts: args.lasts,
            token: TokenKind::Key,
            verifier: None,
            hostile: true,
            expect_refresh: args.lasts.is_some_and(long_enough),
            presence: Some(self.presence()),
        };
        let stop = Stop::new();
        sim::stop_when_told(&stop)?;
        let place = self.place();
        let commands = match args.lasts {
            None => by_hand::commands(folder.path(), self.http, mqtt),
            Some(_) => Vec::new(),
        };
        let quiet = matches!(args.log.as_str(), "error" | "off");
        let show = Show::new(&place, &commands, quiet, &stop);
        let say = |news: News<'_>| show.show(news);
        let run = scenario::run(plan, clock.clone(), stop.clone(), &say).await?;
        sim::write_json(args.json.as_deref(), &run)?;
        let by_hand = stop.is_stopping();
        let good = run.is_good();
        let verdict = match (good, by_hand) {
            (true, _) => "every expectation held",
            (false, true) => "ended by hand before everything could be seen",
            (false, false) => "NOT every expectation held",
        };
        show.end(&run, verdict);
        Ok(u8::from(!good && !by_hand))
    }
}

fn config(
    args: &DemoArgs,
    folder: &TemporaryFolder,
    [mqtt, http, metrics]: [SocketAddr; 3],
) -> Result<Config, Fault> {
    let mut raw = Raw {
        data: Some(folder.path().join(by_hand::DATA)),
        mqtt: Some(Place::At(mqtt)),
        http: Some(http),
        metrics: Some(metrics),
        token_seconds: Some(args.token_life.as_secs().max(2)),
        ..Raw::default()
    };
    raw.log.level = Some(args.log.clone());
    raw.validate("")
}

/// The usual port when it is free, so that commands need no port; else any.
fn free_or_any(port: u16) -> SocketAddr {
    match TcpListener::bind(local(port)) {
        Ok(_) => local(port),
        Err(_) => local(0),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn feed(config: &Config, provisioning: &ProvisioningHandle) -> Result<Feed, Fault> {
    Ok(Feed {
        server: provisioning.inner_url().into(),
        token: tessera_runtime::secret::read_secret_text(&config.data.join("feed.token"))?,
        root: provisioning.root_thumbprint(),
        offline_root: None,
        tenants: None,
    })
}
