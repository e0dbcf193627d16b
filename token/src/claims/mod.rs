//! The claims of an access token, typed (RFC 8392, RFC 8747, RFC 9200; layout in ARCHITECTURE.md).

mod age;

use alloc::vec::Vec;

use crate::cbor::{CborError, Reader, Writer};
use crate::ids::{Audience, DeviceId, TenantId};
use crate::key::{PublicKey, Thumbprint};
use crate::limits;
use crate::pop::{Derived, PopKey};
use crate::refusal::RefusalCode;
use crate::scope::Scope;
use crate::time::UnixSeconds;

pub use crate::ids::Serial;
pub use age::Age;

pub(crate) const ISS: i64 = 1;
pub(crate) const SUB: i64 = 2;
pub(crate) const AUD: i64 = 3;
pub(crate) const EXP: i64 = 4;
pub(crate) const NBF: i64 = 5;
pub(crate) const IAT: i64 = 6;
pub(crate) const CTI: i64 = 7;
pub(crate) const CNF: i64 = 8;
pub(crate) const SCOPE: i64 = 9;
/// Private claim: `[tenant epoch, group number, group epoch, device epoch]`, trailing zeros left out.
pub(crate) const EPOCHS: i64 = -65537;

const CNF_COSE_KEY: i64 = 1;
const CNF_ENCRYPTED: i64 = 2;
const CNF_KID: i64 = 3;
/// RFC 9679.
const CNF_THUMBPRINT: i64 = 5;

/// The epochs a token was issued under. It is refused when any of them has moved on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Epochs {
    /// The tenant's counter.
    pub tenant: u64,
    /// The number of the device's group within the tenant.
    pub group_number: u64,
    /// The group's counter.
    pub group: u64,
    /// The device's counter.
    pub device: u64,
}

impl Epochs {
    /// The scope of a revocation between a token of the `former` epochs and one of these, as far as the two can tell: epochs move by
    /// revocation alone.
    pub const fn moved_since(&self, former: Self) -> Option<RefusalCode> {
        if self.tenant > former.tenant {
            Some(RefusalCode::TenantEpoch)
        } else if self.group_number == former.group_number && self.group > former.group {
            Some(RefusalCode::GroupEpoch)
        } else if self.device > former.device {
            Some(RefusalCode::DeviceEpoch)
        } else {
            None
        }
    }
}

/// How `cnf` names the key: the whole key for verifiers that know nothing, or a reference, which is
/// shorter, for verifiers that hold the registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ConfirmationForm {
    /// `{1: COSE_Key}`.
    #[default]
    Key,
    /// `{3: kid}`, the first 8 bytes of the thumbprint.
    KeyId,
    /// `{5: thumbprint}` (RFC 9679).
    Thumbprint,
}

impl ConfirmationForm {
    /// The name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::KeyId => "kid",
            Self::Thumbprint => "thumbprint",
        }
    }

    /// The form of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Key, Self::KeyId, Self::Thumbprint].into_iter().find(|form| form.name() == name)
    }
}

/// Claims of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// `iss`.
    pub tenant: TenantId,
    /// `sub`.
    pub device: DeviceId,
    /// `aud`.
    pub audience: Audience,
    /// `exp`: refused at this moment and after.
    pub expires: UnixSeconds,
    /// `nbf`, when there is one.
    pub not_before: Option<UnixSeconds>,
    /// `iat`.
    pub issued: UnixSeconds,
    /// `cti`.
    pub serial: Serial,
    /// `cnf`: the public key that must be proved. `None` makes a bearer token.
    pub confirmation: Option<PublicKey>,
    /// `scope`.
    pub scope: Scope,
    /// The private epochs claim.
    pub epochs: Epochs,
}

impl Claims {
    /// The age by which it is compared with another token of the device.
    pub fn age(&self) -> Age {
        Age { issued: self.issued, serial: self.serial.clone(), epochs: self.epochs }
    }

    /// The claims set in deterministic CBOR, with the whole key in `cnf`.
    pub fn to_cbor(&self) -> Vec<u8> {
        self.to_cbor_as(ConfirmationForm::Key)
    }

    /// As [`Claims::to_cbor`], with `cnf` in this form.
    pub fn to_cbor_as(&self, form: ConfirmationForm) -> Vec<u8> {
        self.write(self.confirmation.as_ref().map(|key| confirmation(key, form)))
    }

    /// As [`Claims::to_cbor`], with `cnf {3: kid}` for a symmetric key in the place of [`Claims::confirmation`].
    pub fn to_cbor_with_kid(&self, kid: &[u8]) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(1).int(CNF_KID).bytes(kid);
        self.write(Some(w.finish()))
    }

    fn write(&self, cnf: Option<Vec<u8>>) -> Vec<u8> {
        let pairs = 8 + usize::from(self.not_before.is_some()) + usize::from(cnf.is_some());
        let mut w = Writer::new();
        w.map(pairs)
            .int(ISS)
            .text(self.tenant.as_str())
            .int(SUB)
            .text(self.device.as_str())
            .int(AUD)
            .text(self.audience.as_str())
            .int(EXP)
            .uint(self.expires.get());
        if let Some(nbf) = self.not_before {
            w.int(NBF).uint(nbf.get());
        }
        w.int(IAT).uint(self.issued.get()).int(CTI).bytes(self.serial.as_bytes());
        if let Some(cnf) = cnf {
            w.int(CNF).raw(&cnf);
        }
        w.int(SCOPE).bytes(&self.scope.to_aif());
        w.int(EPOCHS);
        write_epochs(&mut w, self.epochs);
        w.finish()
    }

    /// Reads every claim with its type. Unknown claims are left out (RFC 8392 section 3); a known
    /// one of the wrong type is an error, never absent. A token whose `cnf` only refers to its key
    /// needs [`Claims::from_cbor_for`].
    ///
    /// # Errors
    /// `claims_malformed`, `confirmation_key`, `scope_malformed`, `issuer_mismatch` (an `iss` that
    /// is no tenant id), `audience_mismatch` (an `aud` that is no audience).
    pub fn from_cbor(payload: &[u8]) -> Result<Self, RefusalCode> {
        Self::read(payload, &Held(None)).map(|(claims, _)| claims)
    }

    /// As [`Claims::from_cbor`], for the device with this key: a `cnf` that refers to a key must
    /// refer to it.
    ///
    /// # Errors
    /// As [`Claims::from_cbor`].
    pub fn from_cbor_for(payload: &[u8], key: &PublicKey) -> Result<Self, RefusalCode> {
        Self::read(payload, &Held(Some(key))).map(|(claims, _)| claims)
    }

    /// As [`Claims::from_cbor`], for a holder of the token that need not know whose key it is bound to: `cnf` is not
    /// looked at, and [`Claims::confirmation`] stays empty.
    ///
    /// # Errors
    /// As [`Claims::from_cbor`].
    pub fn from_cbor_without_key(payload: &[u8]) -> Result<Self, RefusalCode> {
        let raw = Raw::read(payload).map_err(|_| RefusalCode::ClaimsMalformed)?;
        Self::judge(&raw)
    }

    /// The claims, and the key that must be proved; `None` for a bearer token.
    pub(crate) fn read(
        payload: &[u8],
        keys: &impl KeySource,
    ) -> Result<(Self, Option<PopKey>), RefusalCode> {
        let raw = Raw::read(payload).map_err(|_| RefusalCode::ClaimsMalformed)?;
        let mut claims = Self::judge(&raw)?;
        let key = match raw.cnf {
            Some(cnf) => {
                let cnf = Confirmation::read(cnf).ok().flatten();
                let key = cnf.and_then(|cnf| cnf.resolve(&claims, keys));
                Some(key.ok_or(RefusalCode::ConfirmationKey)?)
            }
            None => None,
        };
        if let Some(PopKey::Public(public)) = &key {
            claims.confirmation = Some(public.clone());
        }
        Ok((claims, key))
    }

    fn judge(raw: &Raw<'_>) -> Result<Self, RefusalCode> {
        let missing = RefusalCode::ClaimsMalformed;
        Ok(Self {
            tenant: TenantId::parse(raw.iss.ok_or(missing)?)
                .map_err(|_| RefusalCode::IssuerMismatch)?,
            device: DeviceId::parse(raw.sub.ok_or(missing)?).map_err(|_| missing)?,
            audience: Audience::parse(raw.aud.ok_or(missing)?)
                .map_err(|_| RefusalCode::AudienceMismatch)?,
            expires: raw.exp.ok_or(missing)?,
            not_before: raw.nbf,
            issued: raw.iat.ok_or(missing)?,
            serial: raw.cti.and_then(Serial::from_bytes).ok_or(missing)?,
            confirmation: None,
            scope: Scope::from_aif(raw.scope.ok_or(missing)?)
                .map_err(|_| RefusalCode::ScopeMalformed)?,
            epochs: raw.epochs.ok_or(missing)?,
        })
    }
}

/// Where the key behind a `cnf` comes from.
pub(crate) trait KeySource {
    /// Judges a COSE_Key that stands in a token.
    fn judge(&self, cose_key: &[u8]) -> Option<PublicKey>;
    /// The public key that is registered for the device.
    fn device_key(&self, tenant: &TenantId, device: &DeviceId) -> Option<PublicKey>;
    /// The symmetric key of this token under this kid.
    fn symmetric_key(&self, kid: &[u8]) -> Option<Derived>;
}

/// A reader without a registry; a device knows its own key.
struct Held<'k>(Option<&'k PublicKey>);

impl KeySource for Held<'_> {
    fn judge(&self, cose_key: &[u8]) -> Option<PublicKey> {
        PublicKey::from_cose_key(cose_key).ok()
    }
    fn device_key(&self, _: &TenantId, _: &DeviceId) -> Option<PublicKey> {
        self.0.cloned()
    }
    fn symmetric_key(&self, _: &[u8]) -> Option<Derived> {
        None
    }
}

/// Contents of `cnf`: exactly one of these. Unknown members are ignored (RFC 8747 section 3.1).
enum Confirmation<'b> {
    Key(&'b [u8]),
    KeyId(&'b [u8]),
    Thumbprint(Thumbprint),
}

impl<'b> Confirmation<'b> {
    fn read(cnf: &'b [u8]) -> Result<Option<Self>, CborError> {
        let mut r = Reader::new(cnf);
        let mut found = None;
        for _ in 0..r.map()? {
            let one = match r.label()? {
                Some(CNF_COSE_KEY) => Self::Key(r.item()?),
                Some(CNF_KID) => Self::KeyId(r.bytes()?),
                Some(CNF_THUMBPRINT) => Self::Thumbprint(Thumbprint::from_bytes(r.bytes_of()?)),
                Some(CNF_ENCRYPTED) => return Ok(None),
                _ => {
                    r.skip()?;
                    continue;
                }
            };
            if found.replace(one).is_some() {
                return Ok(None);
            }
        }
        Ok(found)
    }

    fn resolve(&self, claims: &Claims, keys: &impl KeySource) -> Option<PopKey> {
        let registered = || keys.device_key(&claims.tenant, &claims.device);
        match self {
            Self::Key(cose_key) => keys.judge(cose_key).map(PopKey::Public),
            Self::Thumbprint(thumbprint) => {
                registered().filter(|key| key.thumbprint() == *thumbprint).map(PopKey::Public)
            }
            Self::KeyId(kid) if kid.len() > limits::CNF_KID_BYTES => None,
            Self::KeyId(kid) => registered()
                .filter(|key| key.key_id().as_bytes() == kid)
                .map(PopKey::Public)
                .or_else(|| keys.symmetric_key(kid).map(PopKey::Symmetric)),
        }
    }
}

fn confirmation(key: &PublicKey, form: ConfirmationForm) -> Vec<u8> {
    let mut w = Writer::new();
    w.map(1);
    match form {
        ConfirmationForm::Key => w.int(CNF_COSE_KEY).raw(&key.to_cose_key()),
        ConfirmationForm::KeyId => w.int(CNF_KID).bytes(key.key_id().as_bytes()),
        ConfirmationForm::Thumbprint => w.int(CNF_THUMBPRINT).bytes(key.thumbprint().as_bytes()),
    };
    w.finish()
}

/// The claims by label, borrowed and not yet judged.
#[derive(Default)]
pub(crate) struct Raw<'b> {
    pub(crate) iss: Option<&'b str>,
    pub(crate) sub: Option<&'b str>,
    pub(crate) aud: Option<&'b str>,
    pub(crate) exp: Option<UnixSeconds>,
    pub(crate) nbf: Option<UnixSeconds>,
    pub(crate) iat: Option<UnixSeconds>,
    pub(crate) cti: Option<&'b [u8]>,
    pub(crate) cnf: Option<&'b [u8]>,
    pub(crate) scope: Option<&'b [u8]>,
    pub(crate) epochs: Option<Epochs>,
}

impl<'b> Raw<'b> {
    /// Reads a payload that passed the strict pre-check.
    pub(crate) fn read(payload: &'b [u8]) -> Result<Self, CborError> {
        let mut r = Reader::new(payload);
        let mut raw = Self::default();
        for _ in 0..r.map()? {
            match r.label()? {
                Some(ISS) => raw.iss = Some(r.text()?),
                Some(SUB) => raw.sub = Some(r.text()?),
                Some(AUD) => raw.aud = Some(r.text()?),
                Some(EXP) => raw.exp = Some(UnixSeconds::new(r.uint()?)),
                Some(NBF) => raw.nbf = Some(UnixSeconds::new(r.uint()?)),
                Some(IAT) => raw.iat = Some(UnixSeconds::new(r.uint()?)),
                Some(CTI) => raw.cti = Some(r.bytes()?),
                Some(CNF) => raw.cnf = Some(r.item()?),
                Some(SCOPE) => raw.scope = Some(r.bytes()?),
                Some(EPOCHS) => raw.epochs = Some(epochs(&mut r)?),
                _ => r.skip()?,
            }
        }
        r.end()?;
        Ok(raw)
    }
}

/// Trailing zeros are left out: most tokens of most fleets then spend one byte here, not five,
/// which decides whether a CONNECT fits 256 bytes.
fn write_epochs(w: &mut Writer, e: Epochs) {
    let counters = [e.tenant, e.group_number, e.group, e.device];
    let zeros = counters.iter().rev().take_while(|c| **c == 0).count();
    w.array(counters.len() - zeros);
    for counter in counters.iter().take(counters.len() - zeros) {
        w.uint(*counter);
    }
}

fn epochs(r: &mut Reader<'_>) -> Result<Epochs, CborError> {
    let n = r.array()?;
    let mut counters = [0u64; 4];
    if n > counters.len() {
        return Err(CborError);
    }
    for counter in counters.iter_mut().take(n) {
        *counter = r.uint()?;
    }
    let [tenant, group_number, group, device] = counters;
    // One form only: a last counter of zero would have been left out.
    if n > 0 && counters.get(n - 1) == Some(&0) {
        return Err(CborError);
    }
    Ok(Epochs { tenant, group_number, group, device })
}
