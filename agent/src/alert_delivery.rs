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
                        // An outage of the service is told by the trust feed; a refusal is told by nothing else.
                        Fault::Http(error) if error.code().is_some() => {
                            tracing::warn!(%error, "alerts wait: provisioning refuses them");
                        }
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

#[cfg(test)]
mod tests {
    use tessera_runtime::clock::ManualClock;
    use tessera_runtime::metrics::Metrics;
    use tessera_runtime::random::SystemRandom;
    use tessera_runtime::secret::Secret;
    use tessera_runtime::store::Store;
    use tessera_token::time::UnixSeconds;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::behaviour::Alert;

    /// Reads one request, answers it, and gives its body.
    async fn answer(service: &TcpListener, status: &str) -> Value {
        let (mut peer, _) = service.accept().await.unwrap();
        let mut read = Vec::new();
        loop {
            peer.read_buf(&mut read).await.unwrap();
            let text = String::from_utf8_lossy(&read).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                assert!(head.starts_with("POST /v1/trust/alerts "), "{head}");
                let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
                peer.write_all(answer.as_bytes()).await.unwrap();
                return serde_json::from_str(body).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn long_alerts_come_in_several_requests_and_go_when_they_were_taken() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let random = SystemRandom::shared();
        let kept = KeptAlerts::open(&store, random.as_ref()).ok().unwrap();
        let alert = |advice: usize| Alert { advice: "x".repeat(advice), ..Alert::default() };
        let alerts = [alert(10_000), alert(10_000), alert(10_000), alert(20_000), alert(1)];
        kept.keep(&alerts).unwrap();
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", service.local_addr().unwrap()).as_str().into();
        let feed = FeedConfig { server, token: Secret::new("t".to_owned()), tenants: None };
        let clock = ManualClock::at(UnixSeconds::new(1_800_000_000));
        let name = "mqtt".parse().unwrap();
        let namesake = Namesake::new(name, [0; 16], clock, &Metrics::new()).unwrap();
        let delivery = Delivery::new(kept.clone(), &feed, Arc::new(namesake), random).unwrap();
        let numbers = |body: &Value| -> Vec<u64> {
            let items = body["items"].as_array().unwrap();
            items.iter().map(|item| item["number"].as_u64().unwrap()).collect()
        };
        // Nothing goes before it was taken.
        let (refused, body) = tokio::join!(delivery.hand_over(), answer(&service, "503 Away"));
        assert!(refused.is_err() && numbers(&body) == [1, 2]);
        let (done, body) = tokio::join!(delivery.hand_over(), answer(&service, "204 Done"));
        assert!(matches!(done, Ok(true)) && numbers(&body) == [1, 2]);
        // The one that is longer than any request was never kept, and holds up no other.
        let (done, body) = tokio::join!(delivery.hand_over(), answer(&service, "204 Done"));
        assert!(matches!(done, Ok(true)) && numbers(&body) == [3, 4]);
        assert_eq!(body["line"], format!("{:016x}", kept.line()));
        assert!(matches!(delivery.hand_over().await, Ok(false)));
        assert_eq!(kept.let_go(), 1);
    }
}
