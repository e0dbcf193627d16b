//! States of the service that are marks.

use serde::{Deserialize, Serialize};

use super::octets;

/// The mark of [`TrustHead`].
pub(crate) const TRUST_HEAD: &str = "trust_head";

/// The newest event of the trust feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct TrustHead {
    pub(crate) seq: u64,
    #[serde(with = "octets")]
    pub(crate) hash: [u8; 32],
    /// Where the line begins since the last restoration: numbers below were given out on a line that was left.
    pub(crate) start: u64,
    /// The first event behind the beginning names this hash.
    #[serde(with = "octets")]
    pub(crate) start_hash: [u8; 32],
    /// The number of the root set that signs; left out for the first one, as former versions wrote it.
    #[serde(default, skip_serializing_if = "is_first")]
    pub(crate) root: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_first(root: &u64) -> bool {
    *root == 0
}

/// The newest entry of the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct AuditHead {
    pub(crate) seq: u64,
    #[serde(with = "octets")]
    pub(crate) hash: [u8; 32],
}

/// Lived time: see [`crate::clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lived {
    pub(crate) began: u64,
    pub(crate) lived: u64,
    pub(crate) former: u64,
}

/// How a restoration was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NoticedBy {
    /// The copy was marked.
    Copy,
    /// A reader showed that it is beyond.
    Reader,
    /// A reader only said so.
    Claim,
    /// A refresh token is newer than the rows of its family.
    Token,
}

impl NoticedBy {
    /// The word in rows, answers, log and metric.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Reader => "reader",
            Self::Claim => "claim",
            Self::Token => "token",
        }
    }
}

/// One restoration that was noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restoration {
    /// Seconds.
    pub(crate) at: u64,
    /// The newest event of the copy.
    pub(crate) from: u64,
    /// Where the new line begins.
    pub(crate) to: u64,
    /// How it was noticed.
    pub(crate) why: NoticedBy,
}
