//! Serves a connection that enrols by a claim code: it asks for a nonce and for a token on `$tessera/enrol`, and closes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tessera_token::messages::{AceError, ClaimCheck, EnrolRequest, RefusalAnswer, ENROL_TOPIC};
use tessera_token::refusal::RefusalCode;

use super::refuse::Refused;
use super::without_session::{self, answer_to, Answered, Purpose};
use super::Origin;
use crate::admission::SocketPermit;
use crate::codec::{
    Connect, Packet, Properties, PropertyId, Publish, QoS, ReasonCode, SubAck, Subscribe, Version,
};
use crate::enrolment;
use crate::hub::Hub;
use crate::limits::{ENROL_REQUESTS, ENROL_WITHIN};
use crate::refusals::{Refusal, Remote, What};
use crate::relay::Answer;
use crate::transport::Stream;

/// Whether the CONNECT asks to enrol, where that is offered.
pub(super) fn is_meant(hub: &Hub, connect: &Connect) -> bool {
    hub.enrolment.is_on() && enrolment::is_meant(connect)
}

/// The circumstances of a CONNECT that asks to enrol.
pub(super) struct Circumstances {
    pub(super) origin: Origin,
    /// When its socket was accepted.
    pub(super) accepted: Duration,
    /// Whether no other machine can read the connection.
    pub(super) private: bool,
}

/// Serves the connection to its end, or refuses it. A CONNECT whose claim is not good counts as a failed one of its prefix.
pub(super) async fn serve(
    hub: &Hub,
    mut stream: Stream,
    inbox: &mut BytesMut,
    connect: &Connect,
    of: Circumstances,
    permit: &mut SocketPermit,
) {
    let (began, from) = (hub.clock.monotonic(), (permit.prefix(), permit.is_suspect()));
    let claim = enrolment::claim_of(connect, of.private);
    let entered = async {
        let claim = claim?;
        // Only a claim of the right form costs more than any other CONNECT that is refused.
        let visit = hub.enrolment.enter(from.0, began)?;
        hub.enrolment.check(&hub.relay, &claim, from).await?;
        Ok::<_, RefusalCode>((claim, visit))
    };
    // The place is given back before a refusal is answered, which may take a while.
    let code = match entered.await {
        Ok((claim, _visit)) => {
            permit.mark_not_at_fault();
            hub.metrics.enrolments.inc(&["connected"]);
            let (version, remote) = (connect.version, of.origin.remote);
            let mut device = Enrolling { hub, version, remote, claim, listens: false, asked: 0 };
            without_session::serve(hub, stream, inbox, (connect, remote), &mut device).await;
            return;
        }
        Err(code) => code,
    };
    if code.is_of_the_server() {
        permit.mark_not_at_fault();
    }
    if matches!(code, RefusalCode::LimitReached | RefusalCode::RateLimited) {
        hub.metrics.limits_hit.inc(&["enrolments"]);
    }
    let refused = match code {
        RefusalCode::ClientIdInvalid => {
            Refused::unproved(code).with(ReasonCode::CLIENT_ID_NOT_VALID)
        }
        _ => Refused::unproved(code),
    };
    refused.answer(hub, &mut stream, connect, of.origin, (of.accepted, began)).await;
}

/// A device whose claim is good.
struct Enrolling<'h> {
    hub: &'h Hub,
    version: Version,
    remote: Remote,
    claim: ClaimCheck,
    /// Whether it has subscribed to the topic of the answers.
    listens: bool,
    /// Requests so far that went to provisioning.
    asked: u8,
}

impl Purpose for Enrolling<'_> {
    const WITHIN: Duration = ENROL_WITHIN;
    const QOS: QoS = QoS::AtLeastOnce;
    const ENDED: &'static str = "enrolment_ended";

    async fn packet(&mut self, packet: Packet) -> Answered {
        match packet {
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Publish(publish) => self.publish(publish).await,
            _ => Err(Some(ReasonCode::NOT_AUTHORIZED)),
        }
    }
}

impl Enrolling<'_> {
    /// Answers come with QoS 0: one that is lost with its connection is asked for again.
    fn subscribe(&mut self, subscribe: &Subscribe) -> Answered {
        if subscribe.properties.number(PropertyId::SubscriptionId).is_some() {
            return Err(Some(ReasonCode::SUBSCRIPTION_IDS_NOT_SUPPORTED));
        }
        let mut reasons = Vec::with_capacity(subscribe.entries.len());
        for entry in &subscribe.entries {
            reasons.push(match &*entry.filter {
                ENROL_TOPIC => {
                    self.listens = true;
                    ReasonCode::SUCCESS
                }
                other => {
                    self.line(What::Subscribe, RefusalCode::SubscribeNotAuthorised, other);
                    ReasonCode::NOT_AUTHORIZED
                }
            });
        }
        let (packet_id, properties) = (subscribe.packet_id, Properties::new());
        Ok(vec![Packet::SubAck(SubAck { packet_id, properties, reasons })])
    }

    async fn publish(&mut self, publish: Publish) -> Answered {
        if publish.properties.short(PropertyId::TopicAlias).is_some() {
            return Err(Some(ReasonCode::TOPIC_ALIAS_INVALID));
        }
        if publish.qos > Self::QOS {
            return Err(Some(ReasonCode::QOS_NOT_SUPPORTED));
        }
        if &*publish.topic != ENROL_TOPIC {
            self.line(What::Publish, RefusalCode::PublishNotAuthorised, &publish.topic);
            let answer = answer_to(&publish, ReasonCode::NOT_AUTHORIZED, self.version)?;
            return Ok(answer.into_iter().collect());
        }
        // Without a listener nothing is asked: the answer could reach no one.
        let reason = match self.listens {
            true => ReasonCode::SUCCESS,
            false => ReasonCode::NO_MATCHING_SUBSCRIBERS,
        };
        let mut answers: Vec<Packet> =
            answer_to(&publish, reason, self.version)?.into_iter().collect();
        if self.listens {
            answers.push(message(self.answer(&publish.payload).await));
        }
        Ok(answers)
    }

    /// The answer to a request: a nonce to an empty one, to another a token or a refusal.
    async fn answer(&mut self, request: &Bytes) -> Vec<u8> {
        if let Some(refused) = (!request.is_empty()).then(|| self.own(request).err()).flatten() {
            return refused;
        }
        self.asked = self.asked.saturating_add(1);
        if self.asked > ENROL_REQUESTS {
            self.hub.metrics.limits_hit.inc(&["enrolments"]);
            return self.refuse(AceError::InvalidRequest, RefusalCode::RateLimited, None);
        }
        let permit = match self.hub.enrolment.may_relay() {
            Ok(permit) => permit,
            Err(code) => {
                self.hub.metrics.limits_hit.inc(&["enrolments"]);
                return self.refuse(AceError::InvalidRequest, code, None);
            }
        };
        let answered = match request.is_empty() {
            true => given(self.hub.relay.enrol_nonce().await, "nonce"),
            false => given(self.hub.relay.enrol(request.to_vec()).await, "enrolled"),
        };
        drop(permit);
        match answered {
            Ok((what, bytes)) => {
                self.hub.metrics.enrolments.inc(&[what]);
                bytes
            }
            Err(Some((bytes, code))) => {
                self.hub.metrics.enrolments.inc(&["refused"]);
                self.line(What::Enrolment, code, ENROL_TOPIC);
                bytes
            }
            Err(None) => self.refuse(AceError::InvalidRequest, RefusalCode::NotReady, None),
        }
    }

    /// Whether the request is of this device and by this claim; else the refusal to send.
    fn own(&self, request: &Bytes) -> Result<(), Vec<u8>> {
        let request = EnrolRequest::from_cbor(request).map_err(|error| {
            let why = error.to_string();
            self.refuse(AceError::InvalidRequest, RefusalCode::RequestMalformed, Some(&why))
        })?;
        enrolment::is_by(&self.claim, &request).map_err(|code| {
            let why =
                "the request is not of the client id, the tenant and the claim of the CONNECT";
            self.refuse(AceError::UnauthorizedClient, code, Some(why))
        })
    }

    /// The bytes of a refusal by the broker.
    fn refuse(&self, error: AceError, code: RefusalCode, why: Option<&str>) -> Vec<u8> {
        self.hub.metrics.enrolments.inc(&[code.as_str()]);
        self.line(What::Enrolment, code, ENROL_TOPIC);
        let answer = RefusalAnswer::new(error, code, self.hub.now().unix);
        why.map_or(answer.clone(), |why| answer.because(why)).to_cbor()
    }

    fn line(&self, what: What, code: RefusalCode, topic: &str) {
        self.hub.metrics.refusals.inc(&["enrolment", code.as_str()]);
        let line = Refusal::of(what, code.as_str(), self.remote).topic(topic);
        line.shown_client_id(self.claim.device.as_str()).tell();
    }
}

type Given = Result<(&'static str, Vec<u8>), Option<(Vec<u8>, RefusalCode)>>;

/// The bytes of the answer: those of a refusal with its code, none when provisioning is away.
fn given<T>(answer: Answer<T>, what: &'static str) -> Given {
    match answer {
        Answer::Given(_, bytes) => Ok((what, bytes)),
        Answer::Refusal(bytes, code) => Err(Some((bytes, code))),
        Answer::Away => Err(None),
    }
}

fn message(payload: Vec<u8>) -> Packet {
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: ByteString::from_static(ENROL_TOPIC),
        packet_id: None,
        properties: Properties::new(),
        payload: Bytes::from(payload),
    })
}
