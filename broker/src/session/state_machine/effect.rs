//! The effects that a session machine asks its connection to perform.

use std::iter::Chain;
use std::sync::Arc;
use std::time::Duration;
use std::{option, vec};

use bytes::Bytes;
use tessera_token::refusal::RefusalCode;
use tessera_token::topic::Subscription;

use crate::authorisation::ControlTopic;
use crate::codec::{Packet, ReasonCode, SubAck};
use crate::guard::Told;
use crate::message::{Message, Options};
use crate::refusals::What;
use crate::session::policy::SessionPolicy;

/// One effect. Effects of most messages have variants of their own; the others are [`ControlEffect`].
pub enum Effect {
    /// Write a packet.
    Send(Packet),
    /// Route an authorised message, then answer.
    Publish {
        /// The message.
        message: Arc<Message>,
        /// The answer to the publisher.
        answer: Answer,
    },
    /// Something else.
    Control(ControlEffect),
}

/// Effects that few packets have.
pub enum ControlEffect {
    /// Make subscriptions, then write the SUBACK, then deliver what is retained.
    Subscribe {
        /// The granted ones, with their place in the SUBACK.
        granted: Vec<Granted>,
        /// The answer.
        ack: SubAck,
    },
    /// End subscriptions, then write the UNSUBACK.
    Unsubscribe {
        /// Those that existed.
        ended: Vec<Subscription>,
        /// The answer.
        ack: SubAck,
    },
    /// A token request or a token came on `$tessera/token`.
    Token(Bytes),
    /// A payload for `$tessera/refresh`.
    Refresh(Bytes),
    /// A payload for `$tessera/trust`.
    Trust(Bytes),
    /// Something was refused and the connection goes on.
    Refused {
        /// A publish or a subscription.
        what: What,
        /// Why.
        code: RefusalCode,
        /// The topic or filter, for the observer.
        topic: Arc<str>,
    },
    /// A rule holds, and its match is told of.
    Ruled(Box<Told>),
    /// Nothing more of the client is read before this monotonic time.
    Pause(Duration),
    /// The connection ends.
    End(End),
}

impl From<ControlEffect> for Effect {
    fn from(control: ControlEffect) -> Self {
        Self::Control(control)
    }
}

/// The effects of a step, in order. Nearly every packet has one at most, which takes no heap memory.
#[derive(Default)]
pub struct Effects {
    first: Option<Effect>,
    more: Vec<Effect>,
}

impl Effects {
    /// Asks for one thing more.
    pub fn push(&mut self, effect: impl Into<Effect>) {
        let effect = effect.into();
        match self.first {
            None => self.first = Some(effect),
            Some(_) => self.more.push(effect),
        }
    }
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = Chain<option::IntoIter<Effect>, vec::IntoIter<Effect>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.more)
    }
}

/// How a publish is answered once it is routed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// QoS 0: not at all.
    Nothing,
    /// QoS 1: PUBACK with this packet id.
    PubAck(u16),
    /// QoS 2, released: PUBCOMP with this packet id.
    PubComp(u16),
    /// QoS 2, passed on before it is released: PUBREC with this packet id.
    PubRec(u16),
}

/// A subscription that the rights allow.
pub struct Granted {
    /// Its place in the SUBSCRIBE.
    pub place: usize,
    /// The tenant's filter, and the share if there is one.
    pub subscription: Subscription,
    /// How to deliver.
    pub options: Options,
    /// Whether retained messages are wanted.
    pub retained: bool,
    /// The control topic, when it is one.
    pub control: Option<ControlTopic>,
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// The reason code in the DISCONNECT to an MQTT 5 peer; `None` sends none (the peer left, or its socket broke).
    pub reason: Option<ReasonCode>,
    /// Its cause.
    pub cause: Cause,
    /// Whether the will is published, when there still is one.
    pub will: bool,
    /// Whether the will of a session that is kept waits for the next start of the broker.
    pub defers_will: bool,
    /// Whether the session ends with the connection, whatever its expiry.
    pub forget: bool,
}

/// Why a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The client sent DISCONNECT.
    Client,
    /// The socket closed or failed.
    Lost,
    /// Nothing was heard for one and a half keep-alives.
    KeepAlive,
    /// Another connection took the session.
    TakenOver,
    /// The broker stops.
    Stopping,
    /// The rows that packets wait for cannot be written.
    StoreFailed,
    /// Bytes or packets that MQTT forbids: the name of the rule.
    Broken(&'static str),
    /// A refusal.
    Refused(RefusalCode),
}

impl Cause {
    /// A stable word for metric and log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lost => "lost",
            Self::KeepAlive => "keep_alive",
            Self::TakenOver => "taken_over",
            Self::Stopping => "stopping",
            Self::StoreFailed => "store_failed",
            Self::Broken(rule) => rule,
            Self::Refused(code) => code.as_str(),
        }
    }
}

impl End {
    const fn new(reason: Option<ReasonCode>, cause: Cause) -> Self {
        Self { reason, cause, will: true, defers_will: false, forget: false }
    }

    /// The refusal behind it.
    pub const fn code(&self) -> Option<RefusalCode> {
        match self.cause {
            Cause::Refused(code) => Some(code),
            _ => None,
        }
    }

    /// The client sent DISCONNECT.
    pub const fn by_client() -> Self {
        Self::new(None, Cause::Client)
    }

    /// The socket closed or failed.
    pub const fn lost() -> Self {
        Self::new(None, Cause::Lost)
    }

    /// The rows that packets wait for cannot be written. No packet tells it [MQTT-3.14.0-1].
    pub const fn store_failed() -> Self {
        Self::new(None, Cause::StoreFailed)
    }

    /// Whether the peer ended it, or can get no DISCONNECT.
    pub const fn is_by_peer(&self) -> bool {
        self.reason.is_none()
    }

    /// Whether the broker refuses to go on with the peer: not when either side goes in order, nor when the network did.
    pub const fn is_refusal(&self) -> bool {
        match self.cause {
            Cause::Client | Cause::Lost | Cause::KeepAlive | Cause::TakenOver | Cause::Stopping => {
                false
            }
            Cause::StoreFailed | Cause::Broken(_) | Cause::Refused(_) => true,
        }
    }

    /// Bytes or packets that MQTT forbids.
    pub const fn broken(reason: ReasonCode, rule: &'static str) -> Self {
        Self::new(Some(reason), Cause::Broken(rule))
    }

    /// Something the rights do not allow, where the standard asks to end the connection.
    pub const fn refused(reason: ReasonCode, code: RefusalCode) -> Self {
        Self::new(Some(reason), Cause::Refused(code))
    }

    /// Nothing was heard for one and a half keep-alives.
    pub const fn silent() -> Self {
        Self::new(Some(ReasonCode::KEEP_ALIVE_TIMEOUT), Cause::KeepAlive)
    }

    /// Another connection of the same subject took the session.
    pub const fn taken_over() -> Self {
        Self::new(Some(ReasonCode::SESSION_TAKEN_OVER), Cause::TakenOver)
    }

    /// The broker stops. Sessions that are kept go on at the next start, and so do their wills (MQTT 5 section
    /// 3.1.2.5).
    pub const fn stopping() -> Self {
        let reason = Some(ReasonCode::SERVER_SHUTTING_DOWN);
        Self { defers_will: true, ..Self::new(reason, Cause::Stopping) }
    }

    /// The token expired while its connection was let in: nothing has begun.
    pub(crate) const fn too_late() -> Self {
        let code = RefusalCode::TokenExpired;
        Self { will: false, ..Self::refused(ReasonCode::NOT_AUTHORIZED, code) }
    }

    /// The broker can no longer tell whether the grant holds. The kept state waits until it can.
    pub(crate) const fn untold(code: RefusalCode) -> Self {
        Self::refused(ReasonCode::NOT_AUTHORIZED, code)
    }

    /// The ticket key behind the secret that let the connection in is not accepted any more. The session is its
    /// device's, and stays.
    pub(crate) fn ticket_key_withdrawn(policy: &SessionPolicy) -> Self {
        let will = !policy.suppress_will_on_revocation;
        let code = RefusalCode::TicketKeyWithdrawn;
        Self { will, ..Self::refused(ReasonCode::NOT_AUTHORIZED, code) }
    }

    /// Whether the rights of the session ended, so that nothing more may reach it but the word of it.
    pub(crate) fn is_of_rights(&self) -> bool {
        let over = |code: RefusalCode| {
            let ended = matches!(code, RefusalCode::TokenExpired | RefusalCode::TicketKeyWithdrawn);
            ended || code.cannot_tell()
        };
        self.forget || self.code().is_some_and(over)
    }

    /// The grant no longer holds. Nothing of the session may act afterwards. 0x98 for what an operator did, 0x87 for
    /// what RFC 9431 says.
    pub fn revoked(code: RefusalCode, policy: &SessionPolicy) -> Self {
        let reason = match code {
            RefusalCode::TokenExpired | RefusalCode::BearerNotAllowed => ReasonCode::NOT_AUTHORIZED,
            _ => ReasonCode::ADMINISTRATIVE_ACTION,
        };
        let will = code == RefusalCode::TokenExpired || !policy.suppress_will_on_revocation;
        Self { will, forget: true, ..Self::refused(reason, code) }
    }
}
