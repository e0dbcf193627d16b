//! Rotation of refresh tokens: the meaning of one that is shown, from its family's row alone.

use crate::records::families::{FamilyRecord, Place};

/// The meaning of a refresh token that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It was given last: its successor is given.
    Next,
    /// The request that used it comes again: its answer was lost.
    Again,
    /// It was used before, and another request shows it now.
    Reused,
    /// This service made it, and the row is older: rows were lost.
    Beyond,
}

/// The step for the token of this place, in a request with a nonce of this hash.
pub(crate) fn step(row: &FamilyRecord, shown: Place, nonce_hash: &[u8; 32]) -> Step {
    let is_again =
        row.used.as_ref().is_some_and(|used| used.place == shown && used.nonce_hash == *nonce_hash);
    match shown.cmp(&row.place) {
        _ if is_again => Step::Again,
        std::cmp::Ordering::Equal => Step::Next,
        std::cmp::Ordering::Greater => Step::Beyond,
        std::cmp::Ordering::Less => Step::Reused,
    }
}

/// The place of the successor, above both.
pub(crate) fn successor(row: &FamilyRecord, shown: Place, floor: u64) -> Place {
    let highest = row.place.max(shown);
    Place {
        line: floor.max(highest.line),
        number: row.place.number.max(shown.number).saturating_add(1),
    }
}

/// Whether the service came back from an older copy since the row was written: it may be older than tokens of the family,
/// or have been ended in the part that was lost.
pub(crate) fn is_before_restoration(row: &FamilyRecord, floor: u64) -> bool {
    row.place.line < floor
}
