//! The broker's own credential at provisioning.

use std::fmt;

use tessera_runtime::secret::Secret;

/// A token that is not printed.
#[derive(Clone, Default)]
pub struct RelayToken(pub Option<Secret<String>>);

impl fmt::Debug for RelayToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "RelayToken(…)" } else { "RelayToken" })
    }
}
