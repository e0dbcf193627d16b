//! The token of one connection is kept fresh: over `$tessera/token`, else over REST (`docs/refresh.md`).

use tessera_simulators::device::credential::HeldToken;
use tessera_simulators::device::renewal::{News, Renewal, TokenLink, RENEW_PERCENT};
use tessera_simulators::mqtt::NotSent;
use tessera_token::messages::TokenKind;
use tokio::sync::mpsc;

use super::super::holding::Holding;
use super::upstream::Upstream;

/// Heard on a connection about its token.
pub(super) enum Heard {
    /// A message on `$tessera/token`.
    Answer(Vec<u8>),
    /// The control topics could not be subscribed to.
    NoAnswers,
}

/// Payloads for `$tessera/token`, on their way to the connection.
pub(super) struct Outbox(pub(super) mpsc::Sender<Vec<u8>>);

impl TokenLink for Outbox {
    fn send_token(&self, payload: Vec<u8>) -> Result<(), NotSent> {
        self.0.try_send(payload).map_err(|_| NotSent)
    }
}

/// The renewal of one connection.
pub(super) struct Keeping<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) client_id: &'a str,
    pub(super) outbox: Outbox,
    pub(super) heard: mpsc::Receiver<Heard>,
}

impl Keeping<'_> {
    /// Renews for as long as it is polled. `shown` is the token by which the connection was let in.
    pub(super) async fn run(mut self, shown: &[u8]) {
        let client_id = self.client_id;
        let mut holding = match Holding::of(&self.upstream.folder) {
            Ok(holding) => holding,
            Err(fault) => {
                tracing::error!(client_id, %fault, "the folder cannot be read: no token is renewed");
                return std::future::pending().await;
            }
        };
        let kind = TokenKind::Key;
        let mut renewal = Renewal::new(RENEW_PERCENT, true, &holding.holder(kind));
        if holding.token.bytes != shown {
            renewal.hand_in_next();
        }
        loop {
            tokio::select! {
                heard = self.heard.recv() => match heard {
                    Some(Heard::Answer(payload)) => {
                        let news = renewal.take(&payload, &holding.holder(kind));
                        self.heed(&mut holding, news).await;
                    }
                    Some(Heard::NoAnswers) => renewal.by_rest_alone(),
                    None => return std::future::pending().await,
                },
                () = renewal.due() => {
                    // Another connection, or another command, may have renewed it.
                    if let Some(newer) = self.newer_than(&holding.token) {
                        holding.token = newer;
                        renewal.hand_in_next();
                        tracing::info!(client_id, seconds = left(&holding), "token handed in");
                    }
                    let news = renewal.act(&self.outbox, &holding.holder(kind)).await;
                    self.heed(&mut holding, news).await;
                }
            }
        }
    }

    fn newer_than(&self, held: &HeldToken) -> Option<HeldToken> {
        let kept = self.upstream.folder.token().ok()?;
        let is_newer = kept.bytes != held.bytes && kept.expires > held.expires;
        (is_newer && kept.kind() == TokenKind::Key).then_some(kept)
    }

    async fn heed(&self, holding: &mut Holding, news: impl IntoIterator<Item = News>) {
        let client_id = self.client_id;
        for one in news {
            match one {
                News::Token { token, over_mqtt, .. } => {
                    let _writer = self.upstream.writer.lock().await;
                    if let Err(fault) = holding.take(token, &self.upstream.folder) {
                        tracing::error!(client_id, %fault, "the new token cannot be kept in the folder");
                    }
                    let over = if over_mqtt { "mqtt" } else { "rest" };
                    tracing::info!(client_id, seconds = left(holding), over, "token renewed");
                }
                News::Failed(error) => {
                    tracing::warn!(client_id, code = error.kind(), reason = %error, "no new token");
                }
                News::QueueFull => tracing::warn!(client_id, "no room for a token request"),
                // The answer, or the next step, comes by itself.
                News::Asked | News::AskedTwice => {}
            }
        }
    }
}

/// Seconds that the held token lives yet.
fn left(holding: &Holding) -> u64 {
    holding.token.expires.since(holding.clock.now())
}
