use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::error::{in_member, required, Bad};
use super::labels::*;
use super::{body, label, pairs, MessageError};
use crate::cbor::{Reader, Writer};
use crate::hash::sha256;
use crate::ids::{DeviceId, TenantId};
use crate::key::{cose_key, KeyError, PublicKey, SecretKey, SIGNATURE_BYTES};
use crate::limits;
use crate::refusal::RefusalCode;
use crate::time::UnixSeconds;

const CONTEXT: &str = "tessera-enrol-1";

/// The answer to `POST /v1/enrol/nonce`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NonceAnswer {
    /// The nonce to sign, 8 to 32 bytes.
    pub nonce: Vec<u8>,
    /// Seconds for which it is good.
    pub expires_in: u64,
    /// The service's clock.
    pub server_time: UnixSeconds,
}

impl NonceAnswer {
    /// As `application/ace+cbor`.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(3)
            .int(EXPIRES_IN)
            .uint(self.expires_in)
            .int(CNONCE)
            .bytes(&self.nonce)
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
        let (mut nonce, mut expires_in, mut server_time) = (None, None, None);
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            let mut read = || -> Result<(), Bad> {
                match label {
                    Some(EXPIRES_IN) => expires_in = Some(r.uint()?),
                    Some(CNONCE) => nonce = Some(r.bytes()?),
                    Some(SERVER_TIME) => server_time = Some(r.uint()?),
                    _ => r.skip()?,
                }
                Ok(())
            };
            in_member(label, read())?;
        }
        Ok(Self {
            nonce: required(CNONCE, nonce)?.to_vec(),
            expires_in: required(EXPIRES_IN, expires_in)?,
            server_time: UnixSeconds::new(required(SERVER_TIME, server_time)?),
        })
    }
}

/// `POST /v1/enrol`: binds a device id to a device key, once.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// The device id.
    pub device: DeviceId,
    /// The device's public key in record form ([`PublicKey::from_bytes`]), not judged yet: see
    /// [`EnrolRequest::key`].
    pub key: Vec<u8>,
    /// The claim code that entitles it. A secret until it is used.
    pub claim: String,
    /// The nonce of the service.
    pub nonce: Vec<u8>,
    /// The device key's signature.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl EnrolRequest {
    /// Makes and signs a request.
    pub fn sign(
        key: &SecretKey,
        tenant: &TenantId,
        device: &DeviceId,
        claim: &str,
        nonce: &[u8],
    ) -> Self {
        let public = key.public();
        let message = signed_bytes(tenant, device, &public, claim, nonce);
        Self {
            tenant: tenant.clone(),
            device: device.clone(),
            key: public.as_bytes().to_vec(),
            claim: claim.to_string(),
            nonce: nonce.to_vec(),
            signature: key.sign(&message),
        }
    }

    /// The device key, judged.
    ///
    /// # Errors
    /// [`KeyError`] for a key that must not be enrolled.
    pub fn key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_bytes(&self.key)
    }

    /// Checks that the holder of the key made this request.
    ///
    /// # Errors
    /// `confirmation_key` for an unacceptable key, `proof_invalid` for a wrong signature.
    pub fn verify(&self) -> Result<PublicKey, RefusalCode> {
        let key = self.key().map_err(|_| RefusalCode::ConfirmationKey)?;
        let message = signed_bytes(&self.tenant, &self.device, &key, &self.claim, &self.nonce);
        if key.verifies(&message, &self.signature) {
            Ok(key)
        } else {
            Err(RefusalCode::ProofInvalid)
        }
    }

    /// As `application/ace+cbor`.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(6)
            .int(REQ_CNF)
            .map(1)
            .int(COSE_KEY)
            .raw(&cose_key::write(&self.key))
            .int(CLIENT_ID)
            .text(self.device.as_str())
            .int(TENANT)
            .text(self.tenant.as_str())
            .int(NONCE)
            .bytes(&self.nonce)
            .int(SIGNATURE)
            .bytes(&self.signature)
            .int(CLAIM)
            .text(&self.claim);
        w.finish()
    }

    /// Reads it; nothing is verified yet.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, MessageError> {
        let body = body(bytes)?;
        let mut r = Reader::new(&body);
        let (mut key, mut device, mut tenant) = (None, None, None);
        let (mut nonce, mut signature, mut claim) = (None, None, None);
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            let mut read = || -> Result<(), Bad> {
                match label {
                    Some(REQ_CNF) => key = Some(confirmed(&mut r)?),
                    Some(CLIENT_ID) => device = Some(DeviceId::parse(r.text()?)?),
                    Some(TENANT) => tenant = Some(TenantId::parse(r.text()?)?),
                    Some(NONCE) => nonce = Some(r.bytes()?),
                    Some(SIGNATURE) => signature = Some(r.bytes_of()?),
                    Some(CLAIM) => claim = Some(r.text()?),
                    _ => r.skip()?,
                }
                Ok(())
            };
            in_member(label, read())?;
        }
        let (nonce, claim) = (required(NONCE, nonce)?, required(CLAIM, claim)?);
        if !limits::NONCE_BYTES.contains(&nonce.len()) {
            return Err(MessageError::Member(NONCE));
        }
        if claim.len() > limits::CLAIM_CODE_BYTES {
            return Err(MessageError::Member(CLAIM));
        }
        Ok(Self {
            tenant: required(TENANT, tenant)?,
            device: required(CLIENT_ID, device)?,
            key: required(REQ_CNF, key)?,
            claim: claim.to_string(),
            nonce: nonce.to_vec(),
            signature: required(SIGNATURE, signature)?,
        })
    }
}

pub(super) fn confirmed(r: &mut Reader<'_>) -> Result<Vec<u8>, Bad> {
    let mut key = None;
    for _ in 0..r.map()? {
        match r.label()? {
            Some(COSE_KEY) => key = Some(cose_key::read(r.item()?).map_err(|_| Bad)?),
            _ => r.skip()?,
        }
    }
    key.ok_or(Bad)
}

fn signed_bytes(
    tenant: &TenantId,
    device: &DeviceId,
    key: &PublicKey,
    claim: &str,
    nonce: &[u8],
) -> Vec<u8> {
    let mut w = Writer::new();
    w.array(6)
        .text(CONTEXT)
        .text(tenant.as_str())
        .text(device.as_str())
        .bytes(key.thumbprint().as_bytes())
        .bytes(&sha256(claim.as_bytes()))
        .bytes(nonce);
    w.finish()
}
