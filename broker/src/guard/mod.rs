//! Restrictions of a session beside the rights of its token: the rules of its tenant, and a device that is held back.
//!
//! A session without any has no [`Guard`], and pays for none. A guard is made anew when trust data, the token or a
//! restraint change; what it decides, it decides without a lock. Reading order: [`restraint`], [`connect`], [`ruling`].

pub(crate) mod clamp;
pub(crate) mod connect;
pub(crate) mod restraint;
mod ruling;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tessera_agent::rulebook::Rulebook;
use tessera_agent::validator::restrictions::Subject;
use tessera_rules::attributes::{self as rules, Attributes, Moment, On};
use tessera_rules::rule::{Action, Rule};
use tessera_rules::set::Picked;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::Subscription;
use tessera_token::trust::Step;

use crate::authorisation::ControlTopic;
use crate::codec::{Connect, Properties, PropertyId, Publish, QoS};
use crate::limits::RULE_TOLD_AGAIN;
use clamp::Clamp;
use restraint::Hold;
pub(crate) use ruling::{Ruling, Told};

/// The restrictions of one session.
pub(crate) struct Guard {
    subject: Subject,
    book: Option<Arc<Rulebook>>,
    picked: Picked,
    hold: Hold,
    clamp: Arc<Clamp>,
    /// When a rule was last told of, in seconds: a match is counted each time, and told now and then.
    told: AtomicU64,
}

impl Guard {
    /// The guard of a session; `None` when nothing restricts it.
    pub(crate) fn of(
        subject: Subject,
        book: Option<Arc<Rulebook>>,
        hold: Hold,
        clamp: Arc<Clamp>,
    ) -> Option<Arc<Self>> {
        let picked = book.as_ref().map(|book| book.set().pick(&subject.session()));
        let picked = picked.unwrap_or_default();
        if picked.is_empty() && hold.step == Step::Released {
            return None;
        }
        let told = AtomicU64::new(0);
        Some(Arc::new(Self { subject, book, picked, hold, clamp, told }))
    }

    /// How the device is held back.
    pub(crate) fn hold(&self) -> Hold {
        self.hold
    }

    /// The rules about a CONNECT whose credential is good.
    pub(crate) fn connect(
        &self,
        connect: &Connect,
        channel: connect::Channel,
        now: UnixSeconds,
    ) -> Ruling {
        self.ask(rules::Event::Connect(connect::attributes(connect, channel)), now)
    }

    /// The restrictions of a publish that the token allows.
    pub(crate) fn publish(&self, publish: &Publish, topic: &str, now: UnixSeconds) -> Ruling {
        let (bytes, qos) = (publish.payload.len(), publish.qos);
        self.message(topic, (bytes, qos, publish.retain), &publish.properties, now)
    }

    /// The same by the parts of a message: of a will, when it is due.
    pub(crate) fn message(
        &self,
        topic: &str,
        (bytes, qos, retain): (usize, QoS, bool),
        properties: &Properties,
        now: UnixSeconds,
    ) -> Ruling {
        if !self.releases(topic, now) {
            return Ruling::refused(RefusalCode::Quarantined);
        }
        // The topics of the server are what keeps a device manageable: no rule closes them.
        if !self.picked.has(On::Publish) || topic.starts_with('$') {
            return Ruling::default();
        }
        let event = rules::Publish {
            topic,
            bytes: bytes as u64,
            qos: qos as u8,
            retain,
            topic_alias: properties.short(PropertyId::TopicAlias).unwrap_or(0),
            content_type: properties.text(PropertyId::ContentType).unwrap_or_default(),
            expiry: properties.number(PropertyId::MessageExpiry).unwrap_or(0),
        };
        self.ask(rules::Event::Publish(event), now)
    }

    /// Whether the device may publish to `topic`, as far as it is held back: asked again for a message of QoS 2.
    pub(crate) fn releases(&self, topic: &str, now: UnixSeconds) -> bool {
        !self.hold.is(Step::Quarantine, now) || ControlTopic::of(topic) == Some(ControlTopic::Token)
    }

    /// The restrictions of a subscription that the token allows.
    pub(crate) fn subscribe(&self, wanted: &Subscription, qos: QoS, now: UnixSeconds) -> Ruling {
        let filter = wanted.filter.as_str();
        if self.hold.is(Step::Quarantine, now) && !is_own_topic(filter) {
            return Ruling::refused(RefusalCode::Quarantined);
        }
        if !self.picked.has(On::Subscribe) || filter.starts_with('$') {
            return Ruling::default();
        }
        let share = wanted.share.as_deref().unwrap_or_default();
        self.ask(rules::Event::Subscribe(rules::Subscribe { filter, qos: qos as u8, share }), now)
    }

    /// Whether the device may get a message on `topic`.
    pub(crate) fn receives(&self, topic: &str, now: UnixSeconds) -> bool {
        !self.hold.is(Step::Quarantine, now) || is_own_topic(topic)
    }

    /// Counts a message of a device whose rate is held down; the moment before which nothing more of it is read.
    pub(crate) fn pause(&self, bytes: usize, now: UnixSeconds, at: Duration) -> Option<Duration> {
        match self.hold.is(Step::Clamp, now) {
            true => self.clamp.count(bytes, at),
            false => None,
        }
    }

    fn ask(&self, event: rules::Event<'_>, now: UnixSeconds) -> Ruling {
        let Some(book) = &self.book else { return Ruling::default() };
        let (session, mut picked) = (self.subject.session(), self.picked);
        let moment = Moment { now, ..Moment::default() };
        let attributes = Attributes { session: &session, moment, event };
        let verdicts = book.judge(&mut picked, &attributes);
        match verdicts.strongest() {
            Some(rule) => self.follow(rule, now),
            None => Ruling::default(),
        }
    }

    fn follow(&self, rule: &Rule, now: UnixSeconds) -> Ruling {
        let action = rule.draft().action;
        let step = match action {
            Action::Clamp => Some(Step::Clamp),
            Action::StepUp => Some(Step::StepUp),
            Action::Quarantine => Some(Step::Quarantine),
            Action::Note | Action::Deny => None,
        };
        let is_news = match step {
            Some(step) => !self.hold.lasts(step, now),
            None => self.is_to_be_told(now),
        };
        let refusal = match action {
            Action::Deny => Some(RefusalCode::RuleDenied),
            Action::Quarantine => Some(RefusalCode::Quarantined),
            // A session that goes on while its device is held back in this way has a proof that is fresh.
            Action::StepUp => is_news.then_some(RefusalCode::StepUpRequired),
            Action::Note | Action::Clamp => None,
        };
        let told = is_news.then(|| Box::new(Told { rule: rule.draft().id.clone(), action, step }));
        Ruling { refusal, told }
    }

    fn is_to_be_told(&self, now: UnixSeconds) -> bool {
        let last = self.told.load(Ordering::Relaxed);
        let is_due = last == 0 || now.get().abs_diff(last) >= RULE_TOLD_AGAIN;
        if is_due {
            self.told.store(now.get(), Ordering::Relaxed);
        }
        is_due
    }
}

/// The topics that keep a device manageable: its token and its status.
fn is_own_topic(topic: &str) -> bool {
    matches!(ControlTopic::of(topic), Some(ControlTopic::Token | ControlTopic::Status))
}
