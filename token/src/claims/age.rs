//! The age that tells which of two tokens of a device is the older one.

use super::Epochs;
use crate::ids::Serial;
use crate::time::UnixSeconds;

/// The age by which two tokens of one device are ordered: the epochs, which never move back, then `iat` together
/// with the issuer's serial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Age {
    pub(super) issued: UnixSeconds,
    pub(super) serial: Serial,
    pub(super) epochs: Epochs,
}

impl Age {
    /// `iat`.
    pub const fn issued(&self) -> UnixSeconds {
        self.issued
    }

    /// Whether a token of this age is older than one of `other`. One of a later epoch is not, whenever it was issued: something
    /// was revoked in between. Of two that `iat` and serial order in different ways neither is: the issuer's clock was set
    /// back, or it came back from an old copy.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        if self.epochs.moved_since(other.epochs).is_some() {
            return false;
        }
        if other.epochs.moved_since(self.epochs).is_some() {
            return true;
        }
        let (own, others) = (self.serial.order(), other.serial.order());
        self.issued <= other.issued && own <= others && (self.issued, own) != (other.issued, others)
    }
}
