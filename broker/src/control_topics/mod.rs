//! Messages of the broker itself below `$tessera/`: [`token`] renews the token of a session, [`status`] sends server
//! time, expiry and refusals, [`refresh`] takes pushed tokens, [`trust`] carries the trust feed to gateways. [`crate::alerts`] publishes the fourth topic.

pub(crate) mod refresh;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod trust;

use std::sync::Arc;

use bytes::Bytes;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicName;

use crate::authorisation::ControlTopic;
use crate::codec::QoS;
use crate::message::Author;
use crate::message::{Message, Options, Publisher, SubscriberId};
use crate::routing::{Delivery, Push};
use crate::session::Session;

/// A message of the broker's own to one session; it takes no route. `None` when the session does not listen.
pub(crate) fn tell(session: &Session, control: ControlTopic, payload: Vec<u8>) -> Option<Push> {
    let options = session.look(|machine| machine.control(control))?;
    let message = message(session, control, payload, QoS::AtLeastOnce)?;
    let options = Options { no_local: false, ..options };
    let delivery = Delivery::new(message, options, false).live_only();
    Some(session.outbox.push_or_miss(delivery))
}

fn message(
    session: &Session,
    control: ControlTopic,
    payload: Vec<u8>,
    qos: QoS,
) -> Option<Arc<Message>> {
    let topic = TopicName::parse(control.topic()).ok()?;
    let publisher = Publisher {
        author: Author::broker(session.device.device().clone()),
        session: SubscriberId(0),
        token_expires: UnixSeconds::new(u64::MAX),
    };
    let mut message = Message::new(session.tenant.clone(), topic, Bytes::from(payload), publisher);
    message.qos = qos;
    Some(Arc::new(message))
}
