//! The limits of [`super::Admission`], as settings give them.

/// Limits before authentication.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are those of the constants in limits.rs")]
pub struct AdmissionLimits {
    pub sockets: usize,
    pub sockets_per_prefix: usize,
    pub half_open: usize,
    pub half_open_per_prefix: usize,
    pub connects_per_second: u32,
    pub suspects_per_second: u32,
}
