//! The life of a device: connect with proof, do its duty, refresh, come back.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::random::{self, Random, SharedRandom};
use tessera_runtime::stop::Stop;
use tessera_token::messages::TokenKind;
use tokio::sync::Semaphore;
use tokio::time::{sleep, Sleep};

use super::api::{longer, token_answer, token_request, DeviceApi};
use super::clock::DeviceClock;
use super::credential::{Counter, HeldToken};
use super::identity::Identity;
use crate::limits;
use crate::personas::Duty;
use crate::report::Tally;
use crate::wire::{Broker, Closed, Connect, Incoming, Link, Version};

/// The control topic for tokens.
pub const TOKEN_TOPIC: &str = "$tessera/token";

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
    /// What kind of token it asks for.
    pub token: TokenKind,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(1),
            version: Version::V311,
            refresh_percent: 70,
            refresh_over_mqtt: true,
            token: TokenKind::Key,
        }
    }
}

/// What all devices of a run share.
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
    /// Who it is.
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
        Self { identity, clock, random, habits, counter, token, refreshed: false, connected: false }
    }

    /// The token that it holds.
    pub fn token(&self) -> &HeldToken {
        &self.token
    }

    /// A CONNECT with a fresh proof.
    pub fn connect(&self, broker: &Broker) -> Connect {
        let id = self.identity.device.as_str();
        let password =
            self.token.password_text(&self.identity.key, id, self.clock.now(), self.counter.next());
        Connect {
            broker: broker.clone(),
            client_id: id.to_owned(),
            username: id.to_owned(),
            password,
            version: self.habits.version,
            keep_alive: limits::KEEP_ALIVE,
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
            let jittered = self.jitter(wait);
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
            opened = self.open(&filters, world) => opened,
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
        ended
    }

    async fn open(&mut self, filters: &[String], world: &World) -> Result<Link, Closed> {
        let permit = world.gangway.acquire().await;
        if !self.token.is_good(self.clock.now(), 2) {
            self.refresh_by_rest(world).await;
        }
        let started = self.clock.monotonic();
        let link = Link::open(&self.connect(&world.broker)).await?;
        drop(permit);
        world.tally.connect_latency.observe(self.clock.monotonic().saturating_sub(started));
        world.tally.connections.one();
        if !std::mem::replace(&mut self.connected, true) {
            world.tally.connected.one();
        }
        for filter in filters.iter().map(String::as_str).chain([TOKEN_TOPIC]) {
            if link.subscribe(filter).is_err() {
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
        let mut tick = Timer::after(self.habits.tick.mul_f64(self.fraction()));
        let mut asked: Option<Duration> = None;
        let mut refresh = Timer::after(self.refresh_wait());
        loop {
            tokio::select! {
                event = link.next() => match event {
                    Incoming::Closed(closed) => return End::Closed(closed),
                    event => if self.take(event, duty, world, asked) {
                        asked = None;
                        refresh = Timer::after(self.refresh_wait());
                    },
                },
                () = &mut tick.0 => {
                    duty.tick(&link, &world.tally);
                    tick = Timer::after(self.habits.tick);
                }
                () = &mut refresh.0 => {
                    if asked.is_some() || !self.habits.refresh_over_mqtt {
                        if asked.take().is_some() { world.tally.failure("refresh_unanswered"); }
                        self.refresh_by_rest(world).await;
                        refresh = Timer::after(self.refresh_wait());
                    } else {
                        asked = self.ask(&link);
                        refresh = Timer::after(self.patience());
                    }
                }
                () = stop.stopping() => { link.close().await; return End::Stopped; }
            }
        }
    }

    /// Takes one event in; true when it was a new token.
    fn take(
        &mut self,
        event: Incoming,
        duty: &mut dyn Duty,
        world: &World,
        asked: Option<Duration>,
    ) -> bool {
        match event {
            Incoming::Message { topic, payload } if topic == TOKEN_TOPIC => {
                return self.take_token(&payload, world, asked);
            }
            Incoming::Message { topic, payload } => duty.message(&topic, &payload, &world.tally),
            Incoming::Published => world.tally.acknowledged.one(),
            Incoming::PublishRefused(why) => world.tally.failure(&format!("publish:{why}")),
            Incoming::SubscribeRefused(why) => world.tally.failure(&format!("subscribe:{why}")),
            Incoming::Subscribed => world.tally.subscribed.one(),
            Incoming::Closed(_) => {}
        }
        false
    }

    fn take_token(&mut self, payload: &[u8], world: &World, asked: Option<Duration>) -> bool {
        match token_answer(payload, &self.clock) {
            Ok(answer) => {
                let now = self.clock.monotonic();
                let started = asked.unwrap_or(now);
                self.hold(HeldToken::of(&answer), world, now.saturating_sub(started));
                true
            }
            Err(error) => {
                world.tally.failure(&error.kind());
                false
            }
        }
    }

    fn hold(&mut self, token: HeldToken, world: &World, took: Duration) {
        self.token = token;
        world.tally.refreshes.one();
        world.tally.refresh_latency.observe(took);
        if !std::mem::replace(&mut self.refreshed, true) {
            world.tally.refreshed.one();
        }
    }

    fn ask(&self, link: &Link) -> Option<Duration> {
        let request =
            token_request(&self.identity, &self.clock, &*self.random, self.habits.token).ok()?;
        link.publish(TOKEN_TOPIC, true, request).ok()?;
        Some(self.clock.monotonic())
    }

    async fn refresh_by_rest(&mut self, world: &World) {
        let started = self.clock.monotonic();
        let random: &dyn Random = &*self.random;
        match world.api.token(&self.identity, &self.clock, random, self.habits.token).await {
            Ok(answer) => {
                let took = self.clock.monotonic().saturating_sub(started);
                self.hold(HeldToken::of(&answer), world, took);
            }
            Err(error) => world.tally.failure(&error.kind()),
        }
    }

    /// About 70 % of the life after the token was received, give or take 5 %.
    fn refresh_wait(&self) -> Duration {
        let life = Duration::from_secs(self.token.life()).as_secs_f64();
        let share = self.habits.refresh_percent as f64 / 100.0 - 0.05 + 0.1 * self.fraction();
        let age = self.clock.now().since(self.token.received) as f64;
        Duration::from_secs_f64((life * share - age).max(0.2))
    }

    /// How long an answer on `$tessera/token` is waited for before REST is asked.
    fn patience(&self) -> Duration {
        let tenth = Duration::from_secs(self.token.life()) / 10;
        tenth.clamp(Duration::from_secs(1), limits::ANSWER)
    }

    fn jitter(&self, wait: Duration) -> Duration {
        Duration::from_secs_f64(wait.as_secs_f64() * (0.5 + self.fraction()))
    }

    /// A number from 0 to 1 of the device's own seed.
    fn fraction(&self) -> f64 {
        let number = random::number(&*self.random).unwrap_or(u64::MAX / 2);
        (number >> 11) as f64 / (1u64 << 53) as f64
    }

    fn count_closed(&self, world: &World, closed: &Closed) {
        world.tally.lost.one();
        world.tally.failure(&closed.kind());
    }
}

struct Timer(Pin<Box<Sleep>>);

impl Timer {
    fn after(wait: Duration) -> Self {
        Self(Box::pin(sleep(wait)))
    }
}
