//! Serves a TLS connection without any credential: it publishes tokens to `authz-info` and closes (RFC 9431 section
//! 2.2.2).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tessera_token::ace::AUTHZ_INFO;
use tessera_token::refusal::RefusalCode;

use super::without_session::{self, answer_to, Answered, Purpose};
use super::{credentials, disconnect};
use crate::admission::Prefix;
use crate::authentication::response;
use crate::codec::{
    Ack, ConnAck, Connect, Packet, Properties, PropertyId, Publish, QoS, ReasonCode, Recipient,
    Version,
};
use crate::hub::Hub;
use crate::limits::ANONYMOUS_WITHIN;
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
    let Some(_visit) = hub.authz_info.visits.enter(from, hub.clock.monotonic()) else {
        hub.metrics.limits_hit.inc(&["anonymous"]);
        let line = Refusal::of(What::Connect, "anonymous_limit", remote);
        line.shown_client_id(&connect.client_id).tell();
        let (reason, properties) = (ReasonCode::SERVER_BUSY, Properties::new());
        let ack = ConnAck { session_present: false, reason, properties };
        disconnect::refuse_connect(&mut stream, ack, Recipient::of(connect), false).await;
        return false;
    };
    hub.metrics.authz_info.inc(&["connected"]);
    let version = connect.version;
    let mut peer = Anonymous { hub, version, from, remote, received: Vec::new(), useful: false };
    without_session::serve(hub, stream, inbox, (connect, remote), &mut peer).await;
    peer.useful
}

struct Anonymous<'h> {
    hub: &'h Hub,
    version: Version,
    from: Prefix,
    remote: Remote,
    /// QoS 2 messages that are not released yet.
    received: Vec<u16>,
    useful: bool,
}

impl Purpose for Anonymous<'_> {
    const WITHIN: Duration = ANONYMOUS_WITHIN;
    const QOS: QoS = QoS::ExactlyOnce;
    const ENDED: &'static str = "anonymous_ended";

    async fn packet(&mut self, packet: Packet) -> Answered {
        match packet {
            Packet::Publish(publish) => {
                self.publish(publish).await.map(|answer| answer.into_iter().collect())
            }
            Packet::PubRel(ack) => {
                let known = self.received.iter().position(|id| *id == ack.packet_id);
                let reason = match known {
                    Some(place) => {
                        self.received.swap_remove(place);
                        ReasonCode::SUCCESS
                    }
                    None => ReasonCode::PACKET_ID_NOT_FOUND,
                };
                Ok(vec![Packet::PubComp(Ack::new(ack.packet_id, reason))])
            }
            _ => Err(Some(ReasonCode::NOT_AUTHORIZED)),
        }
    }
}

impl Anonymous<'_> {
    async fn publish(&mut self, publish: Publish) -> Result<Option<Packet>, Option<ReasonCode>> {
        if publish.properties.short(PropertyId::TopicAlias).is_some() {
            return Err(Some(ReasonCode::TOPIC_ALIAS_INVALID));
        }
        let repeated = publish.packet_id.is_some_and(|id| self.received.contains(&id));
        let reason = match &*publish.topic {
            _ if repeated => ReasonCode::SUCCESS,
            AUTHZ_INFO => self.upload(publish.payload.clone()).await,
            _ => self.refused(RefusalCode::PublishNotAuthorised),
        };
        let held = publish.packet_id.filter(|_| publish.qos == QoS::ExactlyOnce);
        if let Some(id) = held.filter(|_| !reason.is_error() && !repeated) {
            self.received.push(id);
        }
        answer_to(&publish, reason, self.version)
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
        self.hub.authz_info.visits.may_try(self.from, now.monotonic)?;
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
