//! A challenge of either method: the RFC's, and ours, which is bound to its purpose.

use tessera_token::ace::{
    self, Answer, BoundNonce, BoundProof, BoundResponse, ChallengeProof, Channel, Nonce, Response,
};
use tessera_token::refusal::RefusalCode;

use crate::codec::{Auth, Packet, Properties, PropertyId, ReasonCode};
use crate::hub::Hub;
use crate::transport::Stream;

/// A method of enhanced authentication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    /// RFC 9431.
    Rfc,
    /// Ours.
    Bound,
}

impl Method {
    /// The method of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        [Self::Rfc, Self::Bound].into_iter().find(|method| method.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rfc => ace::METHOD,
            Self::Bound => ace::BOUND_METHOD,
        }
    }

    /// Whether the packet belongs to it.
    pub(super) fn is_of(self, auth: &Auth) -> bool {
        auth.properties.text(PropertyId::AuthMethod) == Some(self.name())
    }

    /// An AUTH of it.
    pub(super) fn auth(self, reason: ReasonCode, data: Option<&[u8]>) -> Packet {
        let mut properties = Properties::build().text(PropertyId::AuthMethod, self.name());
        if let Some(data) = data {
            properties = properties.binary(PropertyId::AuthData, data);
        }
        Packet::Auth(Auth { reason, properties: properties.finish().unwrap_or_default() })
    }
}

/// A challenge that waits for its answer.
pub(super) enum Challenge {
    Rfc(Nonce),
    Bound(BoundNonce, Channel),
}

impl Challenge {
    /// A fresh one for this connection.
    ///
    /// # Errors
    /// `not_ready` without randomness, `method_not_supported` for ours on TLS whose exporter cannot be relied on.
    pub(super) fn new(hub: &Hub, stream: &Stream, method: Method) -> Result<Self, RefusalCode> {
        let dry = |_| RefusalCode::NotReady;
        Ok(match method {
            Method::Rfc => Self::Rfc(hub.authenticator.nonce().map_err(dry)?),
            Method::Bound => {
                let channel = stream.binding().ok_or(RefusalCode::MethodNotSupported)?;
                Self::Bound(hub.authenticator.bound_nonce().map_err(dry)?, channel)
            }
        })
    }

    /// The AUTH packet that carries it.
    pub(super) fn packet(&self) -> Packet {
        let (method, nonce): (_, &[u8]) = match self {
            Self::Rfc(nonce) => (Method::Rfc, nonce.as_bytes()),
            Self::Bound(nonce, _) => (Method::Bound, nonce.as_bytes()),
        };
        method.auth(ReasonCode::CONTINUE_AUTHENTICATION, Some(nonce))
    }

    /// The challenge with the client's answer.
    ///
    /// # Errors
    /// `auth_data_malformed`.
    pub(super) fn answered(self, data: &[u8]) -> Result<Answer, RefusalCode> {
        Ok(match self {
            Self::Rfc(broker) => {
                Answer::Challenge(ChallengeProof { broker, response: Response::parse(data)? })
            }
            Self::Bound(broker, channel) => {
                let response = BoundResponse::parse(data)?;
                Answer::Bound(BoundProof { broker, channel, response })
            }
        })
    }
}
