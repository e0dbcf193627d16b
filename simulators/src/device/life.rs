//! The life of a device: connect with proof, do its duty, refresh, come back.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::random::{self, Random, SharedRandom};
use tessera_runtime::stop::Stop;
use tessera_token::ids::VerifierName;
use tessera_token::messages::TokenKind;
use tessera_token::seal::OpeningKey;
use tessera_token::text::base64url;
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
    /// Kind of token that it asks for.
    pub token: TokenKind,
    /// The verifier that it proves itself for, when that has a name of its own.
    pub verifier: Option<VerifierName>,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(1),
            version: Version::V311,
            refresh_percent: 70,
            refresh_over_mqtt: true,
            token: TokenKind::Key,
            verifier: None,
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
    /// The key that opens the answer to the request that was published last.
    opens: Option<OpeningKey>,
    refreshed: bool,
    connected: bool,
}

/// Effect of an event on the token that is held.
enum Taken {
    /// A new one.
    Token,
    /// The broker or the service has no room for the request now.
    Busy,
    Nothing,
}

/// Step for the token when its time comes.
#[derive(Clone, Copy)]
enum Step {
    /// It asks for the next one.
    Ask,
    /// It asked over MQTT at this time, and asks over REST.
    AskByRest(Duration),
    /// It gives the broker what came over REST: the session ends with the token that the broker knows.
    HandIn,
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
        let (opens, refreshed, connected) = (None, false, false);
        Self { identity, clock, random, habits, counter, token, opens, refreshed, connected }
    }

    /// The token that it holds.
    pub fn token(&self) -> &HeldToken {
        &self.token
    }

    /// A CONNECT with a fresh proof.
    pub fn connect(&self, broker: &Broker) -> Connect {
        let id = self.identity.device.as_str();
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
        let (mut step, mut due) = (Step::Ask, Timer::after(self.refresh_wait()));
        loop {
            tokio::select! {
                event = link.next() => match event {
                    Incoming::Closed(closed) => return End::Closed(closed),
                    event => match (self.take(event, duty, world, step), step) {
                        (Taken::Token, _) => {
                            step = Step::Ask;
                            due = Timer::after(self.refresh_wait());
                        }
                        (Taken::Busy, Step::AskByRest(_)) => due = Timer::after(Duration::ZERO),
                        (Taken::Busy, Step::Ask | Step::HandIn) => {
                            step = Step::HandIn;
                            due = Timer::after(self.jitter(limits::HAND_IN_AGAIN));
                        }
                        (Taken::Nothing, _) => {}
                    },
                },
                () = &mut tick.0 => {
                    duty.tick(&link, &world.tally);
                    tick = Timer::after(self.habits.tick);
                }
                () = &mut due.0 => {
                    let wait;
                    (step, wait) = self.see_to_token(&link, world, step).await;
                    due = Timer::after(wait);
                }
                () = stop.stopping() => { link.close().await; return End::Stopped; }
            }
        }
    }

    /// Takes a step, and tells the next and how long it has.
    async fn see_to_token(&mut self, link: &Link, world: &World, step: Step) -> (Step, Duration) {
        match step {
            Step::Ask if self.habits.refresh_over_mqtt => {
                let next = self.ask(link).map_or(Step::Ask, Step::AskByRest);
                return (next, self.patience());
            }
            Step::Ask | Step::AskByRest(_) => {
                if matches!(step, Step::AskByRest(_)) {
                    // A failure only if REST has no answer either.
                    world.tally.asked_twice.one();
                }
                if self.refresh_by_rest(world).await {
                    self.hand_in(link, world);
                }
            }
            Step::HandIn => self.hand_in(link, world),
        }
        (Step::Ask, self.refresh_wait())
    }

    /// A symmetric token cannot be handed in: nothing on this connection has proved its key.
    fn hand_in(&self, link: &Link, world: &World) {
        let can = self.token.key.is_none();
        if can && link.publish(TOKEN_TOPIC, true, self.token.bytes.clone()).is_err() {
            world.tally.failure("queue_full");
        }
    }

    /// Takes one event in.
    fn take(&mut self, event: Incoming, duty: &mut dyn Duty, world: &World, step: Step) -> Taken {
        match event {
            Incoming::Message { topic, payload } if topic == TOKEN_TOPIC => {
                return self.take_token(&payload, world, step);
            }
            Incoming::Message { topic, payload } => duty.message(&topic, &payload, &world.tally),
            Incoming::Published => world.tally.acknowledged.one(),
            Incoming::PublishRefused(why) => world.tally.failure(&format!("publish:{why}")),
            Incoming::SubscribeRefused(why) => world.tally.failure(&format!("subscribe:{why}")),
            Incoming::Subscribed => world.tally.subscribed.one(),
            Incoming::Closed(_) => {}
        }
        Taken::Nothing
    }

    fn take_token(&mut self, payload: &[u8], world: &World, step: Step) -> Taken {
        match token_answer(payload, &self.clock, self.opens.as_ref()) {
            Ok(answer) => {
                self.opens = None;
                let now = self.clock.monotonic();
                let started = if let Step::AskByRest(asked) = step { asked } else { now };
                self.hold(HeldToken::of(&answer), world, now.saturating_sub(started));
                world.tally.refreshed_by_mqtt.one();
                Taken::Token
            }
            // A nonce to sign instead of the time: over REST at once.
            Err(error) if error.is_temporary() || self.clock.has_nonce() => Taken::Busy,
            Err(error) => {
                world.tally.failure(&error.kind());
                Taken::Nothing
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

    fn ask(&mut self, link: &Link) -> Option<Duration> {
        let asked =
            token_request(&self.identity, &self.clock, &*self.random, self.habits.token).ok()?;
        link.publish(TOKEN_TOPIC, true, asked.bytes).ok()?;
        self.opens = asked.opens;
        Some(self.clock.monotonic())
    }

    /// Whether it has a new token.
    async fn refresh_by_rest(&mut self, world: &World) -> bool {
        let started = self.clock.monotonic();
        let random: &dyn Random = &*self.random;
        match world.api.token(&self.identity, &self.clock, random, self.habits.token).await {
            Ok(answer) => {
                let took = self.clock.monotonic().saturating_sub(started);
                self.hold(HeldToken::of(&answer), world, took);
                true
            }
            Err(error) => {
                world.tally.failure(&error.kind());
                false
            }
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

#[cfg(test)]
mod tests;
