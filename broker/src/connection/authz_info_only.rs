//! Serves a TLS connection without any credential: it publishes tokens to `authz-info` and closes (RFC 9431 section
//! 2.2.2).
//!
//! It never becomes a session: nothing is stored for its client id, no session is taken over, and no message of it is
//! routed. It counts as half open for as long as it lasts, which is bounded in time and packets.

use bytes::{Bytes, BytesMut};
use tessera_token::ace::AUTHZ_INFO;
use tessera_token::refusal::RefusalCode;

use super::{credentials, disconnect, read_connect};
use crate::admission::Prefix;
use crate::authentication::response;
use crate::codec::{
    Ack, ConnAck, Connect, Disconnect, Packet, Properties, PropertyId, Publish, QoS, ReasonCode,
    Recipient, Version,
};
use crate::hub::Hub;
use crate::limits::{ANONYMOUS_PACKETS, ANONYMOUS_WITHIN, MAX_PACKET_BEFORE_AUTH};
use crate::refusals::{Refusal, Remote, What};
use crate::transport::Stream;

/// Whether the CONNECT asks for nothing but `authz-info`: no credential of any kind and no will.
pub(super) fn is_anonymous(hub: &Hub, stream: &Stream, connect: &Connect) -> bool {
    hub.authz_info.is_on()
        && stream.is_encrypted()
        && connect.password.is_none()
        && connect.user_name.is_none()
        && connect.will.is_none()
        && credentials::method(connect).is_none()
        && stream.channel().key.is_none()
}

/// Serves the connection to its end. Returns true if the client published a valid token, also when the broker itself
/// could not store it; false counts as a failed CONNECT of its prefix.
pub(super) async fn serve(
    hub: &Hub,
    mut stream: Stream,
    inbox: &mut BytesMut,
    connect: &Connect,
    from: Prefix,
    remote: Remote,
) -> bool {
    let to = Recipient::of(connect);
    let Some(_visit) = hub.authz_info.enter(from, hub.clock.monotonic()) else {
        hub.metrics.limits_hit.inc(&["anonymous"]);
        let line = Refusal::of(What::Connect, "anonymous_limit", remote);
        line.shown_client_id(&connect.client_id).tell();
        let (reason, properties) = (ReasonCode::SERVER_BUSY, Properties::new());
        let ack = ConnAck { session_present: false, reason, properties };
        disconnect::refuse_connect(&mut stream, ack, to, false).await;
        return false;
    };
    hub.metrics.authz_info.inc(&["connected"]);
    let mut peer = Anonymous { hub, to, from, remote, received: Vec::new(), useful: false };
    let served =
        tokio::time::timeout(ANONYMOUS_WITHIN, peer.run(&mut stream, inbox, connect)).await;
    let end = served.unwrap_or(Some(ReasonCode::MAXIMUM_CONNECT_TIME));
    if end.is_some() {
        let line = Refusal::of(What::Session, "anonymous_ended", remote);
        line.shown_client_id(&connect.client_id).tell();
    }
    let mut out = BytesMut::new();
    if let (Some(reason), Version::V5) = (end, to.version()) {
        let bye = Packet::Disconnect(Disconnect { reason, properties: Properties::new() });
        // A DISCONNECT that cannot be written is left out: the close says it too.
        let _ = to.write(&bye, &mut out);
    }
    let useful = peer.useful;
    disconnect::close(stream, out).await;
    useful
}

struct Anonymous<'h> {
    hub: &'h Hub,
    to: Recipient,
    from: Prefix,
    remote: Remote,
    /// QoS 2 messages that are not released yet.
    received: Vec<u16>,
    useful: bool,
}

impl Anonymous<'_> {
    /// Returns the reason to send, when there is one.
    async fn run(
        &mut self,
        stream: &mut Stream,
        inbox: &mut BytesMut,
        connect: &Connect,
    ) -> Option<ReasonCode> {
        let properties = self.granted(connect)?;
        let ack = ConnAck { session_present: false, reason: ReasonCode::SUCCESS, properties };
        if !disconnect::write_packet(stream, &Packet::ConnAck(ack), self.to).await {
            return None;
        }
        for _ in 0..ANONYMOUS_PACKETS {
            let packet = read_connect::next_packet_as(stream, inbox, self.to.version()).await?;
            match self.packet(packet).await {
                // An answer that is larger than the client takes counts as sent.
                Ok(Some(answer)) => {
                    disconnect::write_packet(stream, &answer, self.to).await;
                }
                Ok(None) => {}
                Err(end) => return end,
            }
        }
        Some(ReasonCode::QUOTA_EXCEEDED)
    }

    fn granted(&self, connect: &Connect) -> Option<Properties> {
        if self.to.version() == Version::V311 {
            return Some(Properties::new());
        }
        let seconds = u32::try_from(ANONYMOUS_WITHIN.as_secs()).unwrap_or(u32::MAX);
        let most = u32::try_from(MAX_PACKET_BEFORE_AUTH).unwrap_or(u32::MAX);
        let mut told = Properties::build()
            .number(PropertyId::ReceiveMaximum, ANONYMOUS_PACKETS)
            .number(PropertyId::MaximumPacketSize, most)
            .number(PropertyId::SessionExpiry, 0)
            .number(PropertyId::ServerKeepAlive, seconds)
            .number(PropertyId::RetainAvailable, 0)
            .number(PropertyId::WildcardAvailable, 0)
            .number(PropertyId::SubscriptionIdAvailable, 0)
            .number(PropertyId::SharedAvailable, 0);
        if connect.client_id.is_empty() {
            // It names no session, but [MQTT-3.2.2-16] wants a client id that no other client has.
            let name = u64::from_be_bytes(*self.hub.authenticator.nonce().ok()?.as_bytes());
            told = told.text(PropertyId::AssignedClientId, &format!("~{name:016x}"));
        }
        told.finish().ok()
    }

    async fn packet(&mut self, packet: Packet) -> Result<Option<Packet>, Option<ReasonCode>> {
        match packet {
            Packet::Publish(publish) => self.publish(publish).await,
            Packet::PubRel(ack) => {
                let known = self.received.iter().position(|id| *id == ack.packet_id);
                let reason = match known {
                    Some(place) => {
                        self.received.swap_remove(place);
                        ReasonCode::SUCCESS
                    }
                    None => ReasonCode::PACKET_ID_NOT_FOUND,
                };
                Ok(Some(Packet::PubComp(Ack::new(ack.packet_id, reason))))
            }
            Packet::PingReq => Ok(Some(Packet::PingResp)),
            Packet::Disconnect(_) => Err(None),
            _ => Err(Some(ReasonCode::NOT_AUTHORIZED)),
        }
    }

    /// RFC 9431 section 2.2.2: the answer is DISCONNECT to QoS 0, the acknowledgement to QoS 1 and 2, a close in 3.1.1.
    async fn publish(&mut self, publish: Publish) -> Result<Option<Packet>, Option<ReasonCode>> {
        if publish.properties.short(PropertyId::TopicAlias).is_some() {
            return Err(Some(ReasonCode::TOPIC_ALIAS_INVALID));
        }
        let repeated = publish.packet_id.is_some_and(|id| self.received.contains(&id));
        let reason = match &*publish.topic {
            _ if repeated => ReasonCode::SUCCESS,
            AUTHZ_INFO => self.upload(publish.payload).await,
            _ => self.refused(RefusalCode::PublishNotAuthorised),
        };
        match (publish.packet_id, publish.qos) {
            _ if reason.is_error() && self.to.version() == Version::V311 => Err(None),
            (Some(packet_id), QoS::ExactlyOnce) => {
                if !reason.is_error() && !repeated {
                    self.received.push(packet_id);
                }
                Ok(Some(Packet::PubRec(Ack::new(packet_id, reason))))
            }
            (Some(packet_id), _) => Ok(Some(Packet::PubAck(Ack::new(packet_id, reason)))),
            (None, _) if reason.is_error() => Err(Some(reason)),
            (None, _) => Ok(None),
        }
    }

    async fn upload(&mut self, payload: Bytes) -> ReasonCode {
        let began = self.hub.clock.monotonic();
        let kept = self.verify_and_keep(payload).await;
        self.useful |= kept.map_or_else(RefusalCode::is_of_the_server, |()| true);
        match kept {
            Ok(()) => {
                self.hub.metrics.authz_info.inc(&["kept"]);
                ReasonCode::SUCCESS
            }
            Err(code) => {
                let spent = self.hub.clock.monotonic().saturating_sub(began);
                tokio::time::sleep(response::hold_back(spent)).await;
                self.refused(code)
            }
        }
    }

    async fn verify_and_keep(&self, payload: Bytes) -> Result<(), RefusalCode> {
        let now = self.hub.now();
        self.hub.authz_info.may_try(self.from, now.monotonic)?;
        let upload = self.hub.authenticator.verify_upload(payload.clone()).await?;
        self.hub.authz_info.keep(payload, upload, self.from, now.unix)
    }

    fn refused(&self, code: RefusalCode) -> ReasonCode {
        self.hub.metrics.refusals.inc(&["authz_info", code.as_str()]);
        if matches!(code, RefusalCode::LimitReached | RefusalCode::RateLimited) {
            self.hub.metrics.limits_hit.inc(&["authz_info"]);
        }
        Refusal::of(What::Token, code.as_str(), self.remote).topic(AUTHZ_INFO).tell();
        reason_of(code)
    }
}

/// 0x99 for what is no token, 0x87 for a token that is not valid here.
fn reason_of(code: RefusalCode) -> ReasonCode {
    match code {
        RefusalCode::TokenMalformed
        | RefusalCode::TokenForm
        | RefusalCode::TokenHeader
        | RefusalCode::TokenTooLarge => ReasonCode::PAYLOAD_FORMAT_INVALID,
        RefusalCode::LimitReached | RefusalCode::RateLimited => ReasonCode::QUOTA_EXCEEDED,
        RefusalCode::TrustMissing | RefusalCode::NotReady => ReasonCode::UNSPECIFIED,
        _ => ReasonCode::NOT_AUTHORIZED,
    }
}
