//! The limits of retained messages, as settings give them.

/// How many retained messages there may be, and how many bytes of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetainedLimits {
    /// In all.
    pub all: (usize, usize),
    /// Of one tenant.
    pub tenant: (usize, usize),
    /// Of one publisher.
    pub device: (usize, usize),
}
