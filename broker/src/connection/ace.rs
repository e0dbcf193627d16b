//! RFC 9431 on the wire: what of a CONNECT proves the key, the challenge before CONNACK, and re-authentication on a
//! live session.
//!
//! 1. CONNECT with method `ace` and token and proof over the TLS exporter: nothing more is asked.
//! 2. With a token alone: AUTH 0x18 with a nonce, and the answer to it. Whoever sends something that may be a token is
//!    challenged, whatever stands in it: a challenge tells nothing about issuers, audiences or epochs.
//! 3. A 3.1.1 client: `ace` and the token as user name, the proof over the exporter as password.

use std::time::Duration;

use bytes::BytesMut;
use tessera_token::ace::{
    self, AuthData, ChallengeProof, ExporterProof, ExporterSecret, Nonce, Response,
};
use tessera_token::ids::ClientId;
use tessera_token::proof::{Pop, Presented, Proof};
use tessera_token::refusal::RefusalCode;

use super::first;
use super::goodbye;
use super::serve::Connection;
use crate::codec::{Auth, Connect, Packet, Properties, PropertyId, ReasonCode, Recipient};
use crate::control::token;
use crate::gate::Evidence;
use crate::hub::Hub;
use crate::limits::CHALLENGE_WITHIN;
use crate::refusals::{Refusal, Remote, What};
use crate::session::machine::End;
use crate::transport::tls::Channel;
use crate::transport::Stream;

/// Whether the CONNECT asks for enhanced authentication.
pub(super) fn method(connect: &Connect) -> Option<&str> {
    connect.properties.text(PropertyId::AuthMethod)
}

/// What the CONNECT proves itself with. `None` when the peer broke the protocol or went away: it is not answered.
pub(super) async fn evidence(
    hub: &Hub,
    stream: &mut Stream,
    inbox: &mut BytesMut,
    connect: &mut Connect,
    remote: Remote,
) -> Option<Result<Evidence, RefusalCode>> {
    let channel = stream.channel();
    match method(connect) {
        Some(ace::METHOD) => enhanced(hub, stream, inbox, connect, &channel, remote).await,
        Some(_) => Some(Err(RefusalCode::MethodNotSupported)),
        None => Some(password(hub, stream, connect, &channel)),
    }
}

fn password(
    hub: &Hub,
    stream: &Stream,
    connect: &mut Connect,
    channel: &Channel,
) -> Result<Evidence, RefusalCode> {
    let Some(password) = connect.password.take() else {
        return by_handshake(hub, channel).ok_or(RefusalCode::CredentialMissing);
    };
    // A connect proof is longer than both kinds of PoP, so that a user name that happens to begin so does no harm.
    if let (Some(user), Ok(pop)) = (&connect.user_name, Pop::from_bytes(password.expose())) {
        if let Some(token) = ace::from_username(user)? {
            return over_exporter(token, pop, channel);
        }
    }
    let tickets = if stream.is_encrypted() { hub.tickets.accepted() } else { Default::default() };
    Ok(Evidence::Password { password, key: channel.key.map(Box::new), tickets })
}

/// The key of the TLS handshake proves a token that was published to `authz-info` before (RFC 9431 section 2.2.2).
fn by_handshake(hub: &Hub, channel: &Channel) -> Option<Evidence> {
    let key = channel.key.filter(|_| hub.authz.is_on())?.thumbprint()?;
    let token = hub.authz.of_key(&key, hub.now().unix)?.to_vec();
    let proof = Proof::TlsKey(key);
    Some(Evidence::Presented(Box::new(Presented { token, proof })))
}

/// The token that was published for this client, when it does not bring one.
fn published(hub: &Hub, connect: &Connect) -> Option<Vec<u8>> {
    let client_id = ClientId::parse(&connect.client_id).ok().filter(|_| hub.authz.is_on())?;
    hub.authz.of_device(client_id.subject(), hub.now().unix).map(|token| token.to_vec())
}

fn over_exporter(token: Vec<u8>, pop: Pop, channel: &Channel) -> Result<Evidence, RefusalCode> {
    let exporter = channel.exporter.as_ref().ok_or(RefusalCode::ProofInvalid)?;
    let exporter = ExporterSecret::from_bytes(exporter);
    let proof = Proof::Exporter(ExporterProof { exporter, pop });
    Ok(Evidence::Presented(Box::new(Presented { token, proof })))
}

async fn enhanced(
    hub: &Hub,
    stream: &mut Stream,
    inbox: &mut BytesMut,
    connect: &Connect,
    channel: &Channel,
    remote: Remote,
) -> Option<Result<Evidence, RefusalCode>> {
    // RFC 9431 section 2.2.4.1: User Name Flag and Password Flag are 0.
    if connect.user_name.is_some() || connect.password.is_some() {
        return Some(Err(RefusalCode::AuthDataMalformed));
    }
    let data = connect.properties.binary(PropertyId::AuthData).unwrap_or_default();
    let token = match AuthData::parse(&data) {
        Ok(AuthData::Proved { token, pop }) => return Some(over_exporter(token, pop, channel)),
        Ok(AuthData::Token(token)) => token,
        Ok(AuthData::NoToken) => match published(hub, connect) {
            Some(token) => token,
            None => return Some(Err(RefusalCode::CredentialMissing)),
        },
        Err(code) => return Some(Err(code)),
    };
    let Ok(broker) = hub.gate.nonce() else { return Some(Err(RefusalCode::NotReady)) };
    if !goodbye::say(stream, &challenge(broker), Recipient::of(connect)).await {
        return Some(Err(RefusalCode::RequestMalformed));
    }
    let answer = tokio::time::timeout(CHALLENGE_WITHIN, first::next_packet(stream, inbox)).await;
    let auth = match answer {
        Ok(Some(Packet::Auth(auth))) if is_answer(&auth) => auth,
        other => {
            let rule = match other {
                Ok(Some(Packet::Disconnect(_)) | None) => "auth_lost",
                Ok(Some(_)) => "auth_expected",
                Err(_) => "auth_too_slow",
            };
            hub.metrics.broken.inc(&[rule]);
            let line = Refusal::of(What::Connect, rule, remote);
            line.shown_client_id(&connect.client_id).tell();
            return None;
        }
    };
    let response = auth.properties.binary(PropertyId::AuthData).unwrap_or_default();
    Some(Response::parse(&response).map(|response| {
        let proof = Proof::Challenge(ChallengeProof { broker, response });
        Evidence::Presented(Box::new(Presented { token, proof }))
    }))
}

fn is_answer(auth: &Auth) -> bool {
    auth.reason == ReasonCode::CONTINUE_AUTHENTICATION && is_ace(auth)
}

fn is_ace(auth: &Auth) -> bool {
    auth.properties.text(PropertyId::AuthMethod) == Some(ace::METHOD)
}

fn challenge(nonce: Nonce) -> Packet {
    auth(ReasonCode::CONTINUE_AUTHENTICATION, Some(nonce.as_bytes()))
}

fn auth(reason: ReasonCode, data: Option<&[u8]>) -> Packet {
    let mut properties = Properties::build().text(PropertyId::AuthMethod, ace::METHOD);
    if let Some(data) = data {
        properties = properties.binary(PropertyId::AuthData, data);
    }
    Packet::Auth(Auth { reason, properties: properties.finish().unwrap_or_default() })
}

/// [MQTT-4.12.0-5]: the method of the CONNECT stands in every CONNACK that accepts.
pub(super) fn echo(properties: &Properties) -> Properties {
    let echoed = Properties::build().all_of(properties).text(PropertyId::AuthMethod, ace::METHOD);
    echoed.finish().unwrap_or_default()
}

/// A token that waits for the answer to its challenge. The session goes on under the old one.
pub(super) struct Pending {
    token: Vec<u8>,
    nonce: Nonce,
    since: Duration,
}

impl Connection {
    /// AUTH on a live session (MQTT 5 section 4.12.1): 0x19 with the next token, then 0x18 with the answer.
    pub(super) async fn authenticate_again(&mut self, packet: &Auth) -> Option<End> {
        if !self.ace || !is_ace(packet) {
            return Some(End::broken(ReasonCode::PROTOCOL_ERROR, "auth_not_expected"));
        }
        let data = packet.properties.binary(PropertyId::AuthData).unwrap_or_default();
        let outcome = match (packet.reason, self.pending.take()) {
            (ReasonCode::RE_AUTHENTICATE, None) => self.challenge_again(&data),
            (ReasonCode::CONTINUE_AUTHENTICATION, Some(pending)) => {
                self.answered(*pending, &data).await
            }
            _ => return Some(End::broken(ReasonCode::PROTOCOL_ERROR, "auth_out_of_order")),
        };
        let code = outcome.err()?;
        self.hub.metrics.refusals.inc(&["reauthenticate", code.as_str()]);
        Some(End::refused(ReasonCode::NOT_AUTHORIZED, code))
    }

    fn challenge_again(&mut self, data: &[u8]) -> Result<(), RefusalCode> {
        let token = match AuthData::parse(data)? {
            AuthData::Token(token) => token,
            // The exporter of this connection was used, or could have been, when it began.
            AuthData::Proved { .. } => return Err(RefusalCode::ProofInvalid),
            AuthData::NoToken => return Err(RefusalCode::CredentialMissing),
        };
        let nonce = self.hub.gate.nonce().map_err(|_| RefusalCode::NotReady)?;
        let since = self.hub.clock.monotonic();
        self.pending = Some(Box::new(Pending { token, nonce, since }));
        self.send(&challenge(nonce));
        Ok(())
    }

    async fn answered(&mut self, pending: Pending, data: &[u8]) -> Result<(), RefusalCode> {
        let Pending { token, nonce: broker, since } = pending;
        if self.hub.clock.monotonic().saturating_sub(since) > CHALLENGE_WITHIN {
            return Err(RefusalCode::ProofNotFresh);
        }
        let proof = ChallengeProof { broker, response: Response::parse(data)? };
        token::reauthenticate(&self.hub, &self.session, &token, &proof).await?;
        self.line.ask_status();
        self.send(&auth(ReasonCode::SUCCESS, None));
        Ok(())
    }
}
