//! Signing keys in a security module behind PKCS#11: made there, never out of it. Without the feature `pkcs11` no module
//! opens.
//!
//! A [`Module`] is one token of one module file. Its calls may take long or hang, so they run on threads of its own: as
//! many at a time as it has sessions, and a bounded number waits. A session that is lost is opened again, and so is the
//! module. [`Module::fault`] says whether the last call came through.

mod error;
mod settings;

#[cfg(not(feature = "pkcs11"))]
mod absent;
#[cfg(feature = "pkcs11")]
mod keys;
#[cfg(feature = "pkcs11")]
mod library;
#[cfg(feature = "pkcs11")]
mod module;
#[cfg(feature = "pkcs11")]
mod pin;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
#[cfg(feature = "pkcs11")]
mod tests;
#[cfg(feature = "pkcs11")]
mod token;

#[cfg(not(feature = "pkcs11"))]
pub use absent::Module;
pub use error::ModuleError;
#[cfg(feature = "pkcs11")]
pub use module::Module;
pub use settings::{KeyKind, ModuleKey, ModuleSettings, ObjectId, Pin};
