//! The request to the token endpoint of RFC 9200 section 5.8.1: `POST /token`.
//!
//! A device proves its key by the same signature as in [`TokenRequest`]; members that the request has beyond that one are
//! signed too ([`AskedToken`]). A device that cannot sign shows a refresh token instead ([`RefreshRequest`]).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::labels::*;
use super::{MessageError, TokenKind, TokenRequest};
use crate::cbor::Writer;
use crate::hash::sha256;
use crate::ids::{Audience, DeviceId, TenantId};
use crate::key::{KeyId, PublicKey, SecretKey, Thumbprint, SIGNATURE_BYTES};
use crate::limits;
use crate::scope::Scope;
use crate::seal::SealKey;
use crate::time::UnixSeconds;

const CONTEXT: &str = "tessera-token-1";
const CONTEXT_REPLAY: &str = "tessera-token-refresh-1";
/// `ace_profile` of RFC 9431.
pub(super) const MQTT_TLS: i64 = 3;
pub(super) const NULL: &[u8] = &[0xf6];

/// The value of `grant_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GrantType {
    /// 2, and when the member is absent: the device proves its key.
    #[default]
    ClientCredentials,
    /// 3: the device shows a refresh token.
    RefreshToken,
    /// Any other one.
    Other,
}

/// The value of `ace_profile`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// Null: the answer is to name the profile.
    Asked,
    /// `mqtt_tls`.
    MqttTls,
    /// A profile that no verifier here has.
    Other,
}

/// The key that `req_cnf` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NamedKey {
    /// The whole key.
    Key(PublicKey),
    /// Its key id.
    Kid(KeyId),
    /// Its thumbprint.
    Thumbprint(Thumbprint),
    /// A symmetric key, a private one, one of another kind, or a name of another form.
    NotSupported,
}

impl NamedKey {
    /// Whether it is this key.
    #[must_use]
    pub fn names(&self, key: &PublicKey) -> bool {
        match self {
            Self::Key(named) => named == key,
            Self::Kid(named) => *named == key.key_id(),
            Self::Thumbprint(named) => *named == key.thumbprint(),
            Self::NotSupported => false,
        }
    }
}

/// Why a request to the token endpoint was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AceFault {
    /// It is malformed.
    Message(MessageError),
    /// Its grant type is none of the two.
    GrantType,
    /// Its profile is not `mqtt_tls`.
    Profile,
    /// Its scope is neither AIF-MQTT nor the text form of it.
    Scope,
    /// Its `req_cnf` names no key that a token can be bound to.
    Key,
}

impl fmt::Display for AceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(error) => error.fmt(f),
            Self::GrantType => {
                f.write_str("grant_type is client_credentials (2) or refresh_token (3)")
            }
            Self::Profile => f.write_str("ace_profile is null or mqtt_tls (3)"),
            Self::Scope => {
                f.write_str("scope is AIF-MQTT, or words such as pub:a/b, sub:a/# or pubsub:a/b")
            }
            Self::Key => f.write_str(
                "req_cnf names the public key with which the device was enrolled, or is absent",
            ),
        }
    }
}

impl core::error::Error for AceFault {}

impl From<MessageError> for AceFault {
    fn from(error: MessageError) -> Self {
        Self::Message(error)
    }
}

/// The wishes of a request beyond a token of the device's role.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    /// The audience that it names.
    pub audience: Option<Audience>,
    /// A scope within that of the role.
    pub scope: Option<Scope>,
    /// Whether the answer is to bring a refresh token.
    pub refresh_token: bool,
}

impl Wish {
    /// Whether it wishes nothing: such a request is signed as [`TokenRequest`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn write(&self, w: &mut Writer) {
        match &self.audience {
            Some(audience) => w.text(audience.as_str()),
            None => w.raw(NULL),
        };
        match &self.scope {
            Some(scope) => w.bytes(&scope.to_aif()),
            None => w.raw(NULL),
        };
        w.bool(self.refresh_token);
    }
}

/// A request with the proof of the device key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AskedToken {
    /// The members of [`TokenRequest`], with the signature.
    pub request: TokenRequest,
    /// The others.
    pub wish: Wish,
}

impl AskedToken {
    /// The request, signed.
    pub fn sign(draft: TokenRequest, wish: Wish, key: &SecretKey) -> Self {
        if wish.is_empty() {
            return Self { request: draft.signed_by(key), wish };
        }
        let mut asked = Self { request: draft, wish };
        asked.request.signature = key.sign(&asked.signed_bytes(&key.public()));
        asked
    }

    /// Whether the holder of `key` made this request. A signature over fewer members counts for none more.
    #[must_use]
    pub fn verifies(&self, key: &PublicKey) -> bool {
        match self.wish.is_empty() {
            true => self.request.verifies(key),
            false => key.verifies(&self.signed_bytes(key), &self.request.signature),
        }
    }

    /// A name of the wish, by which a repeated request is told from another; empty for none.
    pub fn wish_hash(&self) -> Vec<u8> {
        if self.wish.is_empty() {
            return Vec::new();
        }
        let mut w = Writer::new();
        w.array(3);
        self.wish.write(&mut w);
        sha256(&w.finish()).to_vec()
    }

    fn signed_bytes(&self, key: &PublicKey) -> Vec<u8> {
        let request = &self.request;
        let mut w = Writer::new();
        let pop_key = request.kind.pop_key();
        let more = usize::from(pop_key.is_some()) + usize::from(request.answer_key.is_some());
        w.array(10 + more)
            .text(CONTEXT)
            .text(request.tenant.as_str())
            .text(request.device.as_str())
            .bytes(key.thumbprint().as_bytes());
        write_freshness(&mut w, request.time, request.cnonce.as_deref());
        w.bytes(&request.nonce).uint(request.kind.token_type());
        self.wish.write(&mut w);
        if let Some(pop_key) = pop_key {
            w.text(pop_key);
        }
        if let Some(answer_key) = &request.answer_key {
            w.bytes(answer_key);
        }
        w.finish()
    }
}

/// A number is a time, a byte string is a nonce of the service.
fn write_freshness(w: &mut Writer, time: UnixSeconds, cnonce: Option<&[u8]>) {
    match cnonce {
        Some(cnonce) => w.bytes(cnonce),
        None => w.uint(time.get()),
    };
}

/// A proof of the device key beside a refresh token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefreshProof {
    /// The device's clock; 0 with a `cnonce`.
    pub time: UnixSeconds,
    /// A nonce of the service in the place of the time.
    pub cnonce: Option<Vec<u8>>,
    /// The device key's signature.
    pub signature: [u8; SIGNATURE_BYTES],
}

/// A request with a refresh token. It has no `Debug`: it holds a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshRequest {
    /// The refresh token as it was given.
    pub token: zeroize::Zeroizing<Vec<u8>>,
    /// 8 to 32 bytes: the same token with the same nonce asks for the same answer again.
    pub nonce: Vec<u8>,
    /// The tenant, when it is named.
    pub tenant: Option<TenantId>,
    /// The device, when it is named.
    pub device: Option<DeviceId>,
    /// The audience and scope that are wished.
    pub wish: Wish,
    /// Says that the device itself asks: then a token that was used before ends all tokens of the device.
    pub proof: Option<RefreshProof>,
}

impl RefreshRequest {
    /// A request without a proof.
    pub fn new(token: &[u8], nonce: &[u8]) -> Self {
        Self {
            token: zeroize::Zeroizing::new(token.to_vec()),
            nonce: nonce.to_vec(),
            tenant: None,
            device: None,
            wish: Wish::default(),
            proof: None,
        }
    }

    /// The same, with a proof by the device key.
    pub fn signed_by(
        mut self,
        key: &SecretKey,
        (tenant, device): (&TenantId, &DeviceId),
        time: UnixSeconds,
        cnonce: Option<&[u8]>,
    ) -> Self {
        (self.tenant, self.device) = (Some(tenant.clone()), Some(device.clone()));
        let cnonce = cnonce.map(<[u8]>::to_vec);
        let mut proof = RefreshProof { time, cnonce, signature: [0; SIGNATURE_BYTES] };
        proof.signature = key.sign(&self.signed_bytes(&proof, (tenant, device), &key.public()));
        self.proof = Some(proof);
        self
    }

    /// Whether the holder of `key` made this request; `None` without a proof.
    #[must_use]
    pub fn proves(&self, of: (&TenantId, &DeviceId), key: &PublicKey) -> Option<bool> {
        let proof = self.proof.as_ref()?;
        Some(key.verifies(&self.signed_bytes(proof, of, key), &proof.signature))
    }

    fn signed_bytes(
        &self,
        proof: &RefreshProof,
        (tenant, device): (&TenantId, &DeviceId),
        key: &PublicKey,
    ) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(7)
            .text(CONTEXT_REPLAY)
            .text(tenant.as_str())
            .text(device.as_str())
            .bytes(key.thumbprint().as_bytes());
        write_freshness(&mut w, proof.time, proof.cnonce.as_deref());
        w.bytes(&self.nonce).bytes(&sha256(&self.token));
        w.finish()
    }
}

/// The grant that a request brings.
#[derive(Clone, PartialEq, Eq)]
pub enum AceGrant {
    /// A proof of the device key.
    Credentials(AskedToken),
    /// A refresh token.
    Refresh(RefreshRequest),
}

/// A request to the token endpoint that was read; nothing is verified yet.
#[derive(Clone, PartialEq, Eq)]
pub struct AceRequest {
    /// The grant.
    pub grant: AceGrant,
    /// The key that the token is to be bound to; `None`: the one with which the device was enrolled.
    pub key: Option<NamedKey>,
    /// Whether the answer is to name the profile.
    pub profile_asked: bool,
}

/// The members of a request as they were read, in CBOR, JSON or a form.
#[derive(Default)]
#[allow(missing_docs, reason = "the names are those of the members")]
pub struct AceMembers {
    pub grant_type: GrantType,
    pub tenant: Option<TenantId>,
    pub device: Option<DeviceId>,
    pub time: Option<UnixSeconds>,
    pub cnonce: Option<Vec<u8>>,
    pub nonce: Option<Vec<u8>>,
    pub signature: Option<[u8; SIGNATURE_BYTES]>,
    /// `token_type`.
    pub bearer: Option<bool>,
    pub pop_key: Option<String>,
    pub answer_key: Option<SealKey>,
    pub audience: Option<Audience>,
    pub scope: Option<Scope>,
    pub req_cnf: Option<NamedKey>,
    pub profile: Option<Profile>,
    pub refresh_token: Option<zeroize::Zeroizing<Vec<u8>>>,
    pub want_refresh_token: bool,
}

impl AceMembers {
    /// The request that they make.
    ///
    /// # Errors
    /// [`AceFault`].
    pub fn request(self) -> Result<AceRequest, AceFault> {
        match self.profile {
            Some(Profile::Other) => return Err(AceFault::Profile),
            Some(Profile::Asked | Profile::MqttTls) | None => {}
        }
        if self.req_cnf == Some(NamedKey::NotSupported) {
            return Err(AceFault::Key);
        }
        let nonce = self.nonce.as_ref().ok_or(MessageError::Missing(NONCE))?;
        let is_bounded = |nonce: &Vec<u8>| limits::NONCE_BYTES.contains(&nonce.len());
        if !is_bounded(nonce) {
            return Err(MessageError::Member(NONCE).into());
        }
        if !self.cnonce.as_ref().is_none_or(is_bounded) {
            return Err(MessageError::Member(CNONCE).into());
        }
        let (key, profile_asked) = (self.req_cnf.clone(), self.profile == Some(Profile::Asked));
        let grant = match self.grant_type {
            GrantType::ClientCredentials => AceGrant::Credentials(self.credentials()?),
            GrantType::RefreshToken => AceGrant::Refresh(self.refresh()?),
            GrantType::Other => return Err(AceFault::GrantType),
        };
        Ok(AceRequest { grant, key, profile_asked })
    }

    fn credentials(self) -> Result<AskedToken, MessageError> {
        let (time, cnonce) = freshness(self.time, self.cnonce)?;
        let bearer = self.bearer.unwrap_or(false);
        let kind = TokenKind::of(bearer, self.pop_key.as_deref());
        let kind = kind.ok_or(MessageError::Member(POP_KEY))?;
        if self.answer_key.is_some() && kind != TokenKind::Symmetric {
            return Err(MessageError::Member(ANSWER_KEY));
        }
        if self.refresh_token.is_some() {
            return Err(MessageError::Member(REFRESH_TOKEN));
        }
        if self.want_refresh_token && kind != TokenKind::Bearer {
            return Err(MessageError::Member(WANT_REFRESH_TOKEN));
        }
        let request = TokenRequest {
            tenant: self.tenant.ok_or(MessageError::Missing(TENANT))?,
            device: self.device.ok_or(MessageError::Missing(CLIENT_ID))?,
            time,
            cnonce,
            nonce: self.nonce.ok_or(MessageError::Missing(NONCE))?,
            kind,
            answer_key: self.answer_key,
            signature: self.signature.ok_or(MessageError::Missing(SIGNATURE))?,
        };
        let refresh_token = self.want_refresh_token;
        let wish = Wish { audience: self.audience, scope: self.scope, refresh_token };
        Ok(AskedToken { request, wish })
    }

    fn refresh(self) -> Result<RefreshRequest, MessageError> {
        let token = self.refresh_token.ok_or(MessageError::Missing(REFRESH_TOKEN))?;
        if token.is_empty() || token.len() > limits::REFRESH_TOKEN_BYTES {
            return Err(MessageError::Member(REFRESH_TOKEN));
        }
        // A refresh token never changes the binding: it gives bearer tokens.
        if self.bearer == Some(false) {
            return Err(MessageError::Member(TOKEN_TYPE));
        }
        if self.pop_key.is_some() {
            return Err(MessageError::Member(POP_KEY));
        }
        if self.answer_key.is_some() {
            return Err(MessageError::Member(ANSWER_KEY));
        }
        let proof = match self.signature {
            None => None,
            Some(signature) => {
                let (time, cnonce) = freshness(self.time, self.cnonce)?;
                Some(RefreshProof { time, cnonce, signature })
            }
        };
        Ok(RefreshRequest {
            token,
            nonce: self.nonce.ok_or(MessageError::Missing(NONCE))?,
            tenant: self.tenant,
            device: self.device,
            wish: Wish { audience: self.audience, scope: self.scope, refresh_token: false },
            proof,
        })
    }
}

/// Either a time or a nonce of the service.
fn freshness(
    time: Option<UnixSeconds>,
    cnonce: Option<Vec<u8>>,
) -> Result<(UnixSeconds, Option<Vec<u8>>), MessageError> {
    match (time, cnonce) {
        (Some(_), Some(_)) => Err(MessageError::Member(IAT)),
        (None, Some(cnonce)) => Ok((UnixSeconds::new(0), Some(cnonce))),
        (Some(time), None) => Ok((time, None)),
        (None, None) => Err(MessageError::Missing(IAT)),
    }
}
