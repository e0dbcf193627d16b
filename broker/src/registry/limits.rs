//! The limits of the registry, as settings give them.

/// How many sessions there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionLimits {
    /// In all.
    pub all: usize,
    /// Of one tenant.
    pub tenant: usize,
    /// Of one device.
    pub device: usize,
    /// Of one device, those that outlive their connection.
    pub kept_of_device: usize,
}
