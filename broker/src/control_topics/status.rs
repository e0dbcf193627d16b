//! `$tessera/status`: the server's time, when the token expires, how many messages the session missed, why the
//! connection is about to end, and over TLS the resumption secret.
//!
//! The connection itself writes it, with QoS 0, and it passes no queue: nothing of it can come out on another
//! connection of the session, which may not be encrypted.

use std::num::NonZeroU32;

use bytes::BytesMut;
use serde_json::json;
use tessera_token::encoding;
use tessera_token::refusal::RefusalCode;

use crate::authorisation::ControlTopic;
use crate::codec::{Packet, Properties, PropertyId, Publish, QoS};
use crate::hub::Hub;
use crate::message::Options;
use crate::routing::Delivery;
use crate::session::state_machine::{Context, Delivered};
use crate::session::{ConnectionHandle, Session};

/// Writes the status for a session that listens and is served by `handle`.
pub(crate) fn write(
    hub: &Hub,
    session: &Session,
    handle: &std::sync::Arc<ConnectionHandle>,
    out: &mut BytesMut,
) -> Option<Delivered> {
    session.look(|machine| machine.control(ControlTopic::Status))?;
    let mut members = members(hub, session);
    if let Some(secret) = secret(hub, session, handle) {
        members.extend(secret);
    }
    let payload = serde_json::Value::Object(members).to_string().into_bytes();
    write_now(hub, session, handle, ControlTopic::Status, payload, out)
}

/// Writes a message of the broker's own, for a session that listens and is served by `handle`: with QoS 0, past the
/// queue.
pub(crate) fn write_now(
    hub: &Hub,
    session: &Session,
    handle: &std::sync::Arc<ConnectionHandle>,
    control: ControlTopic,
    payload: Vec<u8>,
    out: &mut BytesMut,
) -> Option<Delivered> {
    let options = session.look(|machine| machine.control(control))?;
    let rights = session.rights();
    let message = super::message(session, control, payload, QoS::AtMostOnce)?;
    let now = hub.now();
    let cx = Context::at(&rights, hub.context(), session.id, now);
    let delivery = Delivery::new(message, options, false);
    session.with_machine(handle, |machine| machine.deliver(delivery, cx, out))
}

/// The status as the last packet before the end: it passes the queue, which is not waited for.
pub(crate) fn last_words(
    hub: &Hub,
    session: &Session,
    options: Options,
    code: RefusalCode,
) -> Packet {
    let mut members = members(hub, session);
    members.insert("refusal".to_owned(), code.as_str().into());
    members.insert("words".to_owned(), code.words().into());
    let id = |id: NonZeroU32| Properties::build().number(PropertyId::SubscriptionId, id.get());
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: ControlTopic::Status.topic().into(),
        packet_id: None,
        // [MQTT-3.3.4-3]
        properties: options.id.and_then(|one| id(one).finish().ok()).unwrap_or_default(),
        payload: serde_json::Value::Object(members).to_string().into(),
    })
}

type Members = serde_json::Map<String, serde_json::Value>;

fn members(hub: &Hub, session: &Session) -> Members {
    let rights = session.rights();
    let missed = session.outbox.missed();
    let lost = (missed > 0).then(|| ("missed".to_owned(), json!(missed)));
    let members = [
        ("time".to_owned(), json!(hub.now().unix.get())),
        ("expires".to_owned(), json!(rights.grant().expires().get())),
        ("tenant".to_owned(), json!(session.tenant.as_str())),
        ("client_id".to_owned(), json!(session.client_id.as_str())),
    ];
    members.into_iter().chain(lost).collect()
}

/// The secret and the name of the token that it goes with: not over a channel that others read, and not for a peer
/// that has not proved the key of that token on this connection.
fn secret(
    hub: &Hub,
    session: &Session,
    handle: &ConnectionHandle,
) -> Option<[(String, serde_json::Value); 2]> {
    let rights = session.rights();
    let grant = rights.grant();
    if !handle.may_hold_secret_of(grant) {
        return None;
    }
    let secret = hub.ticket_keys.secret_of(grant)?;
    hub.metrics.resumption.inc(&["handed_out"]);
    Some([
        ("resumption".to_owned(), encoding::base64url(secret.expose_bytes()).into()),
        ("token_hash".to_owned(), encoding::base64url(grant.token_hash().as_bytes()).into()),
    ])
}
