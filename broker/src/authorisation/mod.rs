//! Authorization of a session: asked for every publish, subscription, will and delivery.
//!
//! The answer comes from the grant on the session alone: no message, no lock. Topics that begin with `$` are closed but
//! for the list in [`ControlTopic`].

mod control_topic;
pub(crate) mod revoked;

use std::sync::{Arc, OnceLock};

use tessera_token::ace::AUTHZ_INFO;
use tessera_token::grant::Grant;
use tessera_token::messages::is_service_tenant;
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::{Subscription, TopicName};

use crate::message::{Author, Publisher, SubscriberId, Trusted};

pub use control_topic::ControlTopic;

#[cfg(test)]
pub(crate) mod tests;

/// Whether a token with this scope allows to publish to `topic`. Without a look at the token: it may have expired.
#[must_use]
pub fn may_publish(scope: &Scope, topic: &TopicName) -> bool {
    // RFC 9431 section 2.2.2: for those without a token. No client's words on it reach another.
    if topic.as_str() == AUTHZ_INFO {
        return false;
    }
    if topic.as_str().starts_with('$') {
        return match ControlTopic::of(topic.as_str()) {
            Some(ControlTopic::Token) => true,
            Some(ControlTopic::Trust) => scope.may_publish(topic),
            _ => false,
        };
    }
    scope.may_publish(topic)
}

/// Whether a token with this scope allows to subscribe to `wanted`. The filter behind `$share/…` is what counts.
#[must_use]
pub fn may_subscribe(scope: &Scope, wanted: &Subscription) -> bool {
    let filter = &wanted.filter;
    if filter.as_str() == AUTHZ_INFO {
        return false;
    }
    if !filter.as_str().starts_with('$') {
        return scope.may_subscribe(filter);
    }
    match ControlTopic::of(filter.as_str()) {
        Some(ControlTopic::Token | ControlTopic::Status) => wanted.share.is_none(),
        Some(ControlTopic::Alerts | ControlTopic::Trust) => {
            wanted.share.is_none() && scope.may_subscribe(filter)
        }
        // No scope opens it: see [`Rights`].
        Some(ControlTopic::Refresh) | None => false,
    }
}

/// A grant, as sessions ask it.
#[derive(Debug)]
pub struct Rights {
    grant: Grant,
    /// Made with the first publish: most sessions of a fleet are idle.
    publisher: OnceLock<Arc<Publisher>>,
}

impl Rights {
    /// The rights of a grant.
    pub fn new(grant: Grant) -> Self {
        Self { grant, publisher: OnceLock::new() }
    }

    /// The grant.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The publisher that messages under these rights name: one for all messages of a session.
    pub fn publisher(&self, session: SubscriberId) -> Arc<Publisher> {
        let known = self.publisher.get_or_init(|| self.as_publisher(session));
        if known.session == session {
            Arc::clone(known)
        } else {
            self.as_publisher(session)
        }
    }

    fn as_publisher(&self, session: SubscriberId) -> Arc<Publisher> {
        let (author, token_expires) = (Author::of(&self.grant), self.grant.expires());
        Arc::new(Publisher { author, session, token_expires })
    }

    /// Whether trust in the token is as it was when the token was accepted, for the session that holds it.
    ///
    /// # Errors
    /// The code of what withdrew it.
    pub fn trusted(&self, session: SubscriberId, trusted: Trusted<'_>) -> Result<(), RefusalCode> {
        let publisher = self.publisher.get_or_init(|| self.as_publisher(session));
        let expires = publisher.token_expires;
        publisher.author.revoked(self.grant.tenant(), expires, trusted).map_or(Ok(()), Err)
    }

    /// Whether the token is still good.
    ///
    /// # Errors
    /// `token_expired`.
    pub fn alive(&self, now: UnixSeconds) -> Result<(), RefusalCode> {
        if now < self.grant.expires() {
            Ok(())
        } else {
            Err(RefusalCode::TokenExpired)
        }
    }

    /// May publish to `topic`.
    ///
    /// # Errors
    /// `token_expired`, `publish_not_authorised`.
    pub fn publish(&self, topic: &TopicName, now: UnixSeconds) -> Result<(), RefusalCode> {
        self.alive(now)?;
        allowed(self.publishes(topic), RefusalCode::PublishNotAuthorised)
    }

    /// May subscribe to `wanted`. The filter behind `$share/…` is what counts.
    ///
    /// # Errors
    /// `token_expired`, `subscribe_not_authorised`.
    pub fn subscribe(&self, wanted: &Subscription, now: UnixSeconds) -> Result<(), RefusalCode> {
        self.alive(now)?;
        allowed(self.subscribes(wanted), RefusalCode::SubscribeNotAuthorised)
    }

    /// May have a will on `topic`: asked at CONNECT and again when it is published. Expiry does not end it (RFC 9431
    /// section 4.1): it was authorised while the token was good.
    ///
    /// # Errors
    /// `will_not_authorised`.
    pub fn will(&self, topic: &TopicName) -> Result<(), RefusalCode> {
        let plain = !topic.as_str().starts_with('$') && topic.as_str() != AUTHZ_INFO;
        allowed(plain && self.grant.scope().may_publish(topic), RefusalCode::WillNotAuthorised)
    }

    /// May receive a message on `topic`: asked as each message is written, whatever way it came.
    ///
    /// # Errors
    /// `token_expired`, `delivery_not_authorised`.
    pub fn receive(&self, topic: &str, now: UnixSeconds) -> Result<(), RefusalCode> {
        self.alive(now)?;
        allowed(self.receives(topic), RefusalCode::DeliveryNotAuthorised)
    }

    /// Whether a subscription that was allowed earlier is within these rights.
    #[must_use]
    pub fn keeps(&self, held: &Subscription) -> bool {
        self.subscribes(held)
    }

    fn publishes(&self, topic: &TopicName) -> bool {
        may_publish(self.grant.scope(), topic)
            || self.is_service() && ControlTopic::of(topic.as_str()) == Some(ControlTopic::Refresh)
    }

    fn subscribes(&self, wanted: &Subscription) -> bool {
        let control = || ControlTopic::of(wanted.filter.as_str());
        may_subscribe(self.grant.scope(), wanted)
            || self.is_service()
                && wanted.share.is_none()
                && control() == Some(ControlTopic::Refresh)
    }

    /// Whether the peer is provisioning itself.
    fn is_service(&self) -> bool {
        is_service_tenant(self.grant.tenant())
    }

    fn receives(&self, topic: &str) -> bool {
        if !topic.starts_with('$') {
            return self.grant.scope().may_receive_str(topic);
        }
        match ControlTopic::of(topic) {
            Some(ControlTopic::Token | ControlTopic::Status) => true,
            Some(ControlTopic::Alerts | ControlTopic::Trust) => {
                self.grant.scope().may_receive_str(topic)
            }
            Some(ControlTopic::Refresh) => self.is_service(),
            None => false,
        }
    }
}

fn allowed(yes: bool, no: RefusalCode) -> Result<(), RefusalCode> {
    if yes {
        Ok(())
    } else {
        Err(no)
    }
}
