//! Enhanced authentication (MQTT 5 section 4.12, RFC 9431): the challenge before CONNACK, and re-authentication of live
//! sessions.
//!
//! 1. CONNECT with method `ace`, token and proof over the TLS exporter: no challenge follows.
//! 2. With a token alone: AUTH 0x18 with a nonce, and the client's answer. Every CONNECT that carries bytes in the form
//!    of a token is challenged, whatever the token says: a challenge tells nothing about issuers, audiences or epochs.
//!    The number of open challenges and their rate are bounded ([`crate::challenges`]); the setting `ace_challenge`
//!    says on which transports this method lets a client in.
//! 3. With the method `tessera-ace-1`: as in 2, and the answer is bound to audience, client id, token and channel.

use std::time::Duration;

use bytes::BytesMut;
use tessera_token::ace::AuthData;
use tessera_token::proof::{Presented, Proof};
use tessera_token::refusal::RefusalCode;

use super::challenge::{Challenge, Method};
use super::credentials::{over_exporter, published};
use super::serve::Connection;
use super::{disconnect, read_connect};
use crate::admission::Prefix;
use crate::authentication::Evidence;
use crate::challenges::{Again, Open};
use crate::codec::{Auth, Connect, Packet, Properties, PropertyId, ReasonCode, Recipient};
use crate::control_topics::token;
use crate::hub::Hub;
use crate::limits::CHALLENGE_WITHIN;
use crate::refusals::{Refusal, Remote, What};
use crate::session::state_machine::End;
use crate::transport::Stream;

/// Authenticates by the method that the CONNECT names. `None` when the peer broke the protocol or closed.
pub(super) async fn enhanced(
    hub: &Hub,
    stream: &mut Stream,
    inbox: &mut BytesMut,
    connect: &Connect,
    method: Method,
    (from, remote): (Prefix, Remote),
) -> Option<Result<Evidence, RefusalCode>> {
    let token = match begun(hub, stream, connect, method) {
        Ok(Begun::Proved(evidence)) => return Some(Ok(evidence)),
        Ok(Begun::ToBeChallenged(token)) => token,
        Err(code) => return Some(Err(code)),
    };
    let (challenge, _open) = match open(hub, stream, method, from) {
        Ok(opened) => opened,
        Err(code) => return Some(Err(code)),
    };
    if !disconnect::write_packet(stream, &challenge.packet(), Recipient::of(connect)).await {
        return Some(Err(RefusalCode::RequestMalformed));
    }
    let answer =
        tokio::time::timeout(CHALLENGE_WITHIN, read_connect::next_packet(stream, inbox)).await;
    let auth = match answer {
        Ok(Some(Packet::Auth(auth))) if is_answer(method, &auth) => auth,
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
    Some(challenge.answered(&response).map(|answer| {
        let proof = Proof::from(answer);
        Evidence::Presented(Box::new(Presented { token, proof }))
    }))
}

/// The first step of a CONNECT with enhanced authentication.
enum Begun {
    Proved(Evidence),
    ToBeChallenged(Vec<u8>),
}

fn begun(
    hub: &Hub,
    stream: &Stream,
    connect: &Connect,
    method: Method,
) -> Result<Begun, RefusalCode> {
    // RFC 9431 section 2.2.4.1: User Name Flag and Password Flag are 0.
    if connect.user_name.is_some() || connect.password.is_some() {
        return Err(RefusalCode::AuthDataMalformed);
    }
    let data = connect.properties.binary(PropertyId::AuthData).unwrap_or_default();
    let token = match (method, AuthData::parse(&data)?) {
        (_, AuthData::Token(token)) => token,
        (Method::Rfc, AuthData::Proved { token, pop }) => {
            return over_exporter(token, pop, &stream.channel()).map(Begun::Proved);
        }
        (Method::Rfc, AuthData::NoToken) => {
            published(hub, connect).ok_or(RefusalCode::CredentialMissing)?
        }
        (Method::Bound, AuthData::NoToken) => return Err(RefusalCode::CredentialMissing),
        (Method::Bound, AuthData::Proved { .. }) => return Err(RefusalCode::AuthDataMalformed),
    };
    if method == Method::Rfc {
        hub.challenges.may_let_in(stream.is_encrypted())?;
    }
    Ok(Begun::ToBeChallenged(token))
}

fn open<'h>(
    hub: &'h Hub,
    stream: &Stream,
    method: Method,
    from: Prefix,
) -> Result<(Challenge, Open<'h>), RefusalCode> {
    let opened = hub.challenges.open(from, hub.clock.monotonic());
    let opened = opened.inspect_err(|_| hub.metrics.limits_hit.inc(&["challenges"]))?;
    Ok((Challenge::new(hub, stream, method)?, opened))
}

fn is_answer(method: Method, auth: &Auth) -> bool {
    auth.reason == ReasonCode::CONTINUE_AUTHENTICATION && method.is_of(auth)
}

/// [MQTT-4.12.0-5]: the method of the CONNECT stands in every CONNACK that accepts.
pub(super) fn echo(properties: &Properties, method: &str) -> Properties {
    let echoed = Properties::build().all_of(properties).text(PropertyId::AuthMethod, method);
    echoed.finish().unwrap_or_default()
}

/// How a session that began with enhanced authentication goes on with it.
#[derive(Default)]
pub(super) struct Reauthentication {
    pending: Option<Pending>,
    again: Again,
}

/// A token that waits for the answer to its challenge. The session goes on under the old one.
struct Pending {
    token: Vec<u8>,
    challenge: Challenge,
    since: Duration,
}

impl Connection {
    /// AUTH on a live session (MQTT 5 section 4.12.1): 0x19 with the next token, then 0x18 with the answer.
    pub(super) async fn authenticate_again(&mut self, packet: &Auth) -> Option<End> {
        let Some(method) = self.method.filter(|method| method.is_of(packet)) else {
            return Some(End::broken(ReasonCode::PROTOCOL_ERROR, "auth_not_expected"));
        };
        let data = packet.properties.binary(PropertyId::AuthData).unwrap_or_default();
        let state = self.reauthentication.get_or_insert_default();
        let outcome = match (packet.reason, state.pending.take()) {
            (ReasonCode::RE_AUTHENTICATE, None) => self.challenge_again(method, &data),
            (ReasonCode::CONTINUE_AUTHENTICATION, Some(pending)) => {
                self.answered(method, pending, &data).await
            }
            _ => return Some(End::broken(ReasonCode::PROTOCOL_ERROR, "auth_out_of_order")),
        };
        let code = outcome.err()?;
        self.hub.metrics.refusals.inc(&["reauthenticate", code.as_str()]);
        let reason = match code {
            RefusalCode::RateLimited => ReasonCode::QUOTA_EXCEEDED,
            _ => ReasonCode::NOT_AUTHORIZED,
        };
        Some(End::refused(reason, code))
    }

    fn challenge_again(&mut self, method: Method, data: &[u8]) -> Result<(), RefusalCode> {
        let since = self.hub.clock.monotonic();
        let state = self.reauthentication.get_or_insert_default();
        let counted = state.again.take(since);
        counted.inspect_err(|_| self.hub.metrics.limits_hit.inc(&["reauthentications"]))?;
        let token = match AuthData::parse(data)? {
            AuthData::Token(token) => token,
            // The exporter of this connection was used, or could have been, when it began.
            AuthData::Proved { .. } => return Err(RefusalCode::ProofInvalid),
            AuthData::NoToken => return Err(RefusalCode::CredentialMissing),
        };
        if method == Method::Rfc {
            self.hub.challenges.may_renew()?;
        }
        let challenge = Challenge::new(&self.hub, &self.stream, method)?;
        let packet = challenge.packet();
        state.pending = Some(Pending { token, challenge, since });
        self.send(&packet);
        Ok(())
    }

    async fn answered(
        &mut self,
        method: Method,
        pending: Pending,
        data: &[u8],
    ) -> Result<(), RefusalCode> {
        let Pending { token, challenge, since } = pending;
        if self.hub.clock.monotonic().saturating_sub(since) > CHALLENGE_WITHIN {
            return Err(RefusalCode::ProofNotFresh);
        }
        let answer = challenge.answered(data)?;
        token::reauthenticate(&self.hub, &self.session, &self.handle, &token, &answer).await?;
        self.handle.ask_status();
        self.send(&method.auth(ReasonCode::SUCCESS, None));
        Ok(())
    }
}
