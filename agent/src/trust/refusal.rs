use std::fmt;

use tessera_token::trust::TrustError;

/// Why trust data was not taken. The former data stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustRefusal {
    /// Not the CBOR of this message.
    Malformed,
    /// Not signed by the pinned root key.
    Signature,
    /// The root key is not the pinned one.
    Root,
    /// The sequence number or the hash of the predecessor does not fit, or a known number has another hash.
    Order,
    /// Over a limit.
    TooLarge,
    /// A snapshot older than what is known.
    Older,
    /// A snapshot past its validity.
    Expired,
    /// There is nothing yet that events could follow.
    NoSnapshot,
    /// The stored data are damaged or incomplete.
    Damaged,
    /// The heartbeat does not answer the nonce that was sent: it is a recording, or of a service that answers none.
    Nonce,
    /// The known data lie beyond the head of the service: it was restored from an older copy, or another answers.
    Beyond,
    /// It is for other tenants than those of this verifier.
    Tenants,
}

impl TrustRefusal {
    /// The stable code, in log and metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Signature => "signature",
            Self::Root => "root",
            Self::Order => "order",
            Self::TooLarge => "too_large",
            Self::Older => "older",
            Self::Expired => "expired",
            Self::NoSnapshot => "no_snapshot",
            Self::Damaged => "damaged",
            Self::Nonce => "nonce",
            Self::Beyond => "beyond",
            Self::Tenants => "tenants",
        }
    }
}

impl fmt::Display for TrustRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for TrustRefusal {}

impl From<TrustError> for TrustRefusal {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::Malformed => Self::Malformed,
            TrustError::Signature => Self::Signature,
            TrustError::Root => Self::Root,
            TrustError::Order => Self::Order,
            TrustError::TooLarge => Self::TooLarge,
            TrustError::Nonce => Self::Nonce,
            TrustError::Tenants => Self::Tenants,
        }
    }
}
