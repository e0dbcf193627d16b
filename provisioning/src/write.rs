//! The outcome of a write that rests on what was read before, and the attempts until it is committed.

use tessera_token::refusal::RefusalCode;

use crate::limits::ATTEMPTS;
use crate::refused::Refused;

/// Whether a change that rests on what was read could be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Attempt<T> {
    /// Written and durable.
    Committed(T),
    /// Another change got in between: read again and try again.
    Conflict,
}

impl<T> Attempt<T> {
    pub(crate) fn map<U>(self, with: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Self::Committed(value) => Attempt::Committed(with(value)),
            Self::Conflict => Attempt::Conflict,
        }
    }
}

/// Attempts until one is committed: each reads anew, and another change may get in between.
///
/// # Errors
/// `limit_reached` after [`ATTEMPTS`], and every error of an attempt.
pub(crate) async fn until_committed<T>(
    mut attempt: impl AsyncFnMut() -> Result<Attempt<T>, Refused>,
) -> Result<T, Refused> {
    for _ in 0..ATTEMPTS {
        if let Attempt::Committed(done) = attempt().await? {
            return Ok(done);
        }
        tessera_runtime::sql::forget();
    }
    Err(RefusalCode::LimitReached.into())
}
