use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::labels::*;
use super::pop_key::is_symmetric;
use super::{IssuedKey, MessageError, TokenKind};
use crate::cbor::{Reader, Writer};
use crate::ids::{Audience, DeviceId, TenantId};
use crate::key::{PublicKey, SecretKey, SIGNATURE_BYTES};
use crate::limits;
use crate::refusal::RefusalCode;
use crate::scope::Scope;
use crate::time::UnixSeconds;

const CONTEXT: &str = "tessera-refresh-1";

/// `POST /v1/token`, or a publish to `$tessera/token`: client_credentials with proof by the device
/// key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The device's clock.
    pub time: UnixSeconds,
    /// 8 to 32 bytes: the same nonce asks for the same answer again.
    pub nonce: Vec<u8>,
    /// What the token is to be bound to.
    pub kind: TokenKind,
    /// The device key's signature.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl TokenRequest {
    /// Makes and signs a request.
    pub fn sign(
        key: &SecretKey,
        tenant: &TenantId,
        device: &DeviceId,
        time: UnixSeconds,
        nonce: &[u8],
        kind: TokenKind,
    ) -> Self {
        let message = signed_bytes(tenant, device, &key.public(), time, nonce, kind);
        Self {
            tenant: tenant.clone(),
            device: device.clone(),
            time,
            nonce: nonce.to_vec(),
            kind,
            signature: key.sign(&message),
        }
    }

    /// Whether the holder of `key` made this request.
    #[must_use]
    pub fn verifies(&self, key: &PublicKey) -> bool {
        let message =
            signed_bytes(&self.tenant, &self.device, key, self.time, &self.nonce, self.kind);
        key.verifies(&message, &self.signature)
    }

    /// As `application/ace+cbor`.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        let pop_key = self.kind.pop_key();
        w.map(7 + usize::from(pop_key.is_some()))
            .int(CLIENT_ID)
            .text(self.device.as_str())
            .int(GRANT_TYPE)
            .uint(CLIENT_CREDENTIALS)
            .int(TOKEN_TYPE)
            .uint(self.kind.token_type())
            .int(TENANT)
            .text(self.tenant.as_str())
            .int(IAT)
            .uint(self.time.get())
            .int(NONCE)
            .bytes(&self.nonce)
            .int(SIGNATURE)
            .bytes(&self.signature);
        if let Some(pop_key) = pop_key {
            w.int(POP_KEY).text(pop_key);
        }
        w.finish()
    }

    /// Reads it; nothing is verified yet.
    ///
    /// # Errors
    /// [`MessageError`], also for a `req_cnf` with a symmetric key.
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut r = Reader::strict(bytes, limits::MESSAGE_BYTES)?;
        let (mut device, mut tenant, mut time) = (None, None, None);
        let (mut nonce, mut signature) = (None, None);
        let (mut grant_type, mut token_type, mut pop_key) = (CLIENT_CREDENTIALS, POP, None);
        for _ in 0..r.map()? {
            match r.label()? {
                Some(CLIENT_ID) => device = Some(DeviceId::parse(r.text()?)?),
                Some(GRANT_TYPE) => grant_type = r.uint()?,
                Some(TOKEN_TYPE) => token_type = r.uint()?,
                Some(TENANT) => tenant = Some(TenantId::parse(r.text()?)?),
                Some(IAT) => time = Some(r.uint()?),
                Some(NONCE) => nonce = Some(r.bytes()?),
                Some(SIGNATURE) => signature = Some(r.bytes_of()?),
                Some(POP_KEY) => pop_key = Some(r.text()?),
                Some(REQ_CNF) if is_symmetric(r.item()?)? => return Err(MessageError),
                Some(REQ_CNF) => {}
                _ => r.skip()?,
            }
        }
        let bearer = match token_type {
            BEARER => true,
            POP => false,
            _ => return Err(MessageError),
        };
        let nonce = nonce.ok_or(MessageError)?;
        if grant_type != CLIENT_CREDENTIALS || !limits::NONCE_BYTES.contains(&nonce.len()) {
            return Err(MessageError);
        }
        Ok(Self {
            tenant: tenant.ok_or(MessageError)?,
            device: device.ok_or(MessageError)?,
            time: UnixSeconds::new(time.ok_or(MessageError)?),
            nonce: nonce.to_vec(),
            kind: TokenKind::of(bearer, pop_key).ok_or(MessageError)?,
            signature: signature.ok_or(MessageError)?,
        })
    }
}

fn signed_bytes(
    tenant: &TenantId,
    device: &DeviceId,
    key: &PublicKey,
    time: UnixSeconds,
    nonce: &[u8],
    kind: TokenKind,
) -> Vec<u8> {
    let mut w = Writer::new();
    let pop_key = kind.pop_key();
    w.array(7 + usize::from(pop_key.is_some()))
        .text(CONTEXT)
        .text(tenant.as_str())
        .text(device.as_str())
        .bytes(key.thumbprint().as_bytes())
        .uint(time.get())
        .bytes(nonce)
        .uint(kind.token_type());
    if let Some(pop_key) = pop_key {
        w.text(pop_key);
    }
    w.finish()
}

/// The answer that carries a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenAnswer {
    /// The token's bytes.
    pub access_token: Vec<u8>,
    /// Seconds until it expires, from `server_time`.
    pub expires_in: u64,
    /// Whether it is a bearer token.
    pub bearer: bool,
    /// The symmetric key that it is bound to, when it is.
    pub key: Option<IssuedKey>,
    /// The broker audience.
    pub audience: Audience,
    /// What it allows.
    pub scope: Scope,
    /// The service's clock.
    pub server_time: UnixSeconds,
}

impl TokenAnswer {
    /// As `application/ace+cbor`. A secret, when there is a key in it.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(6 + usize::from(self.key.is_some()))
            .int(ACCESS_TOKEN)
            .bytes(&self.access_token)
            .int(EXPIRES_IN)
            .uint(self.expires_in)
            .int(AUDIENCE)
            .text(self.audience.as_str());
        if let Some(key) = &self.key {
            w.int(CNF);
            key.write(&mut w);
        }
        w.int(SCOPE)
            .bytes(&self.scope.to_aif())
            .int(TOKEN_TYPE)
            .uint(if self.bearer { BEARER } else { POP })
            .int(SERVER_TIME)
            .uint(self.server_time.get());
        w.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut r = Reader::strict(bytes, limits::MESSAGE_BYTES)?;
        let (mut token, mut expires_in, mut audience) = (None, None, None);
        let (mut key, mut scope, mut token_type, mut server_time) = (None, None, POP, None);
        for _ in 0..r.map()? {
            match r.label()? {
                Some(ACCESS_TOKEN) => token = Some(r.bytes()?),
                Some(EXPIRES_IN) => expires_in = Some(r.uint()?),
                Some(AUDIENCE) => audience = Some(Audience::parse(r.text()?)?),
                Some(CNF) => key = Some(IssuedKey::read(r.item()?)?),
                Some(SCOPE) => scope = Some(Scope::from_aif(r.bytes()?).map_err(|_| MessageError)?),
                Some(TOKEN_TYPE) => token_type = r.uint()?,
                Some(SERVER_TIME) => server_time = Some(r.uint()?),
                _ => r.skip()?,
            }
        }
        Ok(Self {
            access_token: token.ok_or(MessageError)?.to_vec(),
            expires_in: expires_in.ok_or(MessageError)?,
            bearer: token_type == BEARER,
            key,
            audience: audience.ok_or(MessageError)?,
            scope: scope.ok_or(MessageError)?,
            server_time: UnixSeconds::new(server_time.ok_or(MessageError)?),
        })
    }
}

/// An error of the ACE framework (RFC 9200 section 8.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum AceError {
    /// The request is malformed.
    InvalidRequest = 1,
    /// Who asks is not who they say.
    InvalidClient = 2,
    /// What was presented is no longer good.
    InvalidGrant = 3,
    /// Who asks may not.
    UnauthorizedClient = 4,
    /// Another grant type than client_credentials.
    UnsupportedGrantType = 5,
    /// A scope that cannot be given.
    InvalidScope = 6,
    /// A key that is not accepted.
    UnsupportedPopKey = 7,
}

/// The answer that carries a refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusalAnswer {
    /// The number of RFC 9200.
    pub error: u64,
    /// Words for a person.
    pub description: String,
    /// The stable refusal code, when this version knows it.
    pub code: Option<RefusalCode>,
    /// The service's clock, so that a device can set its own.
    pub server_time: UnixSeconds,
}

impl RefusalAnswer {
    /// A refusal with the words that go with its code.
    pub fn new(error: AceError, code: RefusalCode, server_time: UnixSeconds) -> Self {
        let description = code.words().to_string();
        Self { error: error as u64, description, code: Some(code), server_time }
    }

    /// As `application/ace+cbor`.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(3 + usize::from(self.code.is_some()))
            .int(ERROR)
            .uint(self.error)
            .int(ERROR_DESCRIPTION)
            .text(&self.description)
            .int(SERVER_TIME)
            .uint(self.server_time.get());
        if let Some(code) = self.code {
            w.int(CODE).text(code.as_str());
        }
        w.finish()
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut r = Reader::strict(bytes, limits::MESSAGE_BYTES)?;
        let (mut error, mut words, mut code, mut server_time) = (None, "", None, None);
        for _ in 0..r.map()? {
            match r.label()? {
                Some(ERROR) => error = Some(r.uint()?),
                Some(ERROR_DESCRIPTION) => words = r.text()?,
                Some(SERVER_TIME) => server_time = Some(r.uint()?),
                Some(CODE) => code = RefusalCode::parse(r.text()?),
                _ => r.skip()?,
            }
        }
        Ok(Self {
            error: error.ok_or(MessageError)?,
            description: words.to_string(),
            code,
            server_time: UnixSeconds::new(server_time.ok_or(MessageError)?),
        })
    }
}
