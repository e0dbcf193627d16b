//! The outcome of a write that rests on what was read before.

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
