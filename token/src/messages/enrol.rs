use alloc::string::ToString;
use alloc::vec::Vec;

use super::error::{in_member, required, Bad};
use super::labels::*;
use super::way::{Entitlement, Means, ShownCertificate, ShownMembers, Way};
use super::{body, label, pairs, MessageError};
use crate::cbor::{Reader, Writer};
use crate::hash::sha256;
use crate::ids::{DeviceId, TenantId};
use crate::key::{cose_key, KeyError, PublicKey, SecretKey, SIGNATURE_BYTES};
use crate::limits;
use crate::refusal::RefusalCode;
use crate::time::UnixSeconds;

const CONTEXT: &str = "tessera-enrol-1";
const CONTEXT_WAY: &str = "tessera-enrol-2";

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
    /// Its entitlement.
    pub entitlement: Entitlement,
    /// The nonce of the service.
    pub nonce: Vec<u8>,
    /// The device key's signature.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl EnrolRequest {
    /// Makes and signs a request by a claim code.
    pub fn sign(
        key: &SecretKey,
        tenant: &TenantId,
        device: &DeviceId,
        claim: &str,
        nonce: &[u8],
    ) -> Self {
        let entitlement = Entitlement::Claim(claim.to_string());
        Self::draft(key, tenant, device, entitlement, nonce).signed_by(key)
    }

    /// Makes and signs a request by any means; `None` when the key of the certificate does not sign.
    pub fn sign_by(
        key: &SecretKey,
        tenant: &TenantId,
        device: &DeviceId,
        means: &Means<'_>,
        nonce: &[u8],
    ) -> Option<Self> {
        let entitlement = match means {
            Means::Claim(claim) => Entitlement::Claim((*claim).to_string()),
            Means::Key => Entitlement::Key,
            Means::GroupKey(_) => Entitlement::GroupKey(Default::default()),
            Means::Certificate { chain, .. } => Entitlement::Certificate(ShownCertificate {
                chain: chain.clone(),
                signature: [0; SIGNATURE_BYTES],
            }),
            Means::Approval => Entitlement::Approval,
        };
        let mut request = Self::draft(key, tenant, device, entitlement, nonce);
        let message = request.signed_bytes(&key.public());
        match (&mut request.entitlement, means) {
            (Entitlement::GroupKey(mac), Means::GroupKey(secret)) => *mac = secret.mac(&message),
            (Entitlement::Certificate(shown), Means::Certificate { sign, .. }) => {
                shown.signature = sign(&message)?;
            }
            _ => {}
        }
        Some(request.signed_by(key))
    }

    fn draft(
        key: &SecretKey,
        tenant: &TenantId,
        device: &DeviceId,
        entitlement: Entitlement,
        nonce: &[u8],
    ) -> Self {
        Self {
            tenant: tenant.clone(),
            device: device.clone(),
            key: key.public().as_bytes().to_vec(),
            entitlement,
            nonce: nonce.to_vec(),
            signature: [0; SIGNATURE_BYTES],
        }
    }

    fn signed_by(mut self, key: &SecretKey) -> Self {
        self.signature = key.sign(&self.signed_bytes(&key.public()));
        self
    }

    /// The way of enrolment.
    pub fn way(&self) -> Way {
        self.entitlement.way()
    }

    /// The claim code, where the request has one.
    pub fn claim(&self) -> Option<&str> {
        match &self.entitlement {
            Entitlement::Claim(claim) => Some(claim),
            _ => None,
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
        if key.verifies(&self.signed_bytes(&key), &self.signature) {
            Ok(key)
        } else {
            Err(RefusalCode::ProofInvalid)
        }
    }

    /// The bytes that the device key signs, and that the secret or the certificate's key of a device answers for too.
    pub fn signed_bytes(&self, key: &PublicKey) -> Vec<u8> {
        let mut w = Writer::new();
        if let Entitlement::Claim(claim) = &self.entitlement {
            w.array(6).text(CONTEXT);
            self.signed_names(&mut w, key).bytes(&sha256(claim.as_bytes())).bytes(&self.nonce);
            return w.finish();
        }
        w.array(7).text(CONTEXT_WAY).text(self.way().as_str());
        let shown = match &self.entitlement {
            Entitlement::Certificate(shown) => shown.chain.first().map(|leaf| sha256(leaf)),
            _ => None,
        };
        let shown = shown.as_ref().map_or(&[][..], |hash| hash);
        self.signed_names(&mut w, key).bytes(shown).bytes(&self.nonce);
        w.finish()
    }

    fn signed_names<'w>(&self, w: &'w mut Writer, key: &PublicKey) -> &'w mut Writer {
        w.text(self.tenant.as_str()).text(self.device.as_str()).bytes(key.thumbprint().as_bytes())
    }

    /// As `application/ace+cbor`.
    pub fn to_cbor(&self) -> Vec<u8> {
        let members = match &self.entitlement {
            Entitlement::Claim(_) | Entitlement::Key | Entitlement::Approval => 6,
            Entitlement::GroupKey(_) => 7,
            Entitlement::Certificate(_) => 8,
        };
        let mut w = Writer::new();
        w.map(members)
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
            .bytes(&self.signature);
        match &self.entitlement {
            // As ever: older services know no other way.
            Entitlement::Claim(claim) => {
                w.int(CLAIM).text(claim);
            }
            other => {
                w.int(WAY).text(other.way().as_str());
            }
        }
        match &self.entitlement {
            Entitlement::GroupKey(mac) => {
                w.int(SECRET_MAC).bytes(mac);
            }
            Entitlement::Certificate(shown) => {
                w.int(CERTIFICATES).array(shown.chain.len());
                shown.chain.iter().for_each(|one| {
                    w.bytes(one);
                });
                w.int(CERTIFICATE_SIGNATURE).bytes(&shown.signature);
            }
            _ => {}
        }
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
        let (mut nonce, mut signature, mut shown) = (None, None, ShownMembers::default());
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            let mut read = || -> Result<(), Bad> {
                match label {
                    Some(REQ_CNF) => key = Some(confirmed(&mut r)?),
                    Some(CLIENT_ID) => device = Some(DeviceId::parse(r.text()?)?),
                    Some(TENANT) => tenant = Some(TenantId::parse(r.text()?)?),
                    Some(NONCE) => nonce = Some(r.bytes()?),
                    Some(SIGNATURE) => signature = Some(r.bytes_of()?),
                    Some(CLAIM) => shown.claim = Some(r.text()?.to_string()),
                    Some(WAY) => shown.way = Some(Way::parse(r.text()?).ok_or(Bad)?),
                    Some(SECRET_MAC) => shown.mac = Some(r.bytes_of()?),
                    Some(CERTIFICATES) => shown.chain = Some(chain(&mut r)?),
                    Some(CERTIFICATE_SIGNATURE) => shown.signature = Some(r.bytes_of()?),
                    _ => r.skip()?,
                }
                Ok(())
            };
            in_member(label, read())?;
        }
        let nonce = required(NONCE, nonce)?;
        if !limits::NONCE_BYTES.contains(&nonce.len()) {
            return Err(MessageError::Member(NONCE));
        }
        Ok(Self {
            entitlement: shown.entitlement()?,
            tenant: required(TENANT, tenant)?,
            device: required(CLIENT_ID, device)?,
            key: required(REQ_CNF, key)?,
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

fn chain(r: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, Bad> {
    let count = r.array()?;
    if !(1..=limits::ENROL_CERTIFICATES).contains(&count) {
        return Err(Bad);
    }
    (0..count).map(|_| Ok(r.bytes()?.to_vec())).collect()
}
