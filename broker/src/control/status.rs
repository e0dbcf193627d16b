//! `$tessera/status`: the server's time, when the token expires, and why the connection is about to end.

use serde_json::json;
use tessera_token::refusal::RefusalCode;

use crate::codec::{Packet, Properties, Publish, QoS};
use crate::hub::Hub;
use crate::rights::Control;
use crate::session::Session;

/// Sends the status to a session that listens.
pub(crate) fn tell(hub: &Hub, session: &Session) {
    super::tell(session, Control::Status, text(hub, session, None).into_bytes());
}

/// The status as the last packet before the end: it passes the queue, which is not waited for.
pub(crate) fn last_words(hub: &Hub, session: &Session, code: RefusalCode) -> Packet {
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: Control::Status.topic().into(),
        packet_id: None,
        properties: Properties::new(),
        payload: text(hub, session, Some(code)).into(),
    })
}

fn text(hub: &Hub, session: &Session, refusal: Option<RefusalCode>) -> String {
    let rights = session.rights();
    let mut status = json!({
        "time": hub.now().unix.get(),
        "expires": rights.grant().expires().get(),
        "tenant": session.tenant.as_str(),
        "client_id": session.client_id.as_str(),
    });
    if let (Some(code), Some(members)) = (refusal, status.as_object_mut()) {
        members.insert("refusal".to_owned(), code.as_str().into());
        members.insert("words".to_owned(), code.words().into());
    }
    status.to_string()
}
