//! The refresher of one broker: the only owner of what is known of the sessions there, and of when each is due.
//!
//! 1. It waits for the turn, connects with a key and a token of its own, and asks for all sessions.
//! 2. Pages of the broker tell of sessions that are new, have another token, or have gone; [`Pacer`] gives each its time.
//! 3. A session that is due gets a token, within the share of its device ([`super::shares`]): made, durable, and then
//!    handed to the broker. The session's new token shows the success; a push without an outcome is tried again.
//! 4. When the connection ends, all of it is forgotten, and begins anew after a pause with jitter.

use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::mqtt::{Link, LinkError, Place};
use tessera_runtime::random;
use tessera_token::hash::TokenHash;
use tessera_token::limits::PUSH_PAGE_BYTES;
use tessera_token::messages::{PushCall, PushPage, PushSession};
use tessera_token::refusal::RefusalCode;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{interval, sleep, MissedTickBehavior};

use super::identity::{Own, OwnToken};
use super::next_token::next_token;
use super::pace::{Id, Life, Pacer};
use super::sessions::{Sessions, Told};
use super::shares::Shares;
use super::turn::Turn;
use crate::limits::{
    PUSHES_AT_ONCE, PUSHES_UNDER_WAY, PUSH_BACKOFF, PUSH_BEAT, PUSH_CONNECT, PUSH_KEEP_ALIVE,
    PUSH_OWN_AGAIN, PUSH_SILENCE, PUSH_TICK, PUSH_WRITE,
};
use crate::push_settings::PushBroker;
use crate::refused::Refused;
use crate::service::Service;

const REFRESH_TOPIC: &str = "$tessera/refresh";
const TOKEN_TOPIC: &str = "$tessera/token";

/// Failures in a row after which it is told that nothing is pushed.
const TOLD_AFTER: u32 = 3;

/// Why a connection is over.
enum Over {
    /// The service stops.
    Stopped,
    /// Another process has the turn, or may have it.
    TurnLost,
    Ended(String),
}

impl From<LinkError> for Over {
    fn from(ended: LinkError) -> Self {
        Self::Ended(ended.to_string())
    }
}

impl From<Refused> for Over {
    fn from(refused: Refused) -> Self {
        Self::Ended(refused.code.as_str().to_owned())
    }
}

/// Pushes to one broker until the service stops.
pub(super) async fn run(service: Arc<Service>, shares: Arc<Shares>, broker: PushBroker) {
    let name = broker.to_string();
    let Ok(mut turn) = Turn::new(&service, name.clone()) else { return };
    let mut pause = PUSH_BACKOFF.0;
    let mut failures = 0_u32;
    while !service.stop.is_stopping() {
        // A database that is away for a moment is asked again.
        if !turn.beat(&service).await.unwrap_or(false) {
            wait(&service, PUSH_BEAT).await;
            continue;
        }
        let began = service.clock.monotonic();
        let over = Connection::serve(&service, &shares, &broker, &mut turn).await;
        service.metrics.push_connected.set(&[&name], 0);
        service.metrics.push_waiting.set(&[&name], 0);
        match over {
            Over::Stopped => break,
            Over::TurnLost => {
                tracing::warn!(broker = name, "another process pushes to this broker")
            }
            Over::Ended(why) => {
                let lasted = service.clock.monotonic().saturating_sub(began);
                if lasted > PUSH_BACKOFF.1 {
                    (pause, failures) = (PUSH_BACKOFF.0, 0);
                }
                failures = failures.saturating_add(1);
                // At its first start a broker has yet to hear of the tenant of the service.
                if failures == TOLD_AFTER {
                    tracing::warn!(broker = name, %why, "no tokens are pushed to this broker; it is tried again");
                }
            }
        }
        wait(&service, jitter(&service, pause)).await;
        pause = pause.saturating_mul(2).min(PUSH_BACKOFF.1);
    }
    turn.give_back(&service).await;
}

async fn wait(service: &Service, time: Duration) {
    tokio::select! {
        () = sleep(time) => {}
        () = service.stop.stopping() => {}
    }
}

/// Half to one and a half of `pause`.
fn jitter(service: &Service, pause: Duration) -> Duration {
    let drawn = random::number(&*service.random).unwrap_or(u64::MAX / 2);
    let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis / 2 + drawn % millis.max(1))
}

/// The outcome of the making of a token. The tasks that make them end with the connection.
type Made = (Id, Result<(Vec<u8>, TokenHash), RefusalCode>);

/// One connection, and what came over it.
struct Connection<'a> {
    service: &'a Arc<Service>,
    shares: &'a Arc<Shares>,
    broker: &'a PushBroker,
    name: String,
    link: Link,
    pacer: Pacer,
    sessions: Sessions,
    /// Tokens that are being made.
    making: JoinSet<Made>,
    /// Whether the broker has told of a session of a tenant that it does not serve.
    told_of_others: bool,
}

impl<'a> Connection<'a> {
    async fn serve(
        service: &'a Arc<Service>,
        shares: &'a Arc<Shares>,
        broker: &'a PushBroker,
        turn: &mut Turn,
    ) -> Over {
        let opened = tokio::select! {
            opened = Self::open(service, shares, broker) => opened,
            () = service.stop.stopping() => return Over::Stopped,
        };
        match opened {
            Ok((mut connection, own, token)) => {
                let over = connection.served(turn, &own, token).await.unwrap_or_else(|over| over);
                if matches!(over, Over::Stopped | Over::TurnLost) {
                    connection.link.close().await;
                }
                over
            }
            Err(over) => over,
        }
    }

    async fn open(
        service: &'a Arc<Service>,
        shares: &'a Arc<Shares>,
        broker: &'a PushBroker,
    ) -> Result<(Self, Own, OwnToken), Over> {
        let own = Own::make(service).await?;
        let token = own.token(service).await?;
        let verifier = broker.verifier(&service.config.audience);
        let password = own.password(service, verifier, &token);
        let login = (own.client_id().to_text(), password);
        let (host, port) = broker.place();
        let place = Place {
            host,
            port,
            tls: broker.is_tls().then_some(&service.config.push.trust),
            within: PUSH_CONNECT,
            write: PUSH_WRITE,
            keep_alive: PUSH_KEEP_ALIVE,
            packet_bytes: u32::try_from(PUSH_PAGE_BYTES + 1024).unwrap_or(u32::MAX),
        };
        let link = Link::open(&place, (&login.0, login.1), &[REFRESH_TOPIC]).await?;
        let name = broker.to_string();
        tracing::info!(broker = name, "tokens are pushed to this broker");
        service.metrics.push_connected.set(&[&name], 1);
        let seed =
            random::number(&*service.random).map_err(|_| Refused::from(RefusalCode::NotReady))?;
        let connection = Self {
            service,
            shares,
            broker,
            name,
            link,
            pacer: Pacer::new(service.config.push.per_second, seed),
            sessions: Sessions::default(),
            making: JoinSet::new(),
            told_of_others: false,
        };
        Ok((connection, own, token))
    }

    async fn served(&mut self, turn: &mut Turn, own: &Own, token: OwnToken) -> Result<Over, Over> {
        let service = self.service;
        self.call(PushCall::Begin).await?;
        let mut ticks = interval(PUSH_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = service.clock.monotonic();
        let mut pinged = heard;
        let mut renew = heard.saturating_add(share(token.life));
        loop {
            tokio::select! {
                page = self.link.next() => {
                    let page = PushPage::from_cbor(&page?.payload);
                    let page =
                        page.ok_or_else(|| Over::Ended("a page that is malformed".to_owned()))?;
                    heard = service.clock.monotonic();
                    self.take(page);
                    self.call(PushCall::Next).await?;
                }
                Some(made) = self.making.join_next() => self.hand_over(made).await?,
                _ = ticks.tick() => {
                    let now = service.clock.monotonic();
                    if now.saturating_sub(heard) > PUSH_SILENCE {
                        return Err(Over::Ended("the broker sends no page".to_owned()));
                    }
                    // Of an error of the database the beat tells by its age.
                    let _ = turn.beat(service).await;
                    if !turn.is_held(service.clock.monotonic()) {
                        return Ok(Over::TurnLost);
                    }
                    if now.saturating_sub(pinged) > self.link.keep_alive() / 2 {
                        pinged = now;
                        self.link.ping().await?;
                    }
                    if now >= renew {
                        renew = now.saturating_add(self.renew(own).await?);
                    }
                    self.look();
                }
                () = service.stop.stopping() => return Ok(Over::Stopped),
            }
        }
    }

    /// Shows the broker the next token of the service; says when to do so again. The present one is good for a while when
    /// none can be made now.
    async fn renew(&mut self, own: &Own) -> Result<Duration, LinkError> {
        match own.token(self.service).await {
            Ok(next) => {
                self.link.publish(TOKEN_TOPIC, next.bytes).await?;
                Ok(share(next.life))
            }
            Err(refused) => {
                tracing::debug!(broker = self.name, code = %refused.code, "no next token of the service");
                Ok(PUSH_OWN_AGAIN)
            }
        }
    }

    async fn call(&mut self, call: PushCall) -> Result<(), LinkError> {
        self.link.publish(REFRESH_TOPIC, call.to_cbor()).await
    }

    /// Takes a page in.
    fn take(&mut self, page: PushPage) {
        let now = millis(self.service.clock.monotonic());
        for id in page.gone {
            self.sessions.gone(id);
            self.pacer.gone(id);
        }
        // After those that have gone, whose places they may take.
        for session in page.sessions {
            self.session(session, now);
        }
        for (id, code) in page.failed {
            if self.sessions.settled(id) {
                self.failed(id, code, now);
            }
        }
    }

    fn session(&mut self, session: PushSession, now: u64) {
        let PushSession { session: id, tenant, device, token, issued, expires } = session;
        if !self.broker.serves(&tenant) {
            self.service.metrics.limits_hit.inc(&["push_tenant"]);
            if !std::mem::replace(&mut self.told_of_others, true) {
                tracing::warn!(broker = self.name, %tenant, "this broker has a session of a tenant that it is not to serve: nothing is pushed to it");
            }
            return;
        }
        match self.sessions.tell(id, (tenant, device), token) {
            Told::Nothing => return,
            Told::TooMany => {
                self.pacer.gone(id);
                self.service.metrics.limits_hit.inc(&["push_sessions_of_device"]);
                return;
            }
            Told::Token { pushed: true } => self.service.metrics.pushes.inc(&["pushed"]),
            Told::Token { pushed: false } => {}
        }
        let seconds = |time: u64| time.saturating_mul(1000);
        let life = Life {
            age: seconds(self.service.now().since(issued)),
            whole: seconds(expires.since(issued)),
        };
        if !self.pacer.session(id, life, now) {
            self.sessions.gone(id);
            self.service.metrics.limits_hit.inc(&["push_sessions"]);
        }
    }

    fn failed(&mut self, id: Id, code: RefusalCode, now: u64) {
        self.service.metrics.pushes.inc(&["failed"]);
        tracing::debug!(broker = self.name, session = id, %code, "push failed");
        // A cause that may go away in a moment: again. Everything else is for the device: it asks, and is told why.
        // A session that is not served for a moment is the same one when its device comes back with its token.
        match code.is_of_the_server() || code == RefusalCode::NotFound {
            true => self.pacer.failed(id, now),
            false => self.pacer.rest(id),
        }
    }

    /// Begins the pushes that are due.
    fn look(&mut self) {
        let now = millis(self.service.clock.monotonic());
        for id in self.pacer.unanswered(now) {
            self.sessions.settled(id);
            self.service.metrics.pushes.inc(&["failed"]);
        }
        for id in self.pacer.ended(now) {
            self.sessions.gone(id);
        }
        let making = self.making.len();
        let room = PUSHES_AT_ONCE.saturating_sub(making);
        let room = room.min(PUSHES_UNDER_WAY.saturating_sub(making + self.sessions.under_way()));
        for due in self.pacer.take(now, room) {
            let Some(of) = self.sessions.of(due.id) else { continue };
            if due.late {
                self.service.metrics.pushes.inc(&["late"]);
            }
            let (service, shares) = (Arc::clone(self.service), Arc::clone(self.shares));
            self.making.spawn_local(async move {
                let token = next_token(&service, &shares, &of.0, &of.1).await;
                (due.id, token.map_err(|refused| refused.code))
            });
        }
        let waiting = i64::try_from(self.pacer.waiting()).unwrap_or(i64::MAX);
        self.service.metrics.push_waiting.set(&[&self.name], waiting);
    }

    async fn hand_over(&mut self, made: Result<Made, JoinError>) -> Result<(), LinkError> {
        // A push whose making panicked has no outcome in time, and is tried again.
        let Ok((id, made)) = made else {
            tracing::error!(broker = self.name, "the making of a pushed token has panicked");
            return Ok(());
        };
        let now = millis(self.service.clock.monotonic());
        // It may have gone, or have another token by now: then the pacer does not wait for this one.
        if !self.pacer.is_sent(id) {
            return Ok(());
        }
        match made {
            Ok((answer, token)) => {
                self.sessions.pushed(id, token);
                self.call(PushCall::Token { session: id, answer }).await
            }
            Err(code) => {
                self.failed(id, code, now);
                Ok(())
            }
        }
    }
}

/// When a token of its own is renewed.
fn share(life: u64) -> Duration {
    Duration::from_millis(life.saturating_mul(700))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
