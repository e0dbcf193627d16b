//! Performs the effects of the session machine: routing, subscribing, control topics.

use std::sync::Arc;

use tessera_agent::behaviour::Observation;
use tessera_token::refusal::RefusalCode;
use tessera_token::topic::Subscription;

use super::serve::Connection;
use crate::authorisation::ControlTopic;
use crate::codec::{Ack, Packet, ReasonCode, SubAck};
use crate::control_topics::{refresh, status, token, trust};
use crate::hub::{Hub, Routed};
use crate::message::Message;
use crate::refusals::{Refusal, What};
use crate::routing::{Rest, RoutingError};
use crate::session::state_machine::{Answer, ControlEffect, Delivered, End, Granted, Machine};

impl Connection {
    /// Performs an effect that few packets have; returns the end if that is the effect.
    pub(super) async fn perform(&mut self, control: ControlEffect) -> Option<End> {
        match control {
            ControlEffect::Subscribe { granted, ack } => self.subscribe(granted, ack).await,
            ControlEffect::Unsubscribe { ended, ack } => {
                self.hub.unsubscribe(&self.session, &ended).await;
                let of = |one: &Subscription| ControlTopic::of(one.filter.as_str());
                if ended.iter().any(|one| of(one) == Some(ControlTopic::Alerts)) {
                    self.hub.alerts.remove(&self.session);
                }
                if ended.iter().any(|one| of(one) == Some(ControlTopic::Token)) {
                    self.hub.push.note(self.session.id);
                }
                self.send(&Packet::UnsubAck(ack));
            }
            ControlEffect::Token(payload) => {
                token::submit(&self.hub, &self.session, &self.handle, payload);
            }
            ControlEffect::Refresh(payload) => {
                refresh::submit(&self.hub, &self.session, &payload);
            }
            ControlEffect::Trust(payload) => {
                trust::submit(&self.hub, &self.session, &self.handle, &payload);
            }
            ControlEffect::Refused { what, code, topic } => self.refused(what, code, &topic),
            ControlEffect::Ruled(told) => {
                self.hub.follow_rule(&self.session.tenant, self.session.device.device(), &told);
            }
            ControlEffect::Pause(until) => self.paused = Some(until),
            ControlEffect::End(end) => return Some(end),
        }
        None
    }

    /// Routes a publish and answers it; what is still to be delivered is for [`crate::hub::Hub::finish`], before the
    /// next packet is read.
    pub(super) fn publish(&mut self, message: &Arc<Message>, answer: Answer) -> Option<Rest> {
        self.hub.metrics.hot.received(message.qos);
        let seen =
            Observation::Published { topic: message.topic.as_str(), bytes: message.payload.len() };
        self.hub.observer.observe(&self.session.device, seen);
        if let Some(partner) = self.handle.partner() {
            partner.published(message.payload.len());
        }
        let packet_id = match answer {
            Answer::PubComp(packet_id) => {
                let note = move |machine: &mut Machine| machine.forget_received(packet_id);
                let ack = Packet::PubComp(Ack::new(packet_id, ReasonCode::SUCCESS));
                return self.publish_exactly(message, note, &ack);
            }
            Answer::PubRec(packet_id) => {
                let note = move |machine: &mut Machine| machine.note_passed_on(packet_id);
                let ack = Packet::PubRec(Ack::new(packet_id, ReasonCode::SUCCESS));
                return self.publish_exactly(message, note, &ack);
            }
            Answer::PubAck(packet_id) => Some(packet_id),
            Answer::Nothing => None,
        };
        let (routed, rest) = self.hub.route_now(message);
        self.tell_routed(message, &routed);
        // A message without an answer that is retained or kept for others waits only for a disk that is behind.
        if packet_id.is_none() && routed.tally.commit > 0 && self.hub.persistence.is_behind() {
            self.hub.metrics.limits_hit.inc(&["keep_behind"]);
            self.owe(routed.tally.commit);
        }
        if let Some(packet_id) = packet_id {
            self.owe(routed.tally.commit);
            self.send(&Packet::PubAck(Ack::new(packet_id, puback_reason(&routed))));
        }
        rest
    }

    /// The answer of a QoS 2 message has no code for what is refused here: PUBCOMP has none, and its PUBREC went out
    /// before, or goes to a client of 3.1.1.
    fn publish_exactly(
        &mut self,
        message: &Arc<Message>,
        note: impl FnOnce(&mut Machine),
        ack: &Packet,
    ) -> Option<Rest> {
        let (routed, rest) = self.hub.route_exactly(&self.session, message, note);
        self.tell_routed(message, &routed);
        self.owe(routed.tally.commit);
        self.owe(self.session.look(|machine| machine.take_commit()));
        self.send(ack);
        rest
    }

    async fn subscribe(&mut self, granted: Vec<Granted>, mut ack: SubAck) {
        let mut retained = Vec::new();
        let mut controls = Vec::new();
        for one in granted {
            let seen = Observation::Subscribed { filter: one.subscription.filter.as_str() };
            self.hub.observer.observe(&self.session.device, seen);
            if let Some(control) = one.control {
                controls.push(control);
            } else if let Err(error) = self.join_routes(&one).await {
                self.session.look(|machine| machine.forget_subscription(&one.subscription));
                if let Some(reason) = ack.reasons.get_mut(one.place) {
                    *reason = routing_reason(error);
                }
                let filter = one.subscription.filter.as_str();
                self.tell_refused(What::Subscribe, error.code(), filter);
            } else if one.retained {
                retained.push(one);
            }
        }
        self.send(&Packet::SubAck(ack));
        for control in controls {
            self.begin_control(control);
        }
        for one in &retained {
            self.owe_retained(one);
        }
        self.now = self.hub.now();
        self.feed();
    }

    async fn join_routes(&self, one: &Granted) -> Result<(), RoutingError> {
        let mut routes = self.session.routes.lock().await;
        let Some(routes) = routes.as_mut() else { return Err(RoutingError::Unavailable) };
        routes.subscribe(&one.subscription, one.options).await?;
        // The rights may have been narrowed while the route was made.
        if !self.session.rights().keeps(&one.subscription) {
            routes.unsubscribe(&one.subscription);
            return Err(RoutingError::Unavailable);
        }
        Ok(())
    }

    fn begin_control(&mut self, control: ControlTopic) {
        match control {
            ControlTopic::Token => self.hub.push.note(self.session.id),
            ControlTopic::Refresh | ControlTopic::Trust => {}
            ControlTopic::Status => self.status(),
            ControlTopic::Alerts => self.hub.alerts.add(&self.session),
        }
    }

    /// Writes the answer that passes no queue, and the status, when the session listens.
    pub(super) fn status(&mut self) {
        let (hub, session, handle) = (&self.hub, &self.session, &self.handle);
        if let Some(aside) = handle.take_aside() {
            let (to, payload) = (ControlTopic::Token, aside.expose().clone());
            let told = status::write_now(hub, session, handle, to, payload, &mut self.out);
            note(hub, told);
        }
        note(hub, status::write(hub, session, handle, &mut self.out));
    }

    /// A refusal of what the client asked for. It is behaviour too, unless the broker itself is the cause.
    fn refused(&self, what: What, code: RefusalCode, topic: &str) {
        if !code.is_of_the_server() && !code.is_of_a_restriction() {
            let seen = Observation::Refused { code, topic };
            self.hub.observer.observe(&self.session.device, seen);
        }
        self.tell_refused(what, code, topic);
    }

    fn tell_routed(&self, message: &Message, routed: &Routed) {
        if let Some(code) = routed.refusal() {
            self.tell_refused(What::Publish, code, message.topic.as_str());
        }
    }

    /// Counts what is refused of a PUBLISH or SUBSCRIBE of this client, and writes its line.
    fn tell_refused(&self, what: What, code: RefusalCode, topic: &str) {
        let label = if what == What::Publish { "publish" } else { "subscribe" };
        self.hub.metrics.refusals.inc(&[label, code.as_str()]);
        self.refusal(what, code.as_str()).topic(topic).tell();
    }

    /// The line about something that is refused to this client.
    pub(super) fn refusal<'a>(&'a self, what: What, code: &'a str) -> Refusal<'a> {
        self.session.refusal(&self.handle, what, code)
    }

    /// A 3.1.1 client has no reason codes: one that listens on `$tessera/status` gets the code there.
    pub(super) fn status_before(&mut self, end: &End) {
        let Some(code) = end.code() else { return };
        let listens = self.session.look(|machine| machine.control(ControlTopic::Status));
        if let Some(options) = listens {
            self.send(&status::last_words(&self.hub, &self.session, options, code));
        }
    }
}

fn note(hub: &Hub, told: Option<Delivered>) {
    match told {
        Some(Delivered::Sent(_)) => hub.metrics.hot.sent(&[1, 0, 0]),
        Some(Delivered::Dropped(why, qos)) => {
            hub.metrics.dropped.inc(&[why, crate::metrics::qos_label(qos)]);
        }
        _ => {}
    }
}

fn puback_reason(routed: &Routed) -> ReasonCode {
    match routed.refusal() {
        Some(_) => ReasonCode::QUOTA_EXCEEDED,
        None if routed.stored.is_none() && routed.tally.no_matching_subscribers() => {
            ReasonCode::NO_MATCHING_SUBSCRIBERS
        }
        None => ReasonCode::SUCCESS,
    }
}

fn routing_reason(error: RoutingError) -> ReasonCode {
    match error {
        RoutingError::ShareUsedUp | RoutingError::QuotaExceeded => ReasonCode::QUOTA_EXCEEDED,
        RoutingError::Unavailable => ReasonCode::UNSPECIFIED,
    }
}
