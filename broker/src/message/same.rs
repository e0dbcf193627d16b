//! Rows of one message become one message again.
//!
//! A message that waits for many sessions is there once, and has a row for each of them: rows are read and deleted one
//! by one. When they are read, equal ones share one message, so that memory after a start is not larger than before it.

use std::hash::BuildHasher;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashMap};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::time::UnixSeconds;

use crate::message::{envelope, Message, Publisher, SubscriberId};

/// The messages and publishers that were read so far. Lives for the time of a start.
#[derive(Default)]
pub(crate) struct Same {
    hasher: DefaultHashBuilder,
    messages: HashMap<u64, Weak<Message>>,
    publishers: HashMap<PublisherKey, Arc<Publisher>>,
}

type PublisherKey = (TenantId, DeviceId, SubscriberId, UnixSeconds, Option<TokenHash>);

impl Same {
    /// The message in these bytes, which holds on to none of them; `None` when they are damaged.
    pub(crate) fn message(&mut self, raw: Bytes, tenant: &TenantId) -> Option<Arc<Message>> {
        let hash = self.hasher.hash_one(&raw);
        let known = self.messages.get(&hash).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|one| one.tenant == *tenant && envelope::wrap(one) == raw)
        {
            return Some(known);
        }
        let message = Arc::new(self.own(&envelope::unwrap(raw, tenant)?));
        self.messages.insert(hash, Arc::downgrade(&message));
        Some(message)
    }

    /// The same message without the bytes that it was read from.
    pub(crate) fn own(&mut self, message: &Message) -> Message {
        let mut message = message.copied();
        let Publisher { author, session, token_expires } = &*message.publisher;
        let token = author.token().map(|under| under.token);
        let key =
            (message.tenant.clone(), author.device().clone(), *session, *token_expires, token);
        let publisher = self.publishers.entry(key);
        let publisher = Arc::clone(publisher.or_insert_with(|| Arc::clone(&message.publisher)));
        message.publisher = publisher;
        message
    }
}
