//! The request for a token: `POST /v1/token`, and the same bytes on `$tessera/token`.

use alloc::vec::Vec;

use super::error::{in_member, required, Bad};
use super::labels::*;
use super::pop_key::is_symmetric;
use super::{body, label, pairs, MessageError, TokenKind};
use crate::cbor::{Reader, Writer};
use crate::ids::{DeviceId, TenantId};
use crate::key::{PublicKey, SecretKey, SIGNATURE_BYTES};
use crate::limits;
use crate::seal::SealKey;
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
    /// The binding that the token is to have.
    pub kind: TokenKind,
    /// The key to which a symmetric key is sealed. It is of this request alone, so that only its signer can read it.
    pub answer_key: Option<SealKey>,
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
        Self::draft(tenant, device, time, nonce, kind).signed_by(key)
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
        let draft = Self::draft(tenant, device, UnixSeconds::new(0), nonce, kind);
        draft.by_nonce(cnonce).signed_by(key)
    }

    /// A request that is not signed yet.
    pub fn draft(
        tenant: &TenantId,
        device: &DeviceId,
        time: UnixSeconds,
        nonce: &[u8],
        kind: TokenKind,
    ) -> Self {
        Self {
            tenant: tenant.clone(),
            device: device.clone(),
            time,
            cnonce: None,
            nonce: nonce.to_vec(),
            kind,
            answer_key: None,
            signature: [0; SIGNATURE_BYTES],
        }
    }

    /// The same by a nonce of the service in the place of the time.
    pub fn by_nonce(mut self, cnonce: &[u8]) -> Self {
        (self.time, self.cnonce) = (UnixSeconds::new(0), Some(cnonce.to_vec()));
        self
    }

    /// The same with the key that a symmetric key is sealed to.
    pub fn answered_to(mut self, key: SealKey) -> Self {
        self.answer_key = Some(key);
        self
    }

    /// The same, signed.
    pub fn signed_by(mut self, key: &SecretKey) -> Self {
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
        let more = usize::from(pop_key.is_some()) + usize::from(self.answer_key.is_some());
        w.array(7 + more)
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
        if let Some(answer_key) = &self.answer_key {
            w.bytes(answer_key);
        }
        w.finish()
    }

    /// As `application/ace+cbor`.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        let pop_key = self.kind.pop_key();
        let more = usize::from(pop_key.is_some()) + usize::from(self.answer_key.is_some());
        w.map(7 + more)
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
        if let Some(answer_key) = &self.answer_key {
            w.int(ANSWER_KEY).bytes(answer_key);
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
        let (mut grant_type, mut token_type) = (CLIENT_CREDENTIALS, POP);
        let (mut pop_key, mut answer_key) = (None, None);
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
                    Some(ANSWER_KEY) => answer_key = Some(r.bytes_of()?),
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
        let kind = TokenKind::of(bearer, pop_key).ok_or(MessageError::Member(POP_KEY))?;
        if answer_key.is_some() && kind != TokenKind::Symmetric {
            return Err(MessageError::Member(ANSWER_KEY));
        }
        Ok(Self {
            tenant: required(TENANT, tenant)?,
            device: required(CLIENT_ID, device)?,
            time: UnixSeconds::new(time),
            cnonce: cnonce.map(<[u8]>::to_vec),
            nonce: nonce.to_vec(),
            kind,
            answer_key,
            signature: required(SIGNATURE, signature)?,
        })
    }
}
