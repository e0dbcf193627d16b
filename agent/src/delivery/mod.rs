//! Hands over to provisioning what a verifier has seen: alerts, and the topics that devices use. Each waits until its
//! request was answered, and comes again until it is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tessera_runtime::http::{HttpClient, HttpError, HttpLimits, Method, Request, JSON};
use tessera_runtime::random::{self, SharedRandom};
use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;
use tessera_token::trust::VERIFIER_HEADER;

use crate::config::FeedConfig;
use crate::limits::HAND_OVER_PAUSE;
use crate::namesake::Namesake;

mod alerts;
mod rules;
mod uses;

pub(crate) use alerts::Alerts;
pub(crate) use rules::Rules;
pub(crate) use uses::Uses;

/// Why something was not handed over.
#[derive(Debug)]
pub(crate) enum Fault {
    Http(HttpError),
    Store(StoreError),
}

/// Something that is handed over piece by piece.
pub(crate) trait Pieces: Send + Sync + 'static {
    /// Its name in the log.
    const NAME: &'static str;

    /// The path that takes it.
    const PATH: &'static str;

    /// The next piece, as the body of a request, with its number; `None` when there is none.
    fn next(&self) -> Result<Option<(u64, Value)>, Fault>;

    /// Notes that the piece of this number, and all before it, were taken.
    fn taken(&self, number: u64) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Waits until there may be a piece.
    fn more(&self) -> impl Future<Output = ()> + Send;
}

/// The way of pieces of one kind to provisioning.
pub(crate) struct Delivery<P> {
    pieces: P,
    client: HttpClient,
    namesake: Arc<Namesake>,
    random: SharedRandom,
}

impl<P: Pieces> Delivery<P> {
    pub(crate) fn new(
        pieces: P,
        feed: &FeedConfig,
        namesake: Arc<Namesake>,
        random: SharedRandom,
    ) -> Result<Self, HttpError> {
        let client =
            HttpClient::new(&feed.server, Some(feed.token.clone()), HttpLimits::default())?;
        Ok(Self { pieces, client, namesake, random })
    }

    /// Hands pieces over until the agent stops.
    pub(crate) async fn run(self, stop: Stop) {
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
        let request = Request::new(Method::Post, P::PATH)
            .header(VERIFIER_HEADER, self.namesake.name().as_str())
            .body(JSON, body.to_string().into_bytes());
        self.client.send(request).await.map_err(Fault::Http)?;
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
        Fault::Store(error) => tracing::warn!(what, %error, "not read from the store"),
    }
}

#[cfg(test)]
mod tests;
