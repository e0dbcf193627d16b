//! The order of a device's tokens: serial numbers of the issuer, and the age that tells which of two tokens is the older one.

use alloc::vec::Vec;
use core::fmt;

use super::Epochs;
use crate::limits;
use crate::time::UnixSeconds;

/// The issuer's serial number of a token, 1 to 16 bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A serial from a counter, in shortest bytes.
    pub fn from_counter(counter: u64) -> Self {
        let bytes = counter.to_be_bytes();
        let zeros = bytes.iter().take(7).take_while(|b| **b == 0).count();
        Self(bytes.iter().skip(zeros).copied().collect())
    }

    /// A serial as it stands in a token.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (1..=limits::CTI_BYTES).contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Serial {
    /// Serials of one issuer in the order in which they were given out.
    fn order(&self) -> (usize, &[u8]) {
        (self.0.len(), &self.0)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

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
