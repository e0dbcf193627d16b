//! Settings that apply to every session.

/// Settings that apply to every session.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names are those of the constants in limits.rs")]
pub struct SessionPolicy {
    pub max_packet: usize,
    pub receive_maximum: u16,
    pub queue_messages: usize,
    pub queue_bytes: usize,
    pub subscriptions: usize,
    pub session_expiry: u32,
    pub keep_alive: u16,
    pub reason_strings: bool,
    pub shared_for_v311: bool,
    pub suppress_will_on_revocation: bool,
}
