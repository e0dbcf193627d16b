//! Serves a connection that never becomes a session: nothing is stored for its client id, no session is taken over, and no
//! message of it is routed. It counts as half open for as long as it lasts, which is bounded in time and packets.

use std::future::Future;
use std::time::Duration;

use bytes::BytesMut;

use super::{disconnect, read_connect};
use crate::codec::{
    Ack, ConnAck, Connect, Disconnect, Packet, Properties, PropertyId, Publish, QoS, ReasonCode,
    Recipient, Version,
};
use crate::hub::Hub;
use crate::limits::{MAX_PACKET_BEFORE_AUTH, VISIT_PACKETS};
use crate::refusals::{Refusal, Remote, What};
use crate::transport::Stream;

/// The answers to a packet; an error ends the connection, with the reason to send when there is one.
pub(super) type Answered = Result<Vec<Packet>, Option<ReasonCode>>;

/// The purpose of such a connection.
pub(super) trait Purpose {
    /// How long it may last.
    const WITHIN: Duration;
    /// The highest quality of service that it takes.
    const QOS: QoS;
    /// The code of the line of the log when the broker ends it.
    const ENDED: &'static str;

    /// Takes a packet other than PINGREQ and DISCONNECT.
    fn packet(&mut self, packet: Packet) -> impl Future<Output = Answered> + Send;
}

/// Lets the client in, and serves the connection to its end.
pub(super) async fn serve<P: Purpose + Send>(
    hub: &Hub,
    mut stream: Stream,
    inbox: &mut BytesMut,
    (connect, remote): (&Connect, Remote),
    purpose: &mut P,
) {
    let to = Recipient::of(connect);
    let run = run(hub, &mut stream, inbox, connect, purpose);
    let served = tokio::time::timeout(P::WITHIN, run).await;
    let end = served.unwrap_or(Some(ReasonCode::MAXIMUM_CONNECT_TIME));
    if end.is_some() {
        let line = Refusal::of(What::Session, P::ENDED, remote);
        line.shown_client_id(&connect.client_id).tell();
    }
    let mut out = BytesMut::new();
    if let (Some(reason), Version::V5) = (end, to.version()) {
        let bye = Packet::Disconnect(Disconnect { reason, properties: Properties::new() });
        // A DISCONNECT that cannot be written is left out: the close says it too.
        let _ = to.write(&bye, &mut out);
    }
    disconnect::close(stream, out).await;
}

/// Returns the reason to send, when there is one.
async fn run<P: Purpose + Send>(
    hub: &Hub,
    stream: &mut Stream,
    inbox: &mut BytesMut,
    connect: &Connect,
    purpose: &mut P,
) -> Option<ReasonCode> {
    let to = Recipient::of(connect);
    let properties = granted::<P>(hub, connect)?;
    let ack = ConnAck { session_present: false, reason: ReasonCode::SUCCESS, properties };
    if !disconnect::write_packet(stream, &Packet::ConnAck(ack), to).await {
        return None;
    }
    for _ in 0..VISIT_PACKETS {
        let answers = match read_connect::next_packet_as(stream, inbox, to.version()).await? {
            Packet::PingReq => vec![Packet::PingResp],
            Packet::Disconnect(_) => return None,
            packet => match purpose.packet(packet).await {
                Ok(answers) => answers,
                Err(end) => return end,
            },
        };
        for answer in answers {
            // An answer that is larger than the client takes counts as sent.
            disconnect::write_packet(stream, &answer, to).await;
        }
    }
    Some(ReasonCode::QUOTA_EXCEEDED)
}

fn granted<P: Purpose>(hub: &Hub, connect: &Connect) -> Option<Properties> {
    if connect.version == Version::V311 {
        return Some(Properties::new());
    }
    let seconds = u32::try_from(P::WITHIN.as_secs()).unwrap_or(u32::MAX);
    let most = u32::try_from(MAX_PACKET_BEFORE_AUTH).unwrap_or(u32::MAX);
    let mut told = Properties::build()
        .number(PropertyId::ReceiveMaximum, VISIT_PACKETS)
        .number(PropertyId::MaximumPacketSize, most)
        .number(PropertyId::SessionExpiry, 0)
        .number(PropertyId::ServerKeepAlive, seconds)
        .number(PropertyId::RetainAvailable, 0)
        .number(PropertyId::WildcardAvailable, 0)
        .number(PropertyId::SubscriptionIdAvailable, 0)
        .number(PropertyId::SharedAvailable, 0);
    if P::QOS < QoS::ExactlyOnce {
        told = told.number(PropertyId::MaximumQos, P::QOS as u32);
    }
    if connect.client_id.is_empty() {
        // It names no session, but [MQTT-3.2.2-16] wants a client id that no other client has.
        let name = u64::from_be_bytes(*hub.authenticator.nonce().ok()?.as_bytes());
        told = told.text(PropertyId::AssignedClientId, &format!("~{name:016x}"));
    }
    told.finish().ok()
}

/// The answer to a PUBLISH (RFC 9431 section 2.2.2): DISCONNECT to a refused one of QoS 0, the acknowledgement to QoS 1 and
/// 2, a close in 3.1.1.
pub(super) fn answer_to(
    publish: &Publish,
    reason: ReasonCode,
    version: Version,
) -> Result<Option<Packet>, Option<ReasonCode>> {
    match (publish.packet_id, publish.qos) {
        _ if reason.is_error() && version == Version::V311 => Err(None),
        (Some(id), QoS::ExactlyOnce) => Ok(Some(Packet::PubRec(Ack::new(id, reason)))),
        (Some(id), _) => Ok(Some(Packet::PubAck(Ack::new(id, reason)))),
        (None, _) if reason.is_error() => Err(Some(reason)),
        (None, _) => Ok(None),
    }
}
