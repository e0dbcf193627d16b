//! Publishes each line of the input and prints each message, until the input ends and everything is acknowledged. The
//! token is renewed meanwhile, and a connection that was lost is made again; what was not acknowledged is sent again then.

use std::collections::VecDeque;
use std::time::Duration;

use tessera_runtime::random::SystemRandom;
use tessera_simulators::device::api::longer;
use tessera_simulators::device::renewal::{jitter, News, Renewal, RENEW_PERCENT, TOKEN_TOPIC};
use tessera_simulators::limits;
use tessera_simulators::mqtt::{Closed, Incoming, Link};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use super::super::enrol::clock;
use super::super::folder::Folder;
use super::super::holding::Holding;
use super::super::token::kind;
use super::line::Line;
use crate::error::{Fault, Outcome};
use crate::{output, time};

/// A connection that lasted so long was good: the next attempt begins without a wait again. Two clients of one client id,
/// which take the connection from each other, therefore slow down.
const LASTED: Duration = Duration::from_secs(30);

/// Connections in a row that may end without an acknowledgement: a broker may end the connection because of the publish.
const IN_VAIN: u32 = 3;

/// The input, and what is under way.
pub(super) struct Relay<'a> {
    line: &'a Line<'a>,
    input: Lines<BufReader<Stdin>>,
    open: bool,
    /// Messages that were published and are not acknowledged, in its order: lines, and requests for tokens (none).
    under_way: VecDeque<Option<Vec<u8>>>,
    published: u64,
    refused: u64,
    /// Connections in a row that ended without an acknowledgement of what was under way.
    in_vain: u32,
}

/// Why a connection is over.
enum Over {
    /// The input has ended and everything is acknowledged, or the user ends it.
    Done,
    Closed(Closed),
}

/// Keeps a new token for the next connection and for other commands. How many publishes of its own are under way.
fn heed(holding: &mut Holding, news: impl IntoIterator<Item = News>, folder: &Folder) -> usize {
    let mut asked = 0;
    for one in news {
        match one {
            News::Asked => asked += 1,
            News::Token { token, .. } => {
                let life = token.life();
                output::complain(&match holding.take(token, folder) {
                    Ok(()) => format!("the token is renewed, for {}", time::span(life)),
                    Err(fault) => format!("the token is renewed and cannot be kept: {fault}"),
                });
            }
            News::Failed(error) => output::complain(&format!("no new token: {error}")),
            // REST is asked; the next step comes by itself.
            News::AskedTwice | News::QueueFull => {}
        }
    }
    asked
}

impl<'a> Relay<'a> {
    pub(super) fn new(line: &'a Line<'a>) -> Self {
        let input = BufReader::new(tokio::io::stdin()).lines();
        Self {
            line,
            input,
            open: true,
            under_way: VecDeque::new(),
            published: 0,
            refused: 0,
            in_vain: 0,
        }
    }

    /// Until the input ends, the user ends it, or the device is refused for good.
    pub(super) async fn run(mut self, first: Link) -> Outcome {
        let mut next = Some(first);
        let mut wait = limits::BACKOFF.0;
        let watch = clock(&self.line.card);
        loop {
            let began = watch.monotonic();
            let why = match next.take() {
                Some(link) => match self.attend(link).await {
                    Ok(Over::Done) => return Ok(self.told()),
                    Ok(Over::Closed(closed)) if is_taken(&closed) => {
                        return Err(Fault::new(closed.to_string())
                            .hint("another client connected with the same client id"))
                    }
                    Ok(Over::Closed(closed)) => self.ended(&closed)?,
                    Err(fault) if fault.is_passing() => fault.words().to_owned(),
                    Err(fault) => return Err(fault),
                },
                None => match self.line.open().await {
                    Ok(link) => {
                        next = Some(link);
                        continue;
                    }
                    Err(end) if end.is_passing() => end.told(self.line.folder).words().to_owned(),
                    Err(end) => return Err(end.told(self.line.folder)),
                },
            };
            if watch.monotonic().saturating_sub(began) > LASTED {
                wait = limits::BACKOFF.0;
            }
            let pause = jitter(wait, &SystemRandom);
            wait = longer(wait);
            output::complain(&format!("{why}; connecting again"));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = tokio::signal::ctrl_c() => return Ok(self.told()),
            }
        }
    }

    /// How the connection ended; a fault when what is under way ends it each time.
    fn ended(&mut self, closed: &Closed) -> Result<String, Fault> {
        let lines = self.under_way.iter().flatten().count();
        self.in_vain = if lines > 0 { self.in_vain + 1 } else { 0 };
        match self.in_vain < IN_VAIN {
            true => Ok(closed.to_string()),
            false => Err(Fault::new(format!(
                "{closed}: the connection ended {IN_VAIN} times before the broker acknowledged a \
                    message"
            ))
            .hint(
                "a publish outside the scope may end a 3.1.1 connection: tessera device doctor \
                --topic TOPIC tries it",
            )),
        }
    }

    /// Tells what became of the lines; the exit code.
    fn told(&self) -> u8 {
        output::complain(&format!("the broker acknowledged {} messages", self.published));
        let left = self.under_way.iter().flatten().count();
        if left > 0 {
            output::complain(&format!("{left} messages were sent and not acknowledged"));
        }
        u8::from(left > 0 || self.refused > 0)
    }

    /// One connection, until it is over.
    async fn attend(&mut self, mut link: Link) -> Result<Over, Fault> {
        let mut holding = Holding::of(self.line.folder)?;
        self.line.subscribe(&mut link, !holding.token.bearer).await?;
        let topic = self.line.topic()?;
        self.under_way.retain(Option::is_some);
        for payload in self.under_way.iter().flatten() {
            if !publish(&link, topic.as_deref(), payload)? {
                return Ok(not_sent());
            }
        }
        // A connection that a bearer token let in renews nothing: the next token is for the next connection.
        let over_mqtt = !holding.token.bearer;
        let mut renewal =
            Renewal::new(RENEW_PERCENT, over_mqtt, &holding.holder(kind(self.line.folder)));
        while self.open || !self.under_way.is_empty() {
            let room = self.open && self.under_way.len() < usize::from(limits::IN_FLIGHT);
            tokio::select! {
                event = link.next() => match event {
                    Incoming::Closed(closed) => return Ok(Over::Closed(closed)),
                    Incoming::Message { topic, payload } if topic == TOKEN_TOPIC => {
                        let news = renewal.take(&payload, &holding.holder(kind(self.line.folder)));
                        self.asked(heed(&mut holding, news, self.line.folder));
                    }
                    event => self.take(event),
                },
                line = self.input.next_line(), if room => match line? {
                    Some(line) => {
                        let sent = publish(&link, topic.as_deref(), line.as_bytes())?;
                        self.under_way.push_back(Some(line.into_bytes()));
                        if !sent {
                            return Ok(not_sent());
                        }
                    }
                    None => self.open = false,
                },
                () = renewal.due() => {
                    let news = renewal.act(&link, &holding.holder(kind(self.line.folder))).await;
                    self.asked(heed(&mut holding, news, self.line.folder));
                }
                _ = tokio::signal::ctrl_c() => break,
            }
        }
        link.close().await;
        Ok(Over::Done)
    }

    fn asked(&mut self, publishes: usize) {
        self.under_way.extend(std::iter::repeat_n(None, publishes));
    }

    fn take(&mut self, event: Incoming) {
        match event {
            Incoming::Message { topic, payload } => self.line.print(&topic, &payload),
            Incoming::Published => {
                let line = self.under_way.pop_front().flatten();
                self.published += u64::from(line.is_some());
                self.in_vain = 0;
            }
            Incoming::PublishRefused(why) => {
                self.under_way.pop_front();
                self.in_vain = 0;
                self.refused += 1;
                output::complain(&format!("publish refused: {why}"));
            }
            Incoming::Subscribed
            | Incoming::Completed
            | Incoming::SubscribeRefused(_)
            | Incoming::Closed(_) => {}
        }
    }
}

/// Whether it is on its way. The connection may be gone before its end was heard of.
fn publish(link: &Link, topic: Option<&str>, payload: &[u8]) -> Result<bool, Fault> {
    let topic = topic.ok_or_else(|| Fault::new("say where to publish: --topic TOPIC"))?;
    Ok(link.publish(topic, true, payload.to_vec()).is_ok())
}

fn not_sent() -> Over {
    Over::Closed(Closed::Lost("it takes nothing more".to_owned()))
}

/// Whether another client took the connection over.
fn is_taken(closed: &Closed) -> bool {
    matches!(closed, Closed::Disconnected(reason) if reason == "session_taken_over")
}
