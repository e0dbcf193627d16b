//! The life of an authenticated connection: read, step, write, wait.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tessera_agent::behaviour::Observation;

use super::challenge::Method;
use super::enhanced_auth::Reauthentication;
use super::open_session::Joined;
use super::retained::Unsent;
use super::Place;
use super::{buffers, disconnect};
use crate::codec::{
    self, Auth, CodecError, Frame, FrameReader, Kind, Packet, Peer, Recipient, Step,
};
use crate::hub::Hub;
use crate::limits::{MISSED_TOLD, PACKETS_PER_TURN, READ_CHUNK, WRITE_BATCH};
use crate::metrics::qos_label;
use crate::routing::{Delivery, OutboxReader, Rest};
use crate::session::state_machine::{ControlEffect, Delivered, Effect, End, SendState};
use crate::session::{ConnectionHandle, Now, Session, Stepped};
use crate::transport::Stream;

pub(super) struct Connection {
    pub(super) hub: Arc<Hub>,
    pub(super) session: Arc<Session>,
    pub(super) handle: Arc<ConnectionHandle>,
    pub(super) reader: OutboxReader,
    to: Recipient,
    pub(super) explain: bool,
    pub(super) out: BytesMut,
    pub(super) stream: Stream,
    inbox: BytesMut,
    scratch: Vec<Delivery>,
    /// Size that the next packet still lacks, in KiB. A `u16` fits beside the flags, so that an idle connection stays
    /// small.
    wants: u16,
    /// Commit that must be durable before `out` is written; 0 for none.
    owed: u64,
    /// Retained messages that new subscriptions have still to be sent.
    pub(super) unsent: Option<Box<Unsent>>,
    /// One look at the clock for all that is done without waiting.
    pub(super) now: Now,
    pub(super) send_state: SendState,
    /// The head of `out` is the rest of a packet, or nothing whole has left so far: a CONNACK comes first.
    torn: bool,
    /// Several deliveries of QoS 0 went out together last time. Others are paced by their acknowledgements.
    pub(super) streaming: bool,
    place: Place,
    /// The method of enhanced authentication that the CONNECT named.
    pub(super) method: Option<Method>,
    pub(super) reauthentication: Option<Box<Reauthentication>>,
    /// When losses were reported last, in monotonic time.
    told_missed: Duration,
    /// Before this monotonic time nothing more of the client is read: its rate is held down.
    pub(super) paused: Option<Duration>,
}

/// How far a packet was handled.
enum Handled {
    Wholly,
    /// Some effects are left, which may have to wait.
    UpTo(Box<Left>),
    End(End),
}

/// The part of a packet that was not handled yet.
enum Left {
    Effects(Option<Rest>, Vec<Effect>),
    Auth(Auth),
}

impl Connection {
    /// A connection that has its CONNACK still to send.
    pub(super) fn new(
        hub: Arc<Hub>,
        stream: Stream,
        joined: Joined,
        inbox: BytesMut,
        place: Place,
    ) -> Self {
        let Joined { session, handle, reader, ack, to, explain, owed, method } = joined;
        let now = hub.now();
        let mut connection = Self {
            hub,
            session,
            handle,
            reader,
            to,
            explain,
            out: buffers::to_write(),
            stream,
            inbox,
            scratch: Vec::new(),
            wants: 0,
            owed,
            unsent: None,
            now,
            // Deliveries that an earlier connection left unacknowledged are found by the first round of deliveries.
            send_state: SendState::ResendPending,
            torn: true,
            streaming: false,
            place,
            method,
            reauthentication: None,
            told_missed: Duration::ZERO,
            paused: None,
        };
        connection.send(&Packet::ConnAck(ack));
        connection
    }

    pub(super) async fn live(&mut self) -> End {
        let mut end = self.packets().await;
        loop {
            if let Some(end) = end.or_else(|| self.handle.ended()) {
                return end;
            }
            end = self.deliveries();
            if end.is_none() {
                end = self.settle().await.or_else(|| self.flush());
            }
            if end.is_none() {
                end = self.wait().await;
            }
            if end.is_none() {
                end = self.packets().await;
            }
        }
    }

    /// Handles every whole packet that is there.
    async fn packets(&mut self) -> Option<End> {
        let reader = FrameReader::new(self.hub.policy.max_packet);
        let mut handled = 0;
        loop {
            if self.is_paused() {
                return None;
            }
            match reader.next(&mut self.inbox) {
                Ok(Step::Frame(frame)) => match self.packet(&frame) {
                    Handled::Wholly => {}
                    // Boxed: it would take room in the task of every idle connection.
                    Handled::UpTo(left) => {
                        if let Some(end) = Box::pin(self.go_on(left)).await {
                            return Some(end);
                        }
                        self.now = self.hub.now();
                    }
                    Handled::End(end) => return Some(end),
                },
                Ok(Step::NeedMore(bytes)) => {
                    self.wants = u16::try_from(bytes.div_ceil(1024)).unwrap_or(u16::MAX);
                    break;
                }
                Err(error) => return Some(self.broken(error)),
            }
            handled += 1;
            if handled % PACKETS_PER_TURN == 0 {
                tokio::task::yield_now().await;
                self.now = self.hub.now();
            }
            if self.out.len() > WRITE_BATCH {
                if let Some(end) = self.settle().await.or_else(|| self.flush()) {
                    return Some(end);
                }
            }
        }
        buffers::after_reading(&mut self.inbox, usize::from(self.wants) * 1024);
        None
    }

    /// Does what can be done without waiting, which is all that nearly every packet needs.
    fn packet(&mut self, frame: &Frame) -> Handled {
        let packet = match codec::decode(frame, self.to.version(), Peer::Client) {
            Ok(Packet::Auth(auth)) => {
                let at = self.now.monotonic;
                self.session.with_machine(&self.handle, |machine| machine.heard(at));
                return Handled::UpTo(Box::new(Left::Auth(auth)));
            }
            Ok(packet) => packet,
            // [MQTT-3.1.0-2], whatever stands in it: some codes for it are not for a DISCONNECT.
            Err(_) if frame.kind == Kind::Connect => {
                return Handled::End(self.broken(CodecError::protocol("second_connect")));
            }
            Err(error) => return Handled::End(self.broken(error)),
        };
        if matches!(packet, Packet::PingReq) {
            self.hub.observer.observe(&self.session.device, Observation::Pinged);
        }
        let stepped = self.session.step(&self.handle, self.hub.context(), self.now, packet);
        let Some(Stepped { effects, commit, send_state }) = stepped else {
            return Handled::End(self.handle.ended().unwrap_or(End::taken_over()));
        };
        self.owe(commit);
        self.send_state = send_state;
        let mut effects = effects.into_iter();
        while let Some(effect) = effects.next() {
            let left = match effect {
                Effect::Send(packet) => {
                    self.send(&packet);
                    continue;
                }
                Effect::Publish { message, answer } => match self.publish(&message, answer) {
                    None => continue,
                    Some(rest) => Left::Effects(Some(rest), effects.collect()),
                },
                Effect::Control(ControlEffect::End(end)) => return Handled::End(end),
                control => Left::Effects(None, std::iter::once(control).chain(effects).collect()),
            };
            return Handled::UpTo(Box::new(left));
        }
        Handled::Wholly
    }

    /// The rest of a packet.
    async fn go_on(&mut self, left: Box<Left>) -> Option<End> {
        match *left {
            Left::Auth(auth) => self.authenticate_again(&auth).await,
            Left::Effects(rest, effects) => {
                self.hub.finish(rest).await;
                for effect in effects {
                    match effect {
                        Effect::Send(packet) => self.send(&packet),
                        Effect::Publish { message, answer } => {
                            let rest = self.publish(&message, answer);
                            self.hub.finish(rest).await;
                        }
                        Effect::Control(control) => {
                            if let Some(end) = self.perform(control).await {
                                return Some(end);
                            }
                        }
                    }
                }
                None
            }
        }
    }

    fn broken(&self, error: codec::CodecError) -> End {
        self.hub.metrics.broken.inc(&[error.rule]);
        End::broken(error.reason, error.rule)
    }

    /// Appends a packet to what is written next. One that is larger than the client takes counts as sent.
    pub(super) fn send(&mut self, packet: &Packet) {
        match self.to.write(packet, &mut self.out) {
            Ok(true) => {}
            Ok(false) => self.hub.metrics.limits_hit.inc(&["client_max_packet"]),
            Err(error) => {
                tracing::warn!(rule = error.rule, "an outgoing packet could not be encoded");
            }
        }
    }

    fn deliveries(&mut self) -> Option<End> {
        let end = match self.send_state {
            SendState::ResendPending => self.pump(),
            SendState::Ready if self.session.outbox.has_some() => self.pump(),
            SendState::ClockPending if self.hub.time_is_witnessed() => self.pump(),
            _ => None,
        };
        self.feed();
        self.tell_missed();
        if self.handle.take_status() {
            self.status();
        }
        end
    }

    /// Losses are reported once the queue was read, or at most every [`MISSED_TOLD`] while more waits all the time.
    fn tell_missed(&mut self) {
        if !self.reader.has_untold() {
            return;
        }
        let now = self.now.monotonic;
        let is_due = now.saturating_sub(self.told_missed) >= MISSED_TOLD;
        if is_due || !self.session.outbox.has_some() {
            self.told_missed = now;
            self.reader.take_untold();
            self.handle.ask_status();
        }
    }

    fn pump(&mut self) -> Option<End> {
        let (context, now) = (self.hub.context(), self.now);
        let before = self.out.len();
        let pumped =
            self.session.pump(&self.handle, context, now, &mut self.out, &mut self.scratch);
        self.owe(pumped.commit);
        let (count, bytes) = (pumped.sent.iter().sum::<u64>(), self.out.len() - before);
        if count > 0 {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let seen = Observation::Received { count, bytes };
            self.hub.observer.observe(&self.session.device, seen);
        }
        if let Some(partner) = self.handle.partner() {
            partner.delivered(count, bytes);
        }
        self.send_state = pumped.send_state;
        let [at_most_once, ..] = pumped.sent;
        self.streaming = at_most_once > 1 || self.unsent.is_some();
        if let Some(unsent) = &mut self.unsent {
            unsent.note_left(pumped.sent.iter().sum::<u64>() as usize + pumped.dropped.len());
        }
        self.hub.metrics.hot.sent(&pumped.sent);
        for dropped in &pumped.dropped {
            if let Delivered::Dropped(why, qos) = dropped {
                self.hub.metrics.dropped.inc(&[why, qos_label(*qos)]);
            }
        }
        pumped.end
    }

    /// Nothing more is sent before this is durable.
    pub(super) fn owe(&mut self, commit: u64) {
        self.owed = self.owed.max(commit);
    }

    /// Waits until the owed commit is durable. When it cannot be written, `out` is withheld.
    async fn settle(&mut self) -> Option<End> {
        if self.owed == 0 && self.session.rows().is_some() && self.hub.persistence.is_behind() {
            self.hub.metrics.limits_hit.inc(&["keep_behind"]);
            self.owed = self.hub.persistence.last_commit();
        }
        if self.owed == 0 {
            return None;
        }
        let owed = std::mem::take(&mut self.owed);
        let kept = Box::pin(self.hub.persistence.durable(owed)).await;
        self.now = self.hub.now();
        if kept.is_ok() {
            return None;
        }
        self.out.clear();
        Some(End::store_failed())
    }

    /// Writes as much as the socket takes now.
    fn flush(&mut self) -> Option<End> {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(0) => return Some(End::lost()),
                Ok(written) => {
                    self.hub.metrics.hot.written(written);
                    self.out.advance(written);
                    self.torn = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Some(End::lost()),
            }
        }
        self.torn &= !self.out.is_empty();
        buffers::after_writing(&mut self.out);
        None
    }

    pub(super) fn read(&mut self) -> Option<End> {
        let wants = usize::from(self.wants) * 1024;
        match self.inbox.is_empty() {
            true => self.inbox = buffers::to_read(),
            false => self
                .inbox
                .reserve(wants.clamp(1024, READ_CHUNK.max(wants.min(self.hub.policy.max_packet)))),
        }
        match self.stream.try_read_buf(&mut self.inbox) {
            Ok(0) => Some(End::lost()),
            Ok(bytes) => {
                self.hub.metrics.hot.read(bytes);
                None
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => Some(End::lost()),
        }
    }

    /// Detaches from the session before DISCONNECT is written: a peer that does not read must not delay it.
    pub(super) async fn close(mut self: Box<Self>, end: End) {
        self.hub.metrics.ended.inc(&[end.cause.as_str()]);
        if end.is_of_rights() {
            // Bytes that are not in the socket yet are not sent: the peer has lost its rights.
            self.out.clear();
        }
        // Behind the first part of a packet nothing makes sense.
        let speaks = !(end.is_of_rights() && self.torn);
        if speaks {
            self.status_before(&end);
        }
        self.hub.leave(&self.session, &self.handle, &end).await;
        self.leave_unsent();
        match self.settle().await {
            None if speaks => disconnect::append(&end, self.to, self.explain, &mut self.out),
            None => {}
            // The withheld bytes may have been a CONNACK, or the rest of a packet: nothing may be sent after them.
            Some(_) => self.hub.metrics.limits_hit.inc(&["store"]),
        }
        let Self { stream, out, place, .. } = *self;
        match out.is_empty() && end.is_by_peer() {
            true => disconnect::close_at_once(stream),
            false => disconnect::close(stream, out).await,
        }
        drop(place);
    }
}
