//! Hands over to provisioning what a verifier has seen: alerts, and the topics that devices use. Each waits until its
//! request was answered, and comes again until it is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::http::{HttpClient, HttpError, HttpLimits, Method, Request, JSON};
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::{self, SharedRandom};
use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{UplinkAsk, UplinkReport, VERIFIER_HEADER};

use crate::behaviour::BehaviourParts;
use crate::config::FeedConfig;
use crate::error::AgentError;
use crate::limits::{HAND_OVER_PAUSE, UPLINK_REPORT};
use crate::namesake::Namesake;
use crate::trust::Trust;
use crate::uplink::{Uplink, UplinkFault};

mod alerts;
mod rules;
mod uses;

use alerts::Alerts;
use rules::Rules;
use uses::Uses;

/// Why something was not handed over.
#[derive(Debug)]
pub(crate) enum Fault {
    Http(HttpError),
    Uplink(UplinkFault),
    Store(StoreError),
}

impl Fault {
    fn is_malformed(&self) -> bool {
        let code = match self {
            Self::Http(error) => error.code().and_then(RefusalCode::parse),
            Self::Uplink(UplinkFault::Refused(code)) => Some(*code),
            Self::Uplink(_) | Self::Store(_) => None,
        };
        code == Some(RefusalCode::RequestMalformed)
    }
}

/// Something that is handed over piece by piece.
pub(crate) trait Pieces: Send + Sync + 'static {
    /// Its name in the log.
    const NAME: &'static str;

    /// The report that takes it.
    const REPORT: UplinkReport;

    /// Whether a piece that provisioning finds malformed is let go: the next one may be good.
    const LETS_GO: bool;

    /// The next piece, as the body of a request, with its number; `None` when there is none.
    fn next(&self) -> Result<Option<(u64, Value)>, Fault>;

    /// Notes that the piece of this number, and all before it, were taken.
    fn taken(&self, number: u64) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Waits until there may be a piece.
    fn more(&self) -> impl Future<Output = ()> + Send;
}

/// The way to provisioning.
#[derive(Clone)]
pub(crate) enum Door {
    /// Its REST API.
    Http(HttpClient),
    /// A broker, which takes one report of a gateway at a time.
    Uplink(Uplink, Arc<tokio::sync::Mutex<()>>),
}

impl Door {
    /// The REST API behind the feed.
    pub(crate) fn http(feed: &FeedConfig) -> Result<Self, HttpError> {
        let token = Some(feed.token.clone());
        Ok(Self::Http(HttpClient::new(&feed.server, token, HttpLimits::default())?))
    }

    /// The uplink of a gateway.
    pub(crate) fn uplink(uplink: Uplink) -> Self {
        Self::Uplink(uplink, Arc::default())
    }

    async fn hand_over(
        &self,
        namesake: &Namesake,
        report: UplinkReport,
        body: Vec<u8>,
    ) -> Result<(), Fault> {
        match self {
            Self::Http(client) => {
                let request = Request::new(Method::Post, report.path())
                    .header(VERIFIER_HEADER, namesake.name().as_str())
                    .body(JSON, body);
                client.send(request).await.map(drop).map_err(Fault::Http)
            }
            Self::Uplink(uplink, turn) => {
                let _turn = turn.lock().await;
                let ask = UplinkAsk::Report(report, namesake.name().clone(), body);
                let bounds = (0, UPLINK_REPORT);
                uplink.ask(ask, bounds).await.map(drop).map_err(Fault::Uplink)
            }
        }
    }
}

/// The parts that deliveries of all kinds share.
pub(crate) struct Way<'a> {
    pub(crate) door: Door,
    pub(crate) namesake: Arc<Namesake>,
    pub(crate) random: SharedRandom,
    pub(crate) stop: &'a Stop,
}

impl Way<'_> {
    fn begin<P: Pieces>(&self, name: &'static str, pieces: P) {
        let (door, namesake, random) =
            (self.door.clone(), Arc::clone(&self.namesake), Arc::clone(&self.random));
        let delivery = Delivery { pieces, door, namesake, random };
        self.stop.spawn(name, delivery.run(self.stop.clone()));
    }
}

/// Begins to hand everything over.
pub(crate) fn hand_over(
    way: Way<'_>,
    trust: &Arc<Trust>,
    parts: &BehaviourParts,
    clock: SharedClock,
    metrics: &Metrics,
) -> Result<(), AgentError> {
    let told = metrics.counter(
        "tessera_inventory_told_total",
        "Devices whose topics were told to provisioning",
        &[],
    )?;
    let (book, random) = (Arc::clone(parts.inventory()), way.random.as_ref());
    let uses = Uses::new(book, clock, random, told).map_err(AgentError::Random)?;
    let rules = Rules::new(Arc::clone(trust), random).map_err(AgentError::Random)?;
    way.begin("agent alerts", Alerts(Arc::clone(parts.kept())));
    way.begin("agent inventory", uses);
    way.begin("agent rule counts", rules);
    Ok(())
}

/// The way of pieces of one kind to provisioning.
struct Delivery<P> {
    pieces: P,
    door: Door,
    namesake: Arc<Namesake>,
    random: SharedRandom,
}

impl<P: Pieces> Delivery<P> {
    /// Hands pieces over until the agent stops.
    async fn run(self, stop: Stop) {
        let [first, longest] = HAND_OVER_PAUSE;
        let mut pause = first;
        loop {
            let outcome = tokio::select! {
                () = stop.stopping() => return,
                outcome = self.hand_over() => outcome,
            };
            let wait = match outcome {
                Ok(true) => continue,
                Ok(false) => {
                    pause = first;
                    None
                }
                Err(fault) => {
                    tell(P::NAME, &fault);
                    let now = pause;
                    pause = (pause * 2).min(longest);
                    Some(self.jitter(now))
                }
            };
            tokio::select! {
                () = stop.stopping() => return,
                () = self.until(wait) => {}
            }
        }
    }

    /// Waits so long, or for the next piece.
    async fn until(&self, wait: Option<Duration>) {
        match wait {
            Some(wait) => tokio::time::sleep(wait).await,
            None => self.pieces.more().await,
        }
    }

    /// A half to the whole of a time: brokers that lost their service together do not come back together.
    fn jitter(&self, pause: Duration) -> Duration {
        let drawn = random::number(self.random.as_ref()).unwrap_or(0);
        pause / 2 + pause.mul_f64((drawn >> 11) as f64 / (1_u64 << 53) as f64) / 2
    }

    /// Hands the oldest piece over. Returns whether there may be more.
    async fn hand_over(&self) -> Result<bool, Fault> {
        let Some((number, body)) = self.pieces.next()? else { return Ok(false) };
        let body = body.to_string().into_bytes();
        match self.door.hand_over(&self.namesake, P::REPORT, body).await {
            Err(fault) if P::LETS_GO && fault.is_malformed() => {
                tracing::error!(what = P::NAME, "provisioning cannot read a report; it is let go");
            }
            outcome => outcome?,
        }
        self.pieces.taken(number).await?;
        Ok(true)
    }
}

/// An outage of the service is told by the trust feed; a refusal is told by nothing else.
fn tell(what: &str, fault: &Fault) {
    match fault {
        Fault::Http(error) if error.code().is_some() => {
            tracing::warn!(what, %error, "provisioning refuses what a verifier hands over; it waits");
        }
        Fault::Http(error) => tracing::debug!(what, %error, "not handed over to provisioning"),
        Fault::Uplink(UplinkFault::Refused(code)) => {
            tracing::warn!(what, %code, "provisioning refuses what a verifier hands over; it waits");
        }
        Fault::Uplink(error) => tracing::debug!(what, %error, "not handed over to provisioning"),
        Fault::Store(error) => tracing::warn!(what, %error, "not read from the store"),
    }
}

#[cfg(test)]
mod tests;
