use core::fmt;

use super::Subject;
use crate::ace::{Answer, Meant};
use crate::claims::Claims;
use crate::grant::Grant;
use crate::hash::TokenHash;
use crate::key::{KeyId, Thumbprint};
use crate::pop::PopKey;
use crate::refusal::RefusalCode;

/// A token that passed guards 1 to 7. Only [`super::verify`] makes one.
pub struct VerifiedToken {
    pub(super) claims: Claims,
    pub(super) key: Option<PopKey>,
    pub(super) key_id: KeyId,
    pub(super) hash: TokenHash,
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken").field("claims", &self.claims).finish_non_exhaustive()
    }
}

impl VerifiedToken {
    /// Whom the token names.
    pub fn subject(&self) -> Subject {
        Subject { tenant: self.claims.tenant.clone(), device: self.claims.device.clone() }
    }

    /// The claims of the token.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether it is bound to a key; a bearer token is not.
    pub fn is_bound(&self) -> bool {
        self.key.is_some()
    }

    /// The thumbprint of the public key that it is bound to.
    pub fn public_key(&self) -> Option<Thumbprint> {
        match &self.key {
            Some(PopKey::Public(key)) => Some(key.thumbprint()),
            Some(PopKey::Symmetric(_)) | None => None,
        }
    }

    /// The grant for a peer that has *already* proved the key in `cnf` on this connection. The key of a symmetric token
    /// is its own, so no earlier proof speaks for it.
    ///
    /// # Errors
    /// `client_id_mismatch` when tenant or subject differ from `held`, `confirmation_key` when the
    /// key does, `proof_missing` for a symmetric token, `token_older`.
    pub fn renew(self, held: &Grant) -> Result<Grant, RefusalCode> {
        let next = self.for_holder_of(held)?;
        if next.derived_by().is_some() {
            return Err(RefusalCode::ProofMissing);
        }
        if next.confirmation() != held.confirmation() {
            return Err(RefusalCode::ConfirmationKey);
        }
        Ok(next)
    }

    /// The grant for a peer whose request for this very token was signed by the key of its device: the issuer itself
    /// handed it over in answer to that request.
    ///
    /// # Errors
    /// `client_id_mismatch` when tenant or subject differ from `held`, `confirmation_key` when the
    /// device is no longer the one of `held`: its public key is another, or the kind of token changed to bearer;
    /// `token_older`.
    pub fn renew_as_issued(self, held: &Grant) -> Result<Grant, RefusalCode> {
        let next = self.for_holder_of(held)?;
        match next.goes_on_from(held.confirmation()) {
            true => Ok(next),
            false => Err(RefusalCode::ConfirmationKey),
        }
    }

    /// The grant for a peer that re-authenticates (RFC 9431 section 4): it answered a fresh challenge
    /// by the key of the new token, which must be the key of the token that it `held` before, or the device's other kind
    /// of key. `token` is the whole token, `client_id` that of the session.
    ///
    /// # Errors
    /// `bearer_not_allowed` for a token without `cnf`, `proof_invalid` for a wrong answer, and as
    /// [`VerifiedToken::renew_as_issued`].
    pub fn renew_with_proof(
        self,
        held: &Grant,
        answer: &Answer,
        client_id: &str,
        token: &[u8],
    ) -> Result<Grant, RefusalCode> {
        let key = self.key.as_ref().ok_or(RefusalCode::BearerNotAllowed)?;
        let audience = self.claims.audience.as_str();
        if !answer.verifies(key, Meant { audience, client_id, token }) {
            return Err(RefusalCode::ProofInvalid);
        }
        self.renew_as_issued(held)
    }

    fn for_holder_of(self, held: &Grant) -> Result<Grant, RefusalCode> {
        let next = self.into_grant();
        if next.tenant() != held.tenant() || next.device() != held.device() {
            return Err(RefusalCode::ClientIdMismatch);
        }
        next.is_not_older_than(held).then_some(next).ok_or(RefusalCode::TokenOlder)
    }

    pub(super) fn key_name(&self, key: &PopKey) -> Thumbprint {
        key.name(&self.claims.tenant, &self.claims.device)
    }

    pub(super) fn into_grant(self) -> Grant {
        let name = self.key.as_ref().map(|key| self.key_name(key));
        let derived_by = match &self.key {
            Some(PopKey::Symmetric(derived)) => Some(derived.by),
            Some(PopKey::Public(_)) | None => None,
        };
        Grant::new(self.claims, self.key_id, self.hash, name, derived_by)
    }
}
