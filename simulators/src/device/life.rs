//! The life of a device: connect with proof, do its duty, refresh, come back.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::random::{Random, SharedRandom};
use tessera_runtime::stop::Stop;
use tessera_token::encoding::base64url;
use tessera_token::ids::VerifierName;
use tessera_token::messages::TokenKind;
use tokio::sync::Semaphore;
use tokio::time::{sleep, Sleep};

use super::api::{longer, DeviceApi};
use super::clock::DeviceClock;
use super::credential::{Counter, HeldToken};
use super::identity::Identity;
use super::renewal::{
    by_rest, fraction, jitter, Holder, News, Renewal, RENEW_PERCENT, TOKEN_TOPIC,
};
use super::Duty;
use crate::limits;
use crate::mqtt::{Broker, Closed, Connect, Incoming, Link, Milestone, Qos, Session, Version};
use crate::report::Tally;

/// How a device behaves.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Between two ticks of its duty: for a sensor, between two publishes.
    pub tick: Duration,
    /// The version of MQTT.
    pub version: Version,
    /// Share of a token's life after which it is refreshed, in percent.
    pub refresh_percent: u64,
    /// Whether it refreshes over `$tessera/token`; else over REST.
    pub refresh_over_mqtt: bool,
    /// Kind of token that it asks for.
    pub token: TokenKind,
    /// The verifier that it proves itself for, when that has a name of its own.
    pub verifier: Option<VerifierName>,
    /// The keep-alive of its connections.
    pub keep_alive: Duration,
    /// The session that it asks for.
    pub session: Session,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(1),
            version: Version::V311,
            refresh_percent: RENEW_PERCENT,
            refresh_over_mqtt: true,
            token: TokenKind::Key,
            verifier: None,
            keep_alive: limits::KEEP_ALIVE,
            session: Session::default(),
        }
    }
}

/// State that all devices of a run share.
#[derive(Clone)]
pub struct World {
    /// The broker.
    pub broker: Broker,
    /// Provisioning.
    pub api: DeviceApi,
    /// The counters.
    pub tally: Arc<Tally>,
    /// Bounds the connections under way at once.
    pub gangway: Arc<Semaphore>,
}

/// An enrolled device that can live.
pub struct Device {
    /// Its identity.
    pub identity: Identity,
    /// Its clock.
    pub clock: DeviceClock,
    /// Its randomness, of its own seed.
    pub random: SharedRandom,
    /// How it behaves.
    pub habits: Habits,
    counter: Counter,
    token: HeldToken,
    refreshed: bool,
    connected: bool,
}

/// Why one session ended.
enum End {
    Stopped,
    Closed(Closed),
}

impl Device {
    /// A device that enrolled and got its first token.
    pub fn new(
        identity: Identity,
        clock: DeviceClock,
        random: SharedRandom,
        habits: Habits,
        token: HeldToken,
    ) -> Self {
        let counter = Counter::from_clock(clock.now());
        let (refreshed, connected) = (false, false);
        Self { identity, clock, random, habits, counter, token, refreshed, connected }
    }

    /// The token that it holds.
    pub fn token(&self) -> &HeldToken {
        &self.token
    }

    /// A CONNECT with a fresh proof.
    pub fn connect(&self, broker: &Broker) -> Connect {
        self.connect_as(self.identity.device.as_str(), broker)
    }

    /// The same by this client id of the device.
    pub fn connect_as(&self, id: &str, broker: &Broker) -> Connect {
        let (now, counter) = (self.clock.now(), self.counter.next());
        let verifier = self.habits.verifier.as_ref();
        let verifier = verifier.map_or(self.token.audience.as_str(), VerifierName::as_str);
        let password = self.token.password_for(verifier, &self.identity.key, id, now, counter);
        let password = base64url(&password);
        Connect {
            broker: broker.clone(),
            client_id: id.to_owned(),
            username: id.to_owned(),
            password,
            version: self.habits.version,
            keep_alive: self.habits.keep_alive,
            session: self.habits.session,
        }
    }

    /// Lives until `stop`; reconnects with backoff and jitter.
    pub async fn live(mut self, mut duty: Box<dyn Duty>, world: World, stop: Stop) {
        let mut wait = limits::BACKOFF.0;
        loop {
            match self.session(&mut *duty, &world, &stop, &mut wait).await {
                End::Stopped => return,
                End::Closed(closed) => self.count_closed(&world, &closed),
            }
            let jittered = jitter(wait, &*self.random);
            tokio::select! {
                () = sleep(jittered) => {}
                () = stop.stopping() => return,
            }
            wait = longer(wait);
        }
    }

    /// Makes sure of a good token, connects, and stays until something ends it.
    async fn session(
        &mut self,
        duty: &mut dyn Duty,
        world: &World,
        stop: &Stop,
        wait: &mut Duration,
    ) -> End {
        let filters = duty.filters();
        let opened = tokio::select! {
            opened = self.open(&filters, duty.qos(), world) => opened,
            () = stop.stopping() => return End::Stopped,
        };
        let link = match opened {
            Ok(link) => link,
            Err(closed) => return End::Closed(closed),
        };
        *wait = limits::BACKOFF.0;
        world.tally.online.one();
        let ended = self.attend(link, duty, world, stop).await;
        world.tally.online.less();
        duty.disconnected();
        ended
    }

    /// The next proof is so many places further on.
    pub fn skip(&self, places: u32) {
        self.counter.skip(places);
    }

    /// A connection by a good token, with its time by stages.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn link(&mut self, world: &World) -> Result<Link, Closed> {
        self.open(&[], Qos::One, world).await
    }

    async fn open(&mut self, filters: &[String], qos: Qos, world: &World) -> Result<Link, Closed> {
        let permit = world.gangway.acquire().await;
        if !self.token.is_good(self.clock.now(), 2) {
            self.refresh_by_rest(world).await;
        }
        let stages = Stages::begin(&self.clock, &world.tally);
        let connect = self.connect(&world.broker);
        let link = Link::open_watched(&connect, &|milestone| stages.reached(milestone)).await?;
        drop(permit);
        world.tally.connections.one();
        if !std::mem::replace(&mut self.connected, true) {
            world.tally.connected.one();
        }
        let wanted = filters.iter().map(|filter| (filter.as_str(), qos));
        for (filter, qos) in wanted.chain([(TOKEN_TOPIC, Qos::One)]) {
            if link.subscribe_at(filter, qos).is_err() {
                world.tally.failure("queue_full");
            }
        }
        Ok(link)
    }

    async fn attend(
        &mut self,
        mut link: Link,
        duty: &mut dyn Duty,
        world: &World,
        stop: &Stop,
    ) -> End {
        let mut ticks = Ticks::new(self.habits.tick, &self.clock, &*self.random);
        let Habits { refresh_percent, refresh_over_mqtt, .. } = self.habits;
        let mut renewal = Renewal::new(refresh_percent, refresh_over_mqtt, &self.holder(world));
        loop {
            tokio::select! {
                event = link.next() => match event {
                    Incoming::Closed(closed) => return End::Closed(closed),
                    Incoming::Message { topic, payload } if topic == TOKEN_TOPIC => {
                        let news = renewal.take(&payload, &self.holder(world));
                        self.heed(news, world);
                    }
                    event => self.take(event, duty, world),
                },
                () = &mut ticks.next => {
                    duty.tick(&link, &world.tally);
                    ticks.go_on(&self.clock);
                }
                () = renewal.due() => {
                    let news = renewal.act(&link, &self.holder(world)).await;
                    let asked = news.iter().filter(|one| matches!(one, News::Asked));
                    asked.for_each(|_| duty.asked());
                    self.heed(news, world);
                }
                () = stop.stopping() => { link.close().await; return End::Stopped; }
            }
        }
    }

    /// Input of a renewal.
    fn holder<'a>(&'a self, world: &'a World) -> Holder<'a> {
        let Self { identity, clock, random, token, habits, .. } = self;
        Holder { identity, clock, random: &**random, api: &world.api, token, kind: habits.token }
    }

    fn heed(&mut self, news: impl IntoIterator<Item = News>, world: &World) {
        for one in news {
            match one {
                News::Token { token, took, over_mqtt, pushed } => {
                    self.hold(token, world, (!pushed).then_some(took));
                    if pushed {
                        world.tally.pushed.one();
                    }
                    if over_mqtt {
                        world.tally.refreshed_by_mqtt.one();
                    }
                }
                News::Asked => {}
                News::AskedTwice => world.tally.asked_twice.one(),
                News::Failed(error) => world.tally.failure(&error.kind()),
                News::QueueFull => world.tally.failure("queue_full"),
            }
        }
    }

    /// Takes one event in.
    fn take(&self, event: Incoming, duty: &mut dyn Duty, world: &World) {
        match event {
            Incoming::Message { topic, payload } => duty.message(&topic, &payload, &world.tally),
            Incoming::Published => duty.acknowledged(&world.tally),
            Incoming::Completed => duty.completed(&world.tally),
            Incoming::PublishRefused(why) => duty.refused(&why, &world.tally),
            Incoming::SubscribeRefused(why) => world.tally.failure(&format!("subscribe:{why}")),
            Incoming::Subscribed => duty.subscribed(&world.tally),
            Incoming::Closed(_) => {}
        }
    }

    /// `took` is the time since it was asked for; none for a token that was pushed.
    fn hold(&mut self, token: HeldToken, world: &World, took: Option<Duration>) {
        self.token = token;
        world.tally.refreshes.one();
        took.into_iter().for_each(|took| world.tally.refresh_latency.observe(took));
        if !std::mem::replace(&mut self.refreshed, true) {
            world.tally.refreshed.one();
        }
    }

    /// Gets the next token over REST; a failure is counted.
    pub async fn refresh_by_rest(&mut self, world: &World) {
        let news = match by_rest(&self.holder(world)).await {
            Ok((token, took)) => News::Token { token, took, over_mqtt: false, pushed: false },
            Err(error) => News::Failed(error),
        };
        self.heed([news], world);
    }

    fn count_closed(&self, world: &World, closed: &Closed) {
        world.tally.lost.one();
        world.tally.failure(&closed.kind());
    }
}

/// The ticks of a duty: the first one after a part of the time between two. One that is late moves none of the others, and
/// those that were missed are left out.
struct Ticks {
    every: Duration,
    due: Duration,
    next: Pin<Box<Sleep>>,
}

impl Ticks {
    fn new(every: Duration, clock: &DeviceClock, random: &dyn Random) -> Self {
        let every = every.max(limits::TICK_LEAST);
        let first = every.mul_f64(fraction(random));
        Self { every, due: clock.monotonic() + first, next: Box::pin(sleep(first)) }
    }

    fn go_on(&mut self, clock: &DeviceClock) {
        let now = clock.monotonic();
        self.due += self.every;
        if self.due + self.every < now {
            self.due = now;
        }
        let wait = self.due.saturating_sub(now).min(self.every);
        self.next = Box::pin(sleep(wait));
    }
}

/// The times of the stages of one connection, told to the tally as they end.
struct Stages<'a> {
    clock: &'a DeviceClock,
    tally: &'a Tally,
    began: Duration,
    last_micros: AtomicU64,
}

impl<'a> Stages<'a> {
    fn begin(clock: &'a DeviceClock, tally: &'a Tally) -> Self {
        let began = clock.monotonic();
        Self { clock, tally, began, last_micros: AtomicU64::new(micros(began)) }
    }

    fn reached(&self, milestone: Milestone) {
        let now = self.clock.monotonic();
        let last = self.last_micros.swap(micros(now), Ordering::Relaxed);
        let took = Duration::from_micros(micros(now).saturating_sub(last));
        match milestone {
            Milestone::Reached => self.tally.tcp_latency.observe(took),
            Milestone::Secured => self.tally.tls_latency.observe(took),
            Milestone::Opened => {}
            Milestone::Welcomed => {
                self.tally.connack_latency.observe(took);
                self.tally.connect_latency.observe(now.saturating_sub(self.began));
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
