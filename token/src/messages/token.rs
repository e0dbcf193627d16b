use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::error::{in_member, required, Bad};
use super::labels::*;
use super::pop_key::is_symmetric;
use super::{body, label, pairs, IssuedKey, MessageError, TokenKind};
use crate::cbor::{Reader, Writer};
use crate::ids::{Audience, DeviceId, TenantId};
use crate::key::{PublicKey, SecretKey, SIGNATURE_BYTES};
use crate::limits;
use crate::refusal::RefusalCode;
use crate::scope::Scope;
use crate::time::UnixSeconds;

const CONTEXT: &str = "tessera-refresh-1";
/// A device that signs a nonce of the service in the place of its time.
const CONTEXT_NONCE: &str = "tessera-refresh-nonce-1";

/// `POST /v1/token`, or a publish to `$tessera/token`: client_credentials with proof by the device
/// key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The device's clock; 0 with a `cnonce`.
    pub time: UnixSeconds,
    /// A nonce of the service in the place of the time: by it the request is fresh, whatever the device's clock says.
    pub cnonce: Option<Vec<u8>>,
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
        Self::unsigned(tenant, device, time, None, nonce, kind).signed_by(key)
    }

    /// As [`TokenRequest::sign`], by a nonce that the service gave (`cnonce` of a refusal, or of `/v1/enrol/nonce`). A
    /// device does so whose clock was refused: a time that a refusal tells is not signed, and a request that is signed
    /// for a future time is good then.
    pub fn sign_nonce(
        key: &SecretKey,
        tenant: &TenantId,
        device: &DeviceId,
        cnonce: &[u8],
        nonce: &[u8],
        kind: TokenKind,
    ) -> Self {
        let time = UnixSeconds::new(0);
        Self::unsigned(tenant, device, time, Some(cnonce.to_vec()), nonce, kind).signed_by(key)
    }

    fn unsigned(
        tenant: &TenantId,
        device: &DeviceId,
        time: UnixSeconds,
        cnonce: Option<Vec<u8>>,
        nonce: &[u8],
        kind: TokenKind,
    ) -> Self {
        let (tenant, device, nonce) = (tenant.clone(), device.clone(), nonce.to_vec());
        Self { tenant, device, time, cnonce, nonce, kind, signature: [0; SIGNATURE_BYTES] }
    }

    fn signed_by(mut self, key: &SecretKey) -> Self {
        self.signature = key.sign(&self.signed_bytes(&key.public()));
        self
    }

    /// Whether the holder of `key` made this request.
    #[must_use]
    pub fn verifies(&self, key: &PublicKey) -> bool {
        key.verifies(&self.signed_bytes(key), &self.signature)
    }

    fn signed_bytes(&self, key: &PublicKey) -> Vec<u8> {
        let mut w = Writer::new();
        let pop_key = self.kind.pop_key();
        w.array(7 + usize::from(pop_key.is_some()))
            .text(if self.cnonce.is_some() { CONTEXT_NONCE } else { CONTEXT })
            .text(self.tenant.as_str())
            .text(self.device.as_str())
            .bytes(key.thumbprint().as_bytes());
        match &self.cnonce {
            Some(cnonce) => w.bytes(cnonce),
            None => w.uint(self.time.get()),
        };
        w.bytes(&self.nonce).uint(self.kind.token_type());
        if let Some(pop_key) = pop_key {
            w.text(pop_key);
        }
        w.finish()
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
            .uint(self.kind.token_type());
        if let Some(cnonce) = &self.cnonce {
            w.int(CNONCE).bytes(cnonce);
        }
        w.int(TENANT).text(self.tenant.as_str());
        if self.cnonce.is_none() {
            w.int(IAT).uint(self.time.get());
        }
        w.int(NONCE).bytes(&self.nonce).int(SIGNATURE).bytes(&self.signature);
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
        let body = body(bytes)?;
        let mut r = Reader::new(&body);
        let (mut device, mut tenant, mut time) = (None, None, None);
        let (mut nonce, mut cnonce, mut signature) = (None, None, None);
        let (mut grant_type, mut token_type, mut pop_key) = (CLIENT_CREDENTIALS, POP, None);
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            let mut read = || -> Result<(), Bad> {
                match label {
                    Some(CLIENT_ID) => device = Some(DeviceId::parse(r.text()?)?),
                    Some(GRANT_TYPE) => grant_type = r.uint()?,
                    Some(TOKEN_TYPE) => token_type = r.uint()?,
                    Some(TENANT) => tenant = Some(TenantId::parse(r.text()?)?),
                    Some(IAT) => time = Some(r.uint()?),
                    Some(CNONCE) => cnonce = Some(r.bytes()?),
                    Some(NONCE) => nonce = Some(r.bytes()?),
                    Some(SIGNATURE) => signature = Some(r.bytes_of()?),
                    Some(POP_KEY) => pop_key = Some(r.text()?),
                    Some(REQ_CNF) if is_symmetric(r.item()?)? => return Err(Bad),
                    Some(REQ_CNF) => {}
                    _ => r.skip()?,
                }
                Ok(())
            };
            in_member(label, read())?;
        }
        let bearer = match token_type {
            BEARER => true,
            POP => false,
            _ => return Err(MessageError::Member(TOKEN_TYPE)),
        };
        let nonce = required(NONCE, nonce)?;
        if grant_type != CLIENT_CREDENTIALS {
            return Err(MessageError::Member(GRANT_TYPE));
        }
        if !limits::NONCE_BYTES.contains(&nonce.len()) {
            return Err(MessageError::Member(NONCE));
        }
        let time = match cnonce {
            Some(_) if time.is_some() => return Err(MessageError::Member(IAT)),
            Some(cnonce) if !limits::NONCE_BYTES.contains(&cnonce.len()) => {
                return Err(MessageError::Member(CNONCE));
            }
            Some(_) => 0,
            None => required(IAT, time)?,
        };
        Ok(Self {
            tenant: required(TENANT, tenant)?,
            device: required(CLIENT_ID, device)?,
            time: UnixSeconds::new(time),
            cnonce: cnonce.map(<[u8]>::to_vec),
            nonce: nonce.to_vec(),
            kind: TokenKind::of(bearer, pop_key).ok_or(MessageError::Member(POP_KEY))?,
            signature: required(SIGNATURE, signature)?,
        })
    }
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
        let body = body(bytes)?;
        let mut r = Reader::new(&body);
        let (mut token, mut expires_in, mut audience) = (None, None, None);
        let (mut key, mut scope, mut token_type, mut server_time) = (None, None, POP, None);
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            let mut read = || -> Result<(), Bad> {
                match label {
                    Some(ACCESS_TOKEN) => token = Some(r.bytes()?),
                    Some(EXPIRES_IN) => expires_in = Some(r.uint()?),
                    Some(AUDIENCE) => audience = Some(Audience::parse(r.text()?)?),
                    Some(CNF) => key = Some(IssuedKey::read(r.item()?)?),
                    Some(SCOPE) => scope = Some(Scope::from_aif(r.bytes()?).map_err(|_| Bad)?),
                    Some(TOKEN_TYPE) => token_type = r.uint()?,
                    Some(SERVER_TIME) => server_time = Some(r.uint()?),
                    _ => r.skip()?,
                }
                Ok(())
            };
            in_member(label, read())?;
        }
        Ok(Self {
            access_token: required(ACCESS_TOKEN, token)?.to_vec(),
            expires_in: required(EXPIRES_IN, expires_in)?,
            bearer: token_type == BEARER,
            key,
            audience: required(AUDIENCE, audience)?,
            scope: required(SCOPE, scope)?,
            server_time: UnixSeconds::new(required(SERVER_TIME, server_time)?),
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
    /// The service's clock. Nobody signed it: a hint for a person, and no time to sign for.
    pub server_time: UnixSeconds,
    /// A nonce to sign in the place of the time, when the time or the nonce of the request was refused.
    pub cnonce: Option<Vec<u8>>,
}

impl RefusalAnswer {
    /// A refusal with the words that go with its code.
    pub fn new(error: AceError, code: RefusalCode, server_time: UnixSeconds) -> Self {
        let description = code.words().to_string();
        Self { error: error as u64, description, code: Some(code), server_time, cnonce: None }
    }

    /// The same, with a nonce to sign instead of a time.
    pub fn with_cnonce(mut self, cnonce: &[u8]) -> Self {
        self.cnonce = Some(cnonce.to_vec());
        self
    }

    /// The same, with what was wrong and where.
    pub fn because(mut self, detail: &str) -> Self {
        self.description = format!("{}: {detail}", self.description);
        self
    }

    /// As `application/ace+cbor`.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(3 + usize::from(self.code.is_some()) + usize::from(self.cnonce.is_some()))
            .int(ERROR)
            .uint(self.error)
            .int(ERROR_DESCRIPTION)
            .text(&self.description);
        if let Some(cnonce) = &self.cnonce {
            w.int(CNONCE).bytes(cnonce);
        }
        w.int(SERVER_TIME).uint(self.server_time.get());
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
        let body = body(bytes)?;
        let mut r = Reader::new(&body);
        let (mut error, mut words, mut code, mut server_time) = (None, "", None, None);
        let mut cnonce = None;
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            let mut read = || -> Result<(), Bad> {
                match label {
                    Some(ERROR) => error = Some(r.uint()?),
                    Some(ERROR_DESCRIPTION) => words = r.text()?,
                    Some(CNONCE) => cnonce = Some(r.bytes()?),
                    Some(SERVER_TIME) => server_time = Some(r.uint()?),
                    Some(CODE) => code = RefusalCode::parse(r.text()?),
                    _ => r.skip()?,
                }
                Ok(())
            };
            in_member(label, read())?;
        }
        Ok(Self {
            error: required(ERROR, error)?,
            description: words.to_string(),
            code,
            cnonce: cnonce.map(<[u8]>::to_vec),
            server_time: UnixSeconds::new(required(SERVER_TIME, server_time)?),
        })
    }
}
