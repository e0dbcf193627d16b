//! The demo: a system of its own in a temporary folder, a fleet, four who misbehave, and what must come of it.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tessera_provisioning::ProvisioningHandle;
use tessera_runtime::clock::{SharedClock, SystemClock};
use tessera_runtime::secret::Secret;
use tessera_runtime::stop::Stop;
use tessera_simulators::operator::OperatorClient;
use tessera_simulators::scenario::{self, News, Plan};
use tessera_simulators::wire::Broker;
use tessera_token::ids::TenantId;
use tessera_token::messages::TokenKind;

use crate::args::DemoArgs;
use crate::args::Place;
use crate::config::{Config, Raw};
use crate::fault::{Fault, Outcome};
use crate::screen::Screen;
use crate::serve::{start_broker, start_provisioning, BrokerPart, Feed};
use crate::{out, sim};

mod folder;

use folder::TemporaryFolder;

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
    system.tell(&stage.folder, args.lasts.is_none());
    let outcome = system.watch(&args, seed, &clock).await;
    let left = stage.finish().await;
    system.broker.close();
    for name in left {
        out::complain(&format!("did not stop in time: {name}"));
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
    broker: BrokerPart,
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
        Ok(Self { http, operator_token: token.operator_token.clone(), broker })
    }

    fn tell(&self, folder: &TemporaryFolder, stays: bool) {
        let (mqtt, http) = (self.broker.handle.mqtt_addr, self.http);
        out::line(&format!(
            "provisioning http://{http}   mqtt {mqtt}   metrics http://{}/metrics   data {}",
            self.broker.handle.http_addr,
            folder.path().display()
        ));
        if stays {
            out::write(&by_hand(folder, http, mqtt));
        }
    }

    async fn watch(&self, args: &DemoArgs, seed: u64, clock: &SharedClock) -> Outcome {
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
        };
        let stop = Stop::new();
        sim::stop_when_told(&stop)?;
        let screen = Screen::new(&stop);
        let show = |news: News<'_>| screen.show(news);
        let run = scenario::run(plan, clock.clone(), stop.clone(), &show).await?;
        screen.done();
        sim::summary(&run);
        sim::write_json(args.json.as_deref(), &run)?;
        let by_hand = stop.is_stopping();
        let good = run.is_good();
        out::line(match (good, by_hand) {
            (true, _) => "\nevery expectation held",
            (false, true) => "\nended by hand before everything could be seen",
            (false, false) => "\nNOT every expectation held",
        });
        Ok(u8::from(!good && !by_hand))
    }
}

fn config(
    args: &DemoArgs,
    folder: &TemporaryFolder,
    [mqtt, http, metrics]: [SocketAddr; 3],
) -> Result<Config, Fault> {
    let mut raw = Raw {
        data: Some(folder.path().to_owned()),
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
        tenants: None,
    })
}

fn by_hand(folder: &TemporaryFolder, http: SocketAddr, mqtt: SocketAddr) -> String {
    let data = folder.path().display();
    let tessera = std::env::current_exe().ok();
    let tessera = tessera.as_ref().map_or("tessera".to_owned(), |path| path.display().to_string());
    let (host, port) = (mqtt.ip(), mqtt.port());
    format!(
        "
A device of your own, in another terminal (Ctrl-C here ends the demo):
  export TESSERA_OPERATOR_TOKEN=@{data}/operator.token
  CLAIM=$({tessera} claim create --role sensor --http http://{http} --plain)
  {tessera} device enrol --http http://{http} --device mine --claim $CLAIM --dir {data}/mine
  mosquitto_pub -h {host} -p {port} -i mine -u mine -P \"$({tessera} device password --dir {data}/mine)\" -t d/mine/telemetry -m 21.5
  {tessera} device doctor --dir {data}/mine --mqtt {mqtt}
  {tessera} revoke device mine --http http://{http}

"
    )
}
