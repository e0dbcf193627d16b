//! Key pairs of a token: made there so that they cannot leave it, found, used and destroyed.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use tessera_token::hash::sha256;
use tessera_token::key::{PublicKey, SignError, Signer, SIGNATURE_BYTES};

use super::library::Open;
use super::token::{Token, Tried};
use super::{KeyKind, ModuleError, ModuleKey, ObjectId};

/// The curves as object identifiers in DER.
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// Ed25519 as the name that PKCS#11 3.0 allows in its place, which some modules want: a PrintableString.
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";
/// The bytes that a key signs to show that it can. They are no CBOR that is signed for anything else.
const TRIAL: &[u8] = b"tessera: a key signs";

impl Token {
    /// Whether the token answers.
    pub(super) fn check(&self) -> Result<(), ModuleError> {
        self.run(|open| match open.session.get_session_info() {
            Ok(_) => Tried::Done(Ok(())),
            Err(error) => error.into(),
        })
    }

    /// Makes a key pair, of which the token keeps the private half.
    pub(super) fn generate(
        &self,
        kind: KeyKind,
        object: ObjectId,
        label: &str,
    ) -> Result<PublicKey, ModuleError> {
        let public = self.run(|open| made(open, kind, object, label))?;
        let key = ModuleKey { object, public };
        if let Err(error) = self.try_key(&key) {
            // It serves nothing. The first error is the one to tell.
            let _ = self.destroy(object);
            return Err(error);
        }
        Ok(key.public)
    }

    /// Whether the key signs.
    pub(super) fn try_key(&self, key: &ModuleKey) -> Result<(), ModuleError> {
        self.sign(key, TRIAL).map(|_| ())
    }

    /// Whether the private key is there.
    pub(super) fn holds(&self, object: ObjectId) -> Result<bool, ModuleError> {
        self.run(|open| match private(&open.session, object) {
            Ok(found) => Tried::Done(found.map(|found| found.is_some())),
            Err(error) => error.into(),
        })
    }

    /// Signs, and verifies that the signature is one of this key.
    pub(super) fn sign(
        &self,
        key: &ModuleKey,
        message: &[u8],
    ) -> Result<[u8; SIGNATURE_BYTES], ModuleError> {
        let signature = self.run(|open| signed(open, key, message))?;
        let signature = <[u8; SIGNATURE_BYTES]>::try_from(signature.as_slice()).ok();
        let signature = signature.filter(|signature| key.public.verifies(message, signature));
        signature.ok_or(ModuleError::WrongSignature(key.object))
    }

    /// Destroys the private key; `false` when it is not there.
    pub(super) fn destroy(&self, object: ObjectId) -> Result<bool, ModuleError> {
        self.run(|open| {
            open.forget(object);
            let found = match private(&open.session, object) {
                Ok(Ok(Some(found))) => found,
                Ok(Ok(None)) => return Tried::Done(Ok(false)),
                Ok(Err(error)) => return Tried::Done(Err(error)),
                Err(error) => return error.into(),
            };
            match open.session.destroy_object(found) {
                Ok(()) => Tried::Done(Ok(true)),
                Err(error) if is_gone(&error) => Tried::Done(Ok(false)),
                Err(error) => error.into(),
            }
        })
    }
}

/// A key as [`Signer`], for the threads that may wait for the module.
pub(super) struct InToken<'a> {
    pub(super) token: &'a Token,
    pub(super) key: &'a ModuleKey,
}

impl Signer for InToken<'_> {
    fn public(&self) -> PublicKey {
        self.key.public.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignError> {
        self.token.sign(self.key, message).map_err(|error| {
            if error.is_of_a_key() {
                tracing::error!(code = error.code(), %error, token = self.token.label(), "PKCS#11");
            }
            SignError::from(&error)
        })
    }
}

fn signed(open: &mut Open, key: &ModuleKey, message: &[u8]) -> Tried<Vec<u8>> {
    let mut again = open.handle(key.object).is_some();
    loop {
        let handle = match open.handle(key.object) {
            Some(handle) => handle,
            None => match private(&open.session, key.object) {
                Ok(Ok(Some(found))) => {
                    open.keep(key.object, found);
                    found
                }
                Ok(Ok(None)) => return Tried::Missing(ModuleError::NoKey(key.object)),
                Ok(Err(error)) => return Tried::Done(Err(error)),
                Err(error) => return error.into(),
            },
        };
        let made = match key.kind() {
            KeyKind::Ed25519 => {
                let pure = EddsaParams::new(EddsaSignatureScheme::Ed25519);
                open.session.sign(&Mechanism::Eddsa(pure), handle, message)
            }
            KeyKind::P256 => open.session.sign(&Mechanism::Ecdsa, handle, &sha256(message)),
        };
        match made {
            Ok(signature) => return Tried::Done(Ok(signature)),
            // A handle from before: the object may have another one now.
            Err(error) if is_gone(&error) => {
                open.forget(key.object);
                if !std::mem::take(&mut again) {
                    return Tried::Missing(ModuleError::NoKey(key.object));
                }
            }
            // A key that is destroyed while the module begins to sign gives answers of all kinds.
            Err(error) => {
                open.forget(key.object);
                return match private(&open.session, key.object) {
                    Ok(Ok(None)) => Tried::Missing(ModuleError::NoKey(key.object)),
                    _ => error.into(),
                };
            }
        }
    }
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Pkcs11(RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid, _))
}

/// The one private key of this id.
fn private(
    session: &Session,
    object: ObjectId,
) -> Result<Result<Option<ObjectHandle>, ModuleError>, Error> {
    let wanted = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Token(true),
        Attribute::Id(object.as_bytes().to_vec()),
    ];
    let found = session.find_objects(&wanted)?;
    Ok(match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err(ModuleError::SeveralKeys(object)),
    })
}

fn made(open: &mut Open, kind: KeyKind, object: ObjectId, label: &str) -> Tried<PublicKey> {
    let session = &open.session;
    let (public, private) = match pair(session, kind, object, label) {
        Ok(pair) => pair,
        Err(error @ Error::Pkcs11(RvError::MechanismInvalid | RvError::CurveNotSupported, _)) => {
            return Tried::Done(Err(ModuleError::NoMechanism(format!("{kind:?}: {error}"))));
        }
        Err(error) => return error.into(),
    };
    let judged = judge(session, object, public, private);
    // The public half is a row of ours: the token need not hold it.
    let _ = session.destroy_object(public);
    match judged {
        Ok(Ok(public)) => {
            open.keep(object, private);
            Tried::Done(Ok(public))
        }
        Ok(Err(error)) => {
            let _ = session.destroy_object(private);
            Tried::Done(Err(error))
        }
        Err(error) => {
            let _ = session.destroy_object(private);
            error.into()
        }
    }
}

fn pair(
    session: &Session,
    kind: KeyKind,
    object: ObjectId,
    label: &str,
) -> Result<(ObjectHandle, ObjectHandle), Error> {
    let names =
        [Attribute::Id(object.as_bytes().to_vec()), Attribute::Label(label.as_bytes().to_vec())];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    let private = [&private[..], &names].concat();
    let make = |mechanism, curve: &[u8]| {
        let public = [
            Attribute::Token(false),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(curve.to_vec()),
        ];
        let public = [&public[..], &names].concat();
        session.generate_key_pair(&mechanism, &public, &private)
    };
    match kind {
        KeyKind::P256 => make(Mechanism::EccKeyPairGen, P256),
        KeyKind::Ed25519 => match make(Mechanism::EccEdwardsKeyPairGen, ED25519) {
            Err(Error::Pkcs11(
                RvError::AttributeValueInvalid
                | RvError::DomainParamsInvalid
                | RvError::CurveNotSupported
                | RvError::TemplateInconsistent,
                _,
            )) => make(Mechanism::EccEdwardsKeyPairGen, ED25519_NAME),
            made => made,
        },
    }
}

/// The public half of a pair whose private half stays in the token.
fn judge(
    session: &Session,
    object: ObjectId,
    public: ObjectHandle,
    private: ObjectHandle,
) -> Result<Result<PublicKey, ModuleError>, Error> {
    let kept = [AttributeType::Sensitive, AttributeType::Extractable];
    let kept = session.get_attributes(private, &kept)?;
    let is_kept =
        kept.contains(&Attribute::Sensitive(true)) && kept.contains(&Attribute::Extractable(false));
    if !is_kept {
        return Ok(Err(ModuleError::NotKept(object)));
    }
    let point = session.get_attributes(public, &[AttributeType::EcPoint])?;
    let key = point.iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) => PublicKey::from_bytes(bare(point)).ok(),
        _ => None,
    });
    Ok(key.ok_or(ModuleError::PublicKey(object)))
}

/// The point inside of an OCTET STRING, or of the BIT STRING of some modules; or bare.
fn bare(point: &[u8]) -> &[u8] {
    match point {
        [0x04, 0x20, bare @ ..] if bare.len() == 32 => bare,
        [0x03, 0x21, 0x00, bare @ ..] if bare.len() == 32 => bare,
        [0x04, 0x41, bare @ ..] if bare.len() == 65 => bare,
        [0x03, 0x42, 0x00, bare @ ..] if bare.len() == 65 => bare,
        bare => bare,
    }
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn a_point_comes_out_of_its_string() {
        assert_eq!(bare(&[&[4, 32][..], &[7; 32]].concat()), [7; 32]);
        assert_eq!(bare(&[&[3, 33, 0][..], &[7; 32]].concat()), [7; 32]);
        assert_eq!(bare(&[7; 32]), [7; 32]);
        let xy = [&[4][..], &[7; 64]].concat();
        assert_eq!(bare(&[&[4, 65][..], &xy].concat()), xy);
        assert_eq!(bare(&[&[3, 66, 0][..], &xy].concat()), xy);
        assert_eq!(bare(&xy), xy);
    }
}
