//! Ways of enrolment: what entitles a device besides the signature of its key.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::error::required;
use super::labels::*;
use super::MessageError;
use crate::ids::DeviceId;
use crate::key::SIGNATURE_BYTES;
use crate::limits;
use crate::pop::{SymmetricKey, MAC_BYTES};

/// A way of enrolment. A group lists those that it takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Way {
    /// A claim code.
    Claim,
    /// The device key itself, which an operator has listed.
    Key,
    /// A secret that is derived from the key of a group and the device id.
    GroupKey,
    /// The certificate of a manufacturer.
    Certificate,
    /// The decision of an operator.
    Approval,
}

impl Way {
    /// Every way.
    pub const ALL: [Self; 5] =
        [Self::Claim, Self::Key, Self::GroupKey, Self::Certificate, Self::Approval];

    /// The name in messages and settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Key => "key",
            Self::GroupKey => "group_key",
            Self::Certificate => "certificate",
            Self::Approval => "approval",
        }
    }

    /// The way of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.as_str() == name)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The entitlement that a request shows. Nothing of it is verified yet.
#[derive(Clone, PartialEq, Eq)]
pub enum Entitlement {
    /// The claim code. A secret until it is used.
    Claim(String),
    /// Nothing more: the device key is on a list.
    Key,
    /// The MAC over the signed bytes by the device's secret. The secret itself is never sent.
    GroupKey([u8; MAC_BYTES]),
    /// A certificate and the signature by its key.
    Certificate(ShownCertificate),
    /// Nothing more: an operator decides.
    Approval,
}

impl Entitlement {
    /// The way that this is of.
    pub fn way(&self) -> Way {
        match self {
            Self::Claim(_) => Way::Claim,
            Self::Key => Way::Key,
            Self::GroupKey(_) => Way::GroupKey,
            Self::Certificate(_) => Way::Certificate,
            Self::Approval => Way::Approval,
        }
    }
}

/// The certificate of a device, with those between it and an authority.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownCertificate {
    /// DER, that of the device first.
    pub chain: Vec<Vec<u8>>,
    /// The signature over the signed bytes by the certificate's key: Ed25519, or r and s of ECDSA on P-256 with SHA-256.
    pub signature: [u8; SIGNATURE_BYTES],
}

/// The members of a request that say by what it is entitled, as they came.
#[derive(Default)]
pub struct ShownMembers {
    /// `claim` when it is missing.
    pub way: Option<Way>,
    /// The claim code.
    pub claim: Option<String>,
    /// The MAC by the device's secret.
    pub mac: Option<[u8; MAC_BYTES]>,
    /// The certificates.
    pub chain: Option<Vec<Vec<u8>>>,
    /// The signature by the certificate's key.
    pub signature: Option<[u8; SIGNATURE_BYTES]>,
}

impl ShownMembers {
    /// The entitlement: the members of its way, all of them and no other.
    ///
    /// # Errors
    /// [`MessageError`], which names the member.
    pub fn entitlement(self) -> Result<Entitlement, MessageError> {
        let way = self.way.unwrap_or(Way::Claim);
        let only = |is_there: bool, of: Way, label: i64| match is_there && way != of {
            true => Err(MessageError::Member(label)),
            false => Ok(()),
        };
        only(self.claim.is_some(), Way::Claim, CLAIM)?;
        only(self.mac.is_some(), Way::GroupKey, SECRET_MAC)?;
        only(self.chain.is_some(), Way::Certificate, CERTIFICATES)?;
        only(self.signature.is_some(), Way::Certificate, CERTIFICATE_SIGNATURE)?;
        Ok(match way {
            Way::Claim => Entitlement::Claim(bounded_claim(required(CLAIM, self.claim)?)?),
            Way::Key => Entitlement::Key,
            Way::GroupKey => Entitlement::GroupKey(required(SECRET_MAC, self.mac)?),
            Way::Certificate => Entitlement::Certificate(ShownCertificate {
                chain: bounded_chain(required(CERTIFICATES, self.chain)?)?,
                signature: required(CERTIFICATE_SIGNATURE, self.signature)?,
            }),
            Way::Approval => Entitlement::Approval,
        })
    }
}

fn bounded_claim(claim: String) -> Result<String, MessageError> {
    match claim.len() <= limits::CLAIM_CODE_BYTES {
        true => Ok(claim),
        false => Err(MessageError::Member(CLAIM)),
    }
}

fn bounded_chain(chain: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, MessageError> {
    let fits = (1..=limits::ENROL_CERTIFICATES).contains(&chain.len())
        && chain.iter().all(|one| (1..=limits::ENROL_CERTIFICATE_BYTES).contains(&one.len()));
    match fits {
        true => Ok(chain),
        false => Err(MessageError::Member(CERTIFICATES)),
    }
}

/// The means by which a device is entitled.
pub enum Means<'a> {
    /// A claim code.
    Claim(&'a str),
    /// Its key is on a list.
    Key,
    /// The secret of the device: see [`device_secret`].
    GroupKey(&'a SymmetricKey),
    /// A certificate, and what signs by its key.
    Certificate {
        /// DER, that of the device first.
        chain: Vec<Vec<u8>>,
        /// Signs; `None` when it cannot.
        sign: &'a (dyn Fn(&[u8]) -> Option<[u8; SIGNATURE_BYTES]> + Sync),
    },
    /// An operator decides.
    Approval,
}

/// The secret of a device: `HMAC-SHA-256(group key, device id)`. A factory puts it into the device; the group key stays
/// with the factory and the service.
pub fn device_secret(group_key: &SymmetricKey, device: &DeviceId) -> SymmetricKey {
    let secret = zeroize::Zeroizing::new(group_key.mac(device.as_str().as_bytes()));
    SymmetricKey::of_mac(&secret)
}
