//! SUBSCRIBE and UNSUBSCRIBE: every filter on its own, all of them (MQTT 5 sections 3.8 to 3.11).

use std::num::NonZeroU32;
use std::sync::Arc;

use tessera_token::refusal::RefusalCode;
use tessera_token::topic::Subscription;

use super::{rows, Context, ControlEffect, Effect, Effects, Granted, Machine};
use crate::authorisation::{ControlTopic, Rights};
use crate::codec::{
    self, Packet, Properties, PropertyId, ReasonCode, RetainHandling, SubAck, Subscribe,
    Unsubscribe, Version,
};
use crate::message::encoding;
use crate::message::Options;
use crate::persistence::Row;
use crate::refusals::What;

/// A subscription that the session holds.
#[derive(Clone)]
pub struct Held {
    /// The tenant's filter, and the share if there is one.
    pub subscription: Subscription,
    /// How to deliver.
    pub options: Options,
    /// Its number within the session.
    pub(crate) number: u32,
}

impl Held {
    /// As the client wrote it.
    pub(crate) fn text(&self) -> Arc<str> {
        let filter = self.subscription.filter.as_str();
        match &self.subscription.share {
            None => Arc::from(filter),
            Some(name) => Arc::from(format!("$share/{name}/{filter}")),
        }
    }
}

impl Machine {
    pub(super) fn subscribe(&mut self, packet: &Subscribe, cx: Context<'_>, effects: &mut Effects) {
        let id = packet.properties.number(PropertyId::SubscriptionId).and_then(NonZeroU32::new);
        let mut granted = Vec::with_capacity(packet.entries.len());
        let mut reasons = Vec::with_capacity(packet.entries.len());
        let mut refused = None;
        for (place, entry) in packet.entries.iter().enumerate() {
            match self.subscribe_one(place, entry, id, cx, effects) {
                Ok(one) => {
                    reasons.push(ReasonCode(one.options.qos as u8));
                    granted.push(one);
                }
                Err((reason, code)) => {
                    reasons.push(reason);
                    refused = Some(code);
                    let (what, topic) = (What::Subscribe, Arc::from(&*entry.filter));
                    effects.push(ControlEffect::Refused { what, code, topic });
                }
            }
        }
        let properties = refused.map_or_else(Properties::new, |code| self.explain(code, cx));
        let ack = SubAck { packet_id: packet.packet_id, properties, reasons };
        effects.push(ControlEffect::Subscribe { granted, ack });
    }

    fn subscribe_one(
        &mut self,
        place: usize,
        entry: &codec::Subscription,
        id: Option<NonZeroU32>,
        cx: Context<'_>,
        effects: &mut Effects,
    ) -> Result<Granted, (ReasonCode, RefusalCode)> {
        let invalid = (ReasonCode::TOPIC_FILTER_INVALID, RefusalCode::SubscribeNotAuthorised);
        let subscription = Subscription::parse(&entry.filter).map_err(|_| invalid)?;
        let shared = subscription.share.is_some();
        if shared && self.version() == Version::V311 && !cx.policy.shared_for_v311 {
            return Err((ReasonCode::SHARED_NOT_SUPPORTED, RefusalCode::SubscribeNotAuthorised));
        }
        cx.rights
            .subscribe(&subscription, cx.unix)
            .map_err(|code| (ReasonCode::NOT_AUTHORIZED, code))?;
        if let Some(guard) = cx.guard {
            let ruling = guard.subscribe(&subscription, entry.options.qos, cx.unix);
            if let Some(told) = ruling.told {
                effects.push(ControlEffect::Ruled(told));
            }
            ruling.refusal.map_or(Ok(()), |code| Err((ReasonCode::NOT_AUTHORIZED, code)))?;
        }
        let key: Arc<str> = Arc::from(&*entry.filter);
        let is_new = !self.subscriptions.contains_key(&key);
        if is_new && self.subscriptions.len() >= cx.policy.subscriptions {
            return Err((ReasonCode::QUOTA_EXCEEDED, RefusalCode::LimitReached));
        }
        let asked = entry.options;
        let options = Options {
            qos: asked.qos,
            no_local: asked.no_local,
            retain_as_published: asked.retain_as_published,
            id,
        };
        let retained = match asked.retain_handling {
            RetainHandling::Send => !shared,
            RetainHandling::SendIfNew => !shared && is_new,
            RetainHandling::Never => false,
        };
        let control = ControlTopic::of(subscription.filter.as_str());
        self.hold(key, Held { subscription: subscription.clone(), options, number: 0 });
        Ok(Granted { place, subscription, options, retained, control })
    }

    fn hold(&mut self, key: Arc<str>, mut held: Held) {
        held.number = match self.subscriptions.get(&key) {
            Some(known) => known.number,
            None => {
                self.last_subscription = self.last_subscription.wrapping_add(1);
                self.last_subscription
            }
        };
        if let Some(rows) = rows(&self.outbox) {
            let row = encoding::encode_subscription(&held.text(), &held.options);
            self.commit = rows.put(|id| Row::Subscription(id, held.number), row);
        }
        self.subscriptions.insert(key, held);
    }

    fn let_go(&mut self, number: u32) {
        if let Some(rows) = rows(&self.outbox) {
            self.commit = rows.delete(|id| Row::Subscription(id, number));
        }
    }

    pub(super) fn unsubscribe(&mut self, packet: &Unsubscribe, effects: &mut Effects) {
        let mut ended = Vec::new();
        let mut reasons = Vec::with_capacity(packet.filters.len());
        for filter in &packet.filters {
            match self.subscriptions.remove(&**filter) {
                Some(held) => {
                    self.let_go(held.number);
                    ended.push(held.subscription);
                    reasons.push(ReasonCode::SUCCESS);
                }
                None => reasons.push(ReasonCode::NO_SUBSCRIPTION_EXISTED),
            }
        }
        let ack = SubAck { packet_id: packet.packet_id, properties: Properties::new(), reasons };
        effects.push(ControlEffect::Unsubscribe { ended, ack });
    }

    /// Removes a subscription for which no route could be made.
    pub fn forget_subscription(&mut self, subscription: &Subscription) {
        let mut gone = Vec::new();
        self.subscriptions.retain(|_, held| {
            let keep = held.subscription != *subscription;
            if !keep {
                gone.push(held.number);
            }
            keep
        });
        for number in gone {
            self.let_go(number);
        }
    }

    /// How a control topic is subscribed to, if it is.
    pub fn control(&self, control: ControlTopic) -> Option<Options> {
        self.subscriptions.get(control.topic()).map(|held| held.options)
    }

    /// A subscription by its filter, as the client wrote it.
    pub fn held(&self, filter: &str) -> Option<&Held> {
        self.subscriptions.get(filter)
    }

    /// All subscriptions.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Held> {
        self.subscriptions.values()
    }

    /// Drops every subscription that `rights` do not cover, and names them.
    pub fn narrow(&mut self, rights: &Rights) -> Vec<Subscription> {
        let mut lost = Vec::new();
        self.subscriptions.retain(|_, held| {
            let kept = rights.keeps(&held.subscription);
            if !kept {
                lost.push(held.clone());
            }
            kept
        });
        for held in &lost {
            self.let_go(held.number);
        }
        lost.into_iter().map(|held| held.subscription).collect()
    }

    /// Drops every subscription, and names them: the session ends.
    pub fn clear_subscriptions(&mut self) -> Vec<Subscription> {
        let all = std::mem::take(&mut self.subscriptions);
        all.into_values().map(|held| held.subscription).collect()
    }
}

/// The SUBACK of a machine, as the connection sends it.
impl From<SubAck> for Effect {
    fn from(ack: SubAck) -> Self {
        Self::Send(Packet::SubAck(ack))
    }
}
