//! One device: its acts, one after the other, and the token with which it goes on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::stop::Stop;
use tessera_token::refusal::RefusalCode;
use tokio::sync::{mpsc, OwnedSemaphorePermit};
use tokio::time::sleep;

use super::act::{Act, Opening, Order};
use super::limits;
use super::outsider;
use super::session::Session;
use super::stage::Stage;
use crate::device::life::Device;
use crate::device::renewal::{fraction, RENEW_PERCENT};
use crate::mqtt::{Connect, Link, Session as Kept, Version};

/// An act, when it is due, and its place among those that wait.
pub(super) struct Queued {
    pub(super) act: Act,
    pub(super) due: Duration,
    pub(super) _room: OwnedSemaphorePermit,
}

/// A session that the world has opened and not closed.
struct Seat {
    opening: Opening,
    session: Option<Session>,
    /// Not before this time is it opened again, and the wait that follows.
    again: (Duration, Duration),
}

/// See the module.
pub(super) struct Player {
    device: Device,
    stage: Arc<Stage>,
    seats: BTreeMap<u64, Seat>,
    /// The last CONNECT that was let in.
    former: Option<Connect>,
    was_in: bool,
    /// When the token is to be renewed, by the clock of the process.
    renew_at: Duration,
}

impl Player {
    pub(super) fn new(device: Device, stage: &Arc<Stage>) -> Self {
        let renew_at = stage.now() + renewal(&device);
        let stage = Arc::clone(stage);
        Self { device, stage, seats: BTreeMap::new(), former: None, was_in: false, renew_at }
    }

    /// Acts until no more acts come or `stop`; then all connections are left.
    pub(super) async fn live(mut self, mut acts: mpsc::Receiver<Queued>, stop: Stop) {
        loop {
            let renewal = self.renew_at.saturating_sub(self.stage.now());
            tokio::select! {
                queued = acts.recv() => {
                    let Some(Queued { act, due, _room }) = queued else { break };
                    self.stage.late.observe(self.stage.now().saturating_sub(due));
                    self.act(act).await;
                }
                () = sleep(renewal), if !self.seats.is_empty() => self.renew().await,
                () = stop.stopping() => break,
            }
        }
        for session in self.seats.into_values().filter_map(|seat| seat.session) {
            session.give(Order::Leave).await;
        }
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Open { session, opening } => {
                if self.seats.len() >= limits::SESSIONS {
                    return self.stage.leave_out();
                }
                let seat =
                    Seat { opening, session: None, again: (Duration::ZERO, limits::AGAIN.0) };
                self.seats.insert(session, seat);
                self.open(session).await;
            }
            Act::Close { session, clean } => {
                let open = self.seats.remove(&session).and_then(|seat| seat.session);
                if let (Some(session), true) = (open, clean) {
                    session.give(Order::Leave).await;
                }
            }
            Act::Order { session, order } => {
                let Some(seat) = self.seats.get(&session) else { return self.stage.leave_out() };
                if seat.session.as_ref().is_none_or(Session::is_gone) {
                    if self.stage.now() < seat.again.0 {
                        return self.stage.leave_out();
                    }
                    self.stage.reopened.fetch_add(1, Ordering::Relaxed);
                    self.open(session).await;
                }
                match self.seats.get(&session).and_then(|seat| seat.session.as_ref()) {
                    Some(open) => open.give(order).await,
                    None => self.stage.leave_out(),
                }
            }
            Act::Skip(places) => self.device.skip(places),
            Act::Outside { code, from } => self.outside(code, from),
        }
    }

    /// Opens the connection of a seat.
    async fn open(&mut self, number: u64) {
        let Some(seat) = self.seats.get(&number) else { return };
        let stage = Arc::clone(&self.stage);
        let (world, tally) = (&stage.world, stage.tally());
        if !self.device.token().is_good(self.device.clock.now(), 2) {
            self.device.refresh_by_rest(world).await;
            self.renew_at = stage.now() + renewal(&self.device);
        }
        let client = format!("{}{}", self.device.identity.device, seat.opening.suffix);
        let broker = world.broker.clone().reached_from(seat.opening.from);
        let Ok(permit) = world.gangway.acquire().await else { return };
        let connect = Connect {
            version: Version::V5,
            keep_alive: self.keep_alive(&seat.opening),
            // A client program is told by the properties of its CONNECT, too.
            session: Kept { clean: true, expiry: (seat.opening.software >> 1) & 1 },
            ..self.device.connect_as(&client, &broker)
        };
        let opened = Link::open(&connect).await;
        drop(permit);
        let now = stage.now();
        let Some(seat) = self.seats.get_mut(&number) else { return };
        let wait = seat.again.1;
        seat.again = (now + wait, (wait * 2).min(limits::AGAIN.1));
        match opened {
            Ok(link) => {
                tally.connections.one();
                if !std::mem::replace(&mut self.was_in, true) {
                    tally.connected.one();
                }
                seat.session = Some(Session::begin(link, tally));
                self.former = Some(connect);
            }
            Err(closed) => {
                seat.session = None;
                // Sessions beside the device's own are those of attacks: the broker may have no share for them.
                match seat.opening.suffix.is_empty() {
                    true => tally.failure(&closed.kind()),
                    false => tally.refusal(&closed.kind()),
                }
            }
        }
    }

    /// The keep-alive of the scenario in the time of the run, a little different for each client program.
    fn keep_alive(&self, opening: &Opening) -> Duration {
        if matches!(opening.keep_alive, 0 | u16::MAX) {
            return Duration::from_secs(opening.keep_alive.into());
        }
        let seconds =
            (f64::from(opening.keep_alive) / self.stage.plan.speed).max(limits::KEEP_ALIVE);
        Duration::from_secs(seconds as u64 + u64::from((opening.software >> 8) & 7))
    }

    /// Tries the token without its key; the device goes on meanwhile.
    fn outside(&self, code: RefusalCode, from: Option<IpAddr>) {
        let broker = &self.stage.world.broker;
        let connect = outsider::stolen(&self.device, self.former.as_ref(), code, broker);
        let room = Arc::clone(&self.stage.outsiders).try_acquire_owned();
        let (Some(connect), Ok(room)) = (connect, room) else { return self.stage.leave_out() };
        let tally = Arc::clone(self.stage.tally());
        tokio::spawn(async move {
            outsider::attempt(connect, from, "outside", &tally).await;
            drop(room);
        });
    }

    /// Gets the next token, and hands it to each connection: a session ends with the token that the broker knows.
    async fn renew(&mut self) {
        let stage = Arc::clone(&self.stage);
        let former = self.device.token().bytes.clone();
        self.device.refresh_by_rest(&stage.world).await;
        self.renew_at = stage.now() + renewal(&self.device);
        let token = self.device.token().bytes.clone();
        if token == former {
            return;
        }
        for session in self.seats.values().filter_map(|seat| seat.session.as_ref()) {
            session.give(Order::Token(token.clone())).await;
        }
    }
}

/// How long the token is used before it is renewed; some seconds when that is over.
fn renewal(device: &Device) -> Duration {
    let token = device.token();
    let life = token.life() as f64 * RENEW_PERCENT as f64 / 100.0;
    let age = device.clock.now().since(token.received) as f64;
    Duration::from_secs_f64((life - age).max(3.0) + 2.0 * fraction(&*device.random))
}
