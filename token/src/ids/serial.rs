use alloc::vec::Vec;
use core::fmt;

use crate::limits;

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
    pub(crate) fn order(&self) -> (usize, &[u8]) {
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
