//! The reason that a device has no connection.

use tessera_simulators::mqtt::{Closed, Told};

use super::folder::Folder;
use crate::error::Fault;

/// Why there is no connection.
pub(in crate::device) enum End {
    /// The broker refuses or is away.
    Closed(Closed),
    /// No password could be made.
    Fault(Fault),
}

impl From<Closed> for End {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

impl End {
    /// Whether the same may succeed later. A refusal of the credential is for good: it comes after a new token.
    pub(in crate::device) fn is_passing(&self) -> bool {
        match self {
            Self::Closed(Closed::Refused(reason)) => Told::of(reason).is_passing(),
            Self::Closed(_) => true,
            Self::Fault(fault) => fault.is_passing(),
        }
    }

    /// In words, with what to do.
    pub(in crate::device) fn told(self, folder: &Folder) -> Fault {
        let dir = folder.path().display();
        match self {
            Self::Fault(fault) => fault,
            Self::Closed(closed @ Closed::Refused(_)) => Fault::new(closed.to_string())
                .hint(format!("the wire does not say why; ask: tessera device doctor --dir {dir}")),
            Self::Closed(closed) => {
                Fault::new(closed.to_string()).hint("is the broker running, and is --mqtt right?")
            }
        }
    }
}
