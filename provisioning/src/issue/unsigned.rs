//! A token that a security module has still to sign. The actor has left it by then, and serves others: a module is slow.

use tessera_runtime::pkcs11::{Module, ModuleKey};
use tessera_token::claims::{Claims, ConfirmationForm};
use tessera_token::key::{Algorithm, KeyId, SignError};
use tessera_token::proof::DerivationKey;
use tessera_token::refusal::RefusalCode;

use super::issuer::signed;
use super::Issued;
use crate::refused::Refused;

/// The outcome of an order at the issuer.
pub(crate) enum Made {
    Signed(Issued),
    Unsigned(Box<Unsigned>),
}

/// A token without its signature.
pub(crate) struct Unsigned {
    /// All but the token itself.
    pub(super) draft: Issued,
    pub(super) claims: Claims,
    pub(super) form: ConfirmationForm,
    pub(super) by: Option<DerivationKey>,
    pub(super) algorithm: Algorithm,
    pub(super) module: Module,
    pub(super) key: ModuleKey,
}

impl Unsigned {
    pub(super) fn key_id(&self) -> KeyId {
        self.draft.key_id
    }

    /// Has the module sign it.
    ///
    /// # Errors
    /// `not_ready` when the module does not answer, `internal` when it has no such key, others as of
    /// [`tessera_token::issue::issue_as`].
    pub(super) async fn sign(self) -> Result<Issued, Refused> {
        let Self { draft, claims, form, by, algorithm, module, key } = self;
        let work = move |key: &dyn tessera_token::key::Signer| {
            signed((&claims, form, by.as_ref()), algorithm, key)
        };
        let token = module.with_key(key, work).await;
        let token = token.map_err(|error| RefusalCode::from(SignError::from(&error)))??;
        Ok(Issued { token, ..draft })
    }
}
