//! Hands alerts over to provisioning, which keeps them in its audit log and sends them to webhooks. An alert stays on the
//! disk until its request was answered; provisioning takes each number of a line of alerts once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, HttpError, HttpLimits, Method, Request, JSON};
use tessera_runtime::random::{self, SharedRandom};
use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;
use tessera_token::trust::VERIFIER_HEADER;

use crate::behaviour::KeptAlerts;
use crate::config::FeedConfig;
use crate::limits::ALERTS_PAUSE;
use crate::namesake::Namesake;

/// Alerts, and where they go.
pub(crate) struct Delivery {
    kept: Arc<KeptAlerts>,
    client: HttpClient,
    namesake: Arc<Namesake>,
    random: SharedRandom,
}

/// Why alerts were not handed over.
enum Fault {
    Http(HttpError),
    Store(StoreError),
}

impl Delivery {
    pub(crate) fn new(
        kept: Arc<KeptAlerts>,
        feed: &FeedConfig,
        namesake: Arc<Namesake>,
        random: SharedRandom,
    ) -> Result<Self, HttpError> {
        let client =
            HttpClient::new(&feed.server, Some(feed.token.clone()), HttpLimits::default())?;
        Ok(Self { kept, client, namesake, random })
    }

    /// Hands alerts over until the agent stops.
    pub(crate) async fn run(self, stop: Stop) {
        let [first, longest] = ALERTS_PAUSE;
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
                    match fault {
                        Fault::Http(error) => tracing::debug!(%error, "alerts not handed over"),
                        Fault::Store(error) => tracing::warn!(%error, "alerts not read"),
                    }
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

    /// Waits so long, or for the next alert.
    async fn until(&self, wait: Option<Duration>) {
        match wait {
            Some(wait) => tokio::time::sleep(wait).await,
            None => self.kept.more().await,
        }
    }

    /// A half to the whole of a time: brokers that lost their service together do not come back together.
    fn jitter(&self, pause: Duration) -> Duration {
        let drawn = random::number(self.random.as_ref()).unwrap_or(0);
        pause / 2 + pause.mul_f64((drawn >> 11) as f64 / (1_u64 << 53) as f64) / 2
    }

    /// Hands the oldest alerts over. Returns whether there may be more.
    async fn hand_over(&self) -> Result<bool, Fault> {
        let waiting = self.kept.waiting().map_err(Fault::Store)?;
        let Some(last) = waiting.last().map(|alert| alert.number) else { return Ok(false) };
        let items = waiting.iter().filter_map(|alert| {
            let told: Value = serde_json::from_str(&alert.text).ok()?;
            Some(json!({ "number": alert.number, "alert": told }))
        });
        let line = format!("{:016x}", self.kept.line());
        let body = json!({ "line": line, "items": items.collect::<Vec<_>>() });
        let request = Request::new(Method::Post, "/v1/trust/alerts")
            .header(VERIFIER_HEADER, self.namesake.name().as_str())
            .body(JSON, body.to_string().into_bytes());
        self.client.send(request).await.map_err(Fault::Http)?;
        self.kept.taken(last).await.map_err(Fault::Store)?;
        Ok(true)
    }
}
