//! The module of a build without the feature `pkcs11`: it has no value, so nothing is ever asked of it.

use std::convert::Infallible;

use tessera_token::key::{PublicKey, Signer};

use super::{KeyKind, ModuleError, ModuleKey, ModuleSettings, ObjectId};
use crate::clock::SharedClock;

/// A token that cannot be opened in this build.
#[derive(Clone)]
pub struct Module(Infallible);

impl Module {
    /// Says that this build has no PKCS#11.
    ///
    /// # Errors
    /// [`ModuleError::NotBuilt`], always.
    pub fn open(_: ModuleSettings, _: SharedClock) -> Result<Self, ModuleError> {
        Err(ModuleError::NotBuilt)
    }

    /// The label of the token.
    pub fn token(&self) -> &str {
        match self.0 {}
    }

    /// Why the last call did not come through.
    pub fn fault(&self) -> Option<ModuleError> {
        match self.0 {}
    }

    /// Asks the token whether it answers.
    #[allow(clippy::missing_errors_doc, reason = "it cannot be called")]
    pub async fn check(&self) -> Result<(), ModuleError> {
        match self.0 {}
    }

    /// Asks the token whether it signs with this key.
    #[allow(clippy::missing_errors_doc, reason = "it cannot be called")]
    pub async fn try_key(&self, _: ModuleKey) -> Result<(), ModuleError> {
        match self.0 {}
    }

    /// Makes a key.
    #[allow(clippy::missing_errors_doc, reason = "it cannot be called")]
    pub async fn generate(
        &self,
        _: KeyKind,
        _: ObjectId,
        _: &str,
    ) -> Result<PublicKey, ModuleError> {
        match self.0 {}
    }

    /// Whether the private key is there.
    #[allow(clippy::missing_errors_doc, reason = "it cannot be called")]
    pub async fn holds(&self, _: ObjectId) -> Result<bool, ModuleError> {
        match self.0 {}
    }

    /// Does `work` with the key.
    #[allow(clippy::missing_errors_doc, reason = "it cannot be called")]
    pub async fn with_key<T: Send + 'static>(
        &self,
        _: ModuleKey,
        _: impl FnOnce(&dyn Signer) -> T + Send + 'static,
    ) -> Result<T, ModuleError> {
        match self.0 {}
    }

    /// Destroys the private key.
    #[allow(clippy::missing_errors_doc, reason = "it cannot be called")]
    pub async fn destroy(&self, _: ObjectId) -> Result<bool, ModuleError> {
        match self.0 {}
    }
}
