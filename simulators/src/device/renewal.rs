//! How a connected device renews its token: at about 70 % of its life over `$tessera/token`; over REST when that has no
//! answer in time or finds no room, and then it hands the new token in, because the session ends with the token that the
//! broker knows. A token that provisioning pushes comes before; then the device asks later, when the next one is missing.

use std::pin::Pin;
use std::time::Duration;

use tessera_runtime::random::{self, Random};
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::messages::{TokenAnswer, TokenKind};
use tessera_token::seal::OpeningKey;
use tokio::time::{sleep, Sleep};

use super::api::{longer, token_answer, token_request, ApiError, DeviceApi};
use super::clock::DeviceClock;
use super::credential::HeldToken;
use super::identity::Identity;
use super::unverified_claims::unverified_claims;
use crate::limits;
use crate::mqtt::{Link, NotSent};

/// The control topic for tokens.
pub const TOKEN_TOPIC: &str = "$tessera/token";

/// Share of a token's life after which it is renewed, in percent, unless a device has another habit.
pub const RENEW_PERCENT: u64 = 70;

/// The same for a token that was pushed: the next one comes before, unless push is away.
pub const PUSHED_PERCENT: u64 = 85;

/// A device, as far as its token is renewed.
pub struct Holder<'a> {
    /// Its identity.
    pub identity: &'a Identity,
    /// Its clock, which each new token sets.
    pub clock: &'a DeviceClock,
    /// Its randomness.
    pub random: &'a dyn Random,
    /// Provisioning.
    pub api: &'a DeviceApi,
    /// The token that it holds.
    pub token: &'a HeldToken,
    /// The kind that it asks for.
    pub kind: TokenKind,
}

/// A connection, as far as tokens travel on it.
pub trait TokenLink: Sync {
    /// Queues a payload for [`TOKEN_TOPIC`].
    ///
    /// # Errors
    /// [`NotSent`].
    fn send_token(&self, payload: Vec<u8>) -> Result<(), NotSent>;
}

impl TokenLink for Link {
    fn send_token(&self, payload: Vec<u8>) -> Result<(), NotSent> {
        self.publish(TOKEN_TOPIC, true, payload)
    }
}

/// Outcome of a step.
pub enum News {
    /// Something was published on [`TOKEN_TOPIC`], which will be acknowledged.
    Asked,
    /// A new token.
    Token {
        /// The token.
        token: HeldToken,
        /// How long it took.
        took: Duration,
        /// Whether it came over MQTT.
        over_mqtt: bool,
        /// Whether it was pushed, and not asked for.
        pushed: bool,
    },
    /// No answer came over MQTT, and REST is asked: a failure only if that has none either.
    AskedTwice,
    /// Provisioning refuses or is away.
    Failed(ApiError),
    /// The queue of the connection is full.
    QueueFull,
}

/// Step for the token when its time comes.
#[derive(Clone, Copy)]
enum Step {
    /// It asks for the next one.
    Ask,
    /// It asked over MQTT at this time, and asks over REST.
    AskByRest(Duration),
    /// It gives the broker what came over REST.
    HandIn,
}

/// The renewal on one connection.
pub struct Renewal {
    percent: u64,
    over_mqtt: bool,
    step: Step,
    due: Pin<Box<Sleep>>,
    /// Whether a request or a token was published whose answer has not come.
    is_open: bool,
    /// The key that opens the answer to the request that was published last.
    opens: Option<OpeningKey>,
    /// The least wait after a failure.
    pause: Duration,
}

impl Renewal {
    /// Of the token that is held, after this share of its life; over MQTT first, or over REST alone.
    pub fn new(percent: u64, over_mqtt: bool, holder: &Holder<'_>) -> Self {
        let due = Box::pin(sleep(wait(percent, holder.token, holder)));
        let (step, pause) = (Step::Ask, limits::BACKOFF.0);
        Self { percent, over_mqtt, step, due, is_open: false, opens: None, pause }
    }

    /// The next step is due now: the broker is given the token that is held, which came another way.
    pub fn hand_in_next(&mut self) {
        self.step = Step::HandIn;
        self.after(Duration::ZERO);
    }

    /// From now on REST alone is asked: no answer comes over MQTT.
    pub fn by_rest_alone(&mut self) {
        self.over_mqtt = false;
    }

    /// Until the next step is due. Cancel-safe.
    pub async fn due(&mut self) {
        self.due.as_mut().await;
    }

    /// Takes the step that is due.
    pub async fn act(&mut self, link: &impl TokenLink, holder: &Holder<'_>) -> Vec<News> {
        let mut news = Vec::new();
        match self.step {
            Step::Ask if self.over_mqtt => {
                let asked = self.ask(link, holder);
                self.step = asked.map_or(Step::Ask, Step::AskByRest);
                self.after(patience(holder.token));
                news.extend(asked.map(|_| News::Asked));
                return news;
            }
            Step::Ask | Step::AskByRest(_) => {
                if matches!(self.step, Step::AskByRest(_)) {
                    news.push(News::AskedTwice);
                }
                self.ask_by_rest(link, holder, &mut news).await;
            }
            Step::HandIn => {
                self.hand_in(link, holder.token, &mut news);
                self.after(wait(self.percent, holder.token, holder));
            }
        }
        self.step = Step::Ask;
        news
    }

    /// Takes a message on [`TOKEN_TOPIC`].
    pub fn take(&mut self, payload: &[u8], holder: &Holder<'_>) -> Option<News> {
        // An answer to nothing: the peer would choose token and time.
        if !std::mem::take(&mut self.is_open) {
            return self.take_pushed(payload, holder);
        }
        match token_answer(payload, holder.clock, self.opens.as_ref()) {
            Ok(answer) => {
                self.opens = None;
                self.pause = limits::BACKOFF.0;
                let now = holder.clock.monotonic();
                let started = if let Step::AskByRest(asked) = self.step { asked } else { now };
                let token = HeldToken::of(&answer);
                self.step = Step::Ask;
                self.after(wait(self.percent, &token, holder));
                let took = now.saturating_sub(started);
                Some(News::Token { token, took, over_mqtt: true, pushed: false })
            }
            // A nonce to sign instead of the time: over REST at once.
            Err(error) if error.is_temporary() || holder.clock.has_nonce() => {
                match self.step {
                    Step::AskByRest(_) => self.after(Duration::ZERO),
                    Step::Ask | Step::HandIn => {
                        self.step = Step::HandIn;
                        self.after(jitter(limits::HAND_IN_AGAIN, holder.random));
                    }
                }
                None
            }
            Err(error) => Some(News::Failed(error)),
        }
    }

    /// Takes a token that provisioning pushed. It sets no clock: nothing was asked, so the peer could choose its time.
    fn take_pushed(&mut self, payload: &[u8], holder: &Holder<'_>) -> Option<News> {
        let token = pushed(&TokenAnswer::from_cbor(payload).ok()?, holder)?;
        self.opens = None;
        self.pause = limits::BACKOFF.0;
        self.step = Step::Ask;
        self.after(wait(self.percent.max(PUSHED_PERCENT), &token, holder));
        Some(News::Token { token, took: Duration::ZERO, over_mqtt: true, pushed: true })
    }

    fn ask(&mut self, link: &impl TokenLink, holder: &Holder<'_>) -> Option<Duration> {
        let Holder { identity, clock, random, kind, .. } = holder;
        let asked = token_request(identity, clock, *random, *kind).ok()?;
        link.send_token(asked.bytes).ok()?;
        self.opens = asked.opens;
        self.is_open = true;
        Some(clock.monotonic())
    }

    async fn ask_by_rest(
        &mut self,
        link: &impl TokenLink,
        holder: &Holder<'_>,
        news: &mut Vec<News>,
    ) {
        match by_rest(holder).await {
            Ok((token, took)) => {
                self.pause = limits::BACKOFF.0;
                self.hand_in(link, &token, news);
                self.after(wait(self.percent, &token, holder));
                news.push(News::Token { token, took, over_mqtt: false, pushed: false });
            }
            Err(error) => {
                let pause = jitter(self.pause, holder.random);
                self.pause = longer(self.pause);
                self.after(wait(self.percent, holder.token, holder).max(pause));
                news.push(News::Failed(error));
            }
        }
    }

    fn hand_in(&mut self, link: &impl TokenLink, token: &HeldToken, news: &mut Vec<News>) {
        let handed_in = hand_in(link, token);
        self.is_open |= matches!(handed_in, Some(News::Asked));
        news.extend(handed_in);
    }

    fn after(&mut self, wait: Duration) {
        self.due = Box::pin(sleep(wait));
    }
}

/// The token of an answer that nothing asked for, when it can be the next one of this device: bound to its key, later than
/// the one that it holds, and of the present by the clock that the device has. The broker has verified it; a token that a
/// stranger made is good nowhere, and the device asks for another when it is refused.
fn pushed(answer: &TokenAnswer, holder: &Holder<'_>) -> Option<HeldToken> {
    let Holder { identity, clock, token: held, kind, .. } = holder;
    let claims = unverified_claims(&answer.access_token)?;
    let is_plain = *kind == TokenKind::Key && !answer.bearer && answer.key.is_none();
    let is_own = claims.tenant == identity.tenant && claims.device == identity.device;
    // Without a key in it the token names the key, or refers to it.
    let is_bound = claims.confirmation.is_none_or(|key| key == identity.key.public());
    let off = claims.issued.get().abs_diff(clock.now().get());
    let mut token = HeldToken::of(answer);
    token.received = claims.issued;
    token.expires = claims.expires;
    let is_next = off <= 2 * PROOF_WINDOW_SECONDS && token.expires > held.expires;
    (is_plain && is_own && is_bound && is_next).then_some(token)
}

/// A new token over REST, and how long it took.
///
/// # Errors
/// [`ApiError`].
pub async fn by_rest(holder: &Holder<'_>) -> Result<(HeldToken, Duration), ApiError> {
    let started = holder.clock.monotonic();
    let Holder { identity, clock, random, api, kind, .. } = holder;
    let answer = api.token(identity, clock, *random, *kind).await?;
    Ok((HeldToken::of(&answer), clock.monotonic().saturating_sub(started)))
}

/// A symmetric token cannot be handed in: nothing on this connection has proved its key.
fn hand_in(link: &impl TokenLink, token: &HeldToken) -> Option<News> {
    if token.key.is_some() {
        return None;
    }
    let sent = link.send_token(token.bytes.clone());
    Some(sent.map_or(News::QueueFull, |()| News::Asked))
}

/// This share of the life after the token was received, give or take 5 %.
fn wait(percent: u64, token: &HeldToken, holder: &Holder<'_>) -> Duration {
    let life = Duration::from_secs(token.life()).as_secs_f64();
    let share = percent as f64 / 100.0 - 0.05 + 0.1 * fraction(holder.random);
    let age = holder.clock.now().since(token.received) as f64;
    Duration::from_secs_f64((life * share - age).max(0.2))
}

/// How long an answer on [`TOKEN_TOPIC`] is waited for before REST is asked.
fn patience(token: &HeldToken) -> Duration {
    let tenth = Duration::from_secs(token.life()) / 10;
    tenth.clamp(Duration::from_secs(1), limits::ANSWER)
}

/// Half to one and a half of `wait`.
pub fn jitter(wait: Duration, random: &dyn Random) -> Duration {
    Duration::from_secs_f64(wait.as_secs_f64() * (0.5 + fraction(random)))
}

/// A number from 0 to 1.
pub fn fraction(random: &dyn Random) -> f64 {
    let number = random::number(random).unwrap_or(u64::MAX / 2);
    (number >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use tessera_runtime::clock::ManualClock;
    use tessera_runtime::random::SystemRandom;

    use super::*;
    use crate::device::tests::{answer_until, identity, NOW};

    /// The token of this answer, as the device of `identity` takes it when it holds another one.
    fn taken(answer: &TokenAnswer, kind: TokenKind) -> Option<HeldToken> {
        let identity = identity();
        let clock = DeviceClock::new(ManualClock::at(NOW), 0);
        let api = DeviceApi::new("http://127.0.0.1:9").unwrap();
        let held = HeldToken::of(&answer_until(&identity, NOW, 60));
        let random = SystemRandom;
        let (clock, random, token) = (&clock, &random as &dyn Random, &held);
        let holder = Holder { identity: &identity, clock, random, api: &api, token, kind };
        pushed(answer, &holder)
    }

    #[test]
    fn a_pushed_token_is_taken_when_it_can_be_the_next_one_of_the_device() {
        let (own, key) = (identity(), TokenKind::Key);
        let next = answer_until(&own, NOW, 900);
        let token = taken(&next, key).unwrap();
        assert_eq!((token.bytes, token.expires), (next.access_token.clone(), NOW.plus(900)));
        assert!(taken(&answer_until(&own, NOW, 60), key).is_none(), "it is no later one");
        let bearer = TokenAnswer { bearer: true, ..next.clone() };
        assert!(taken(&bearer, key).is_none() && taken(&next, TokenKind::Bearer).is_none());
        let other_time = answer_until(&own, NOW.plus(121), 900);
        assert!(taken(&other_time, key).is_none(), "the peer would choose the time");
        let mut other = own.clone();
        other.key = tessera_token::key::SecretKey::from_seed(&[5; 32]);
        assert!(taken(&answer_until(&other, NOW, 900), key).is_none(), "another key");
        let other = Identity { device: "d-2".parse().unwrap(), ..own };
        assert!(taken(&answer_until(&other, NOW, 900), key).is_none(), "another device");
        let nonsense = TokenAnswer { access_token: vec![1; 80], ..next };
        assert!(taken(&nonsense, key).is_none());
    }
}
