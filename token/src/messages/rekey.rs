//! The request for a new device key: `POST /v1/rekey`.

use alloc::vec::Vec;

use super::enrol::confirmed;
use super::error::{in_member, required, Bad};
use super::labels::*;
use super::{body, label, pairs, MessageError};
use crate::cbor::{Reader, Writer};
use crate::ids::{DeviceId, TenantId};
use crate::key::{cose_key, PublicKey, SecretKey, Thumbprint, SIGNATURE_BYTES};
use crate::limits;
use crate::refusal::RefusalCode;

const CONTEXT: &str = "tessera-rekey-1";
/// A device that has lost its key: an operator must approve the new one.
const CONTEXT_LOST: &str = "tessera-rekey-lost-1";

/// `POST /v1/rekey`: another key in the place of the one that the device has, proved by both; or by the new one alone, when the
/// device has lost its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RekeyRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The new public key in record form ([`PublicKey::from_bytes`]), not judged yet.
    pub key: Vec<u8>,
    /// The nonce of the service.
    pub nonce: Vec<u8>,
    /// The signature of the new key.
    pub signature: [u8; SIGNATURE_BYTES],
    /// The former key and its signature over the same bytes; `None` when it is lost.
    pub former: Option<FormerKey>,
}

/// The key that a device has until it gets another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FormerKey {
    /// Its name. Both keys sign it, so that the request can be checked again after the exchange.
    pub thumbprint: Thumbprint,
    /// Its signature.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl RekeyRequest {
    /// Makes a request that both keys sign.
    pub fn sign(
        former: &SecretKey,
        new: &SecretKey,
        tenant: &TenantId,
        device: &DeviceId,
        nonce: &[u8],
    ) -> Self {
        let thumbprint = former.public().thumbprint();
        let message = signed_bytes(tenant, device, Some(&thumbprint), &new.public(), nonce);
        let former = FormerKey { thumbprint, signature: former.sign(&message) };
        Self::draft(new, &message, tenant, device, nonce, Some(former))
    }

    /// Makes a request of a device that has lost its key.
    pub fn sign_lost(new: &SecretKey, tenant: &TenantId, device: &DeviceId, nonce: &[u8]) -> Self {
        let message = signed_bytes(tenant, device, None, &new.public(), nonce);
        Self::draft(new, &message, tenant, device, nonce, None)
    }

    fn draft(
        new: &SecretKey,
        message: &[u8],
        tenant: &TenantId,
        device: &DeviceId,
        nonce: &[u8],
        former: Option<FormerKey>,
    ) -> Self {
        Self {
            tenant: tenant.clone(),
            device: device.clone(),
            key: new.public().as_bytes().to_vec(),
            nonce: nonce.to_vec(),
            signature: new.sign(message),
            former,
        }
    }

    /// Checks that the holder of the new key made this request, and judges that key.
    ///
    /// # Errors
    /// `confirmation_key` for an unacceptable key, `proof_invalid` for a wrong signature.
    pub fn verify(&self) -> Result<PublicKey, RefusalCode> {
        let key = PublicKey::from_bytes(&self.key).map_err(|_| RefusalCode::ConfirmationKey)?;
        match key.verifies(&self.signed_bytes(&key), &self.signature) {
            true => Ok(key),
            false => Err(RefusalCode::ProofInvalid),
        }
    }

    /// Whether the holder of the former key made this request too. `new` is the key that [`RekeyRequest::verify`] gave.
    #[must_use]
    pub fn is_signed_by(&self, former: &PublicKey, new: &PublicKey) -> bool {
        self.former.as_ref().is_some_and(|known| {
            let is_signed = former.verifies(&self.signed_bytes(new), &known.signature);
            is_signed && known.thumbprint == former.thumbprint()
        })
    }

    fn signed_bytes(&self, new: &PublicKey) -> Vec<u8> {
        let former = self.former.as_ref().map(|former| &former.thumbprint);
        signed_bytes(&self.tenant, &self.device, former, new, &self.nonce)
    }

    /// As `application/ace+cbor`.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(if self.former.is_some() { 7 } else { 5 })
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
        if let Some(former) = &self.former {
            w.int(FORMER_THUMBPRINT).bytes(former.thumbprint.as_bytes());
            w.int(FORMER_SIGNATURE).bytes(&former.signature);
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
        let (mut nonce, mut signature) = (None, None);
        let (mut thumbprint, mut former_signature) = (None, None);
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            let mut read = || -> Result<(), Bad> {
                match label {
                    Some(REQ_CNF) => key = Some(confirmed(&mut r)?),
                    Some(CLIENT_ID) => device = Some(DeviceId::parse(r.text()?)?),
                    Some(TENANT) => tenant = Some(TenantId::parse(r.text()?)?),
                    Some(NONCE) => nonce = Some(r.bytes()?),
                    Some(SIGNATURE) => signature = Some(r.bytes_of()?),
                    Some(FORMER_THUMBPRINT) => thumbprint = Some(r.bytes_of()?),
                    Some(FORMER_SIGNATURE) => former_signature = Some(r.bytes_of()?),
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
            tenant: required(TENANT, tenant)?,
            device: required(CLIENT_ID, device)?,
            key: required(REQ_CNF, key)?,
            nonce: nonce.to_vec(),
            signature: required(SIGNATURE, signature)?,
            former: FormerKey::of(thumbprint, former_signature)?,
        })
    }
}

impl FormerKey {
    /// Both members, or neither.
    fn of(
        thumbprint: Option<[u8; 32]>,
        signature: Option<[u8; SIGNATURE_BYTES]>,
    ) -> Result<Option<Self>, MessageError> {
        match (thumbprint, signature) {
            (None, None) => Ok(None),
            (thumbprint, signature) => Ok(Some(Self {
                thumbprint: Thumbprint::from_bytes(required(FORMER_THUMBPRINT, thumbprint)?),
                signature: required(FORMER_SIGNATURE, signature)?,
            })),
        }
    }
}

fn signed_bytes(
    tenant: &TenantId,
    device: &DeviceId,
    former: Option<&Thumbprint>,
    new: &PublicKey,
    nonce: &[u8],
) -> Vec<u8> {
    let mut w = Writer::new();
    w.array(if former.is_some() { 6 } else { 5 })
        .text(if former.is_some() { CONTEXT } else { CONTEXT_LOST })
        .text(tenant.as_str())
        .text(device.as_str());
    if let Some(former) = former {
        w.bytes(former.as_bytes());
    }
    w.bytes(new.thumbprint().as_bytes()).bytes(nonce);
    w.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(former: bool) -> (RekeyRequest, SecretKey, SecretKey) {
        let (tenant, device) = (TenantId::parse("acme").unwrap(), DeviceId::parse("s-1").unwrap());
        let (old, new) = (SecretKey::from_seed(&[4; 32]), SecretKey::from_seed(&[5; 32]));
        let request = match former {
            true => RekeyRequest::sign(&old, &new, &tenant, &device, &[1; 32]),
            false => RekeyRequest::sign_lost(&new, &tenant, &device, &[1; 32]),
        };
        (request, old, new)
    }

    #[test]
    fn both_keys_sign_everything() {
        for former in [true, false] {
            let (request, old, new) = request(former);
            let read = RekeyRequest::from_cbor(&request.to_cbor()).unwrap();
            assert_eq!(read, request);
            assert_eq!(read.verify(), Ok(new.public()));
            assert_eq!(read.is_signed_by(&old.public(), &new.public()), former);
            assert!(!read.is_signed_by(&new.public(), &new.public()));
            let changes: [fn(&mut RekeyRequest); 4] = [
                |r| r.tenant = TenantId::parse("rival").unwrap(),
                |r| r.device = DeviceId::parse("s-2").unwrap(),
                |r| r.nonce = vec![2; 32],
                |r| r.key = SecretKey::from_seed(&[6; 32]).public().as_bytes().to_vec(),
            ];
            for change in changes {
                let mut other = request.clone();
                change(&mut other);
                assert_eq!(other.verify(), Err(RefusalCode::ProofInvalid));
                let key = PublicKey::from_bytes(&other.key).unwrap();
                assert!(!other.is_signed_by(&old.public(), &key));
            }
        }
    }

    #[test]
    fn a_request_of_one_kind_is_none_of_the_other() {
        let (whole, old, new) = request(true);
        let lost = RekeyRequest { former: None, ..whole.clone() };
        assert_eq!(lost.verify(), Err(RefusalCode::ProofInvalid), "an approval was not asked for");
        let (asked, ..) = request(false);
        let forged = RekeyRequest { former: whole.former, ..asked };
        assert_eq!(forged.verify(), Err(RefusalCode::ProofInvalid));
        // The former key must be the one that is named.
        let mut named = whole.clone();
        named.former = whole
            .former
            .map(|former| FormerKey { thumbprint: new.public().thumbprint(), ..former });
        assert_eq!(named.verify(), Err(RefusalCode::ProofInvalid));
        assert!(!named.is_signed_by(&old.public(), &new.public()));
    }

    #[test]
    fn keys_that_must_not_be_taken_and_halves_are_refused() {
        let (mut request, ..) = request(true);
        request.key = vec![0; 32];
        assert_eq!(request.verify(), Err(RefusalCode::ConfirmationKey));
        let (request, ..) = self::request(true);
        let whole = request.to_cbor();
        // Without its last pair the former key has no signature.
        let mut half = whole[..whole.len() - 71].to_vec();
        half[0] -= 1;
        assert_eq!(RekeyRequest::from_cbor(&half), Err(MessageError::Missing(FORMER_SIGNATURE)));
    }
}
