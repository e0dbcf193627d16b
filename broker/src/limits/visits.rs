//! Limits of connections that become no session: those that publish tokens to `authz-info`, and those that enrol by a claim
//! code.

use std::time::Duration;

/// Tokens that strangers published to `authz-info` and that are kept: 10,000 default tokens take some 5 MiB, the
/// largest ones 40.
pub const AUTHZ_INFO_TOKENS: usize = 10_000;
/// Such tokens from one address prefix.
pub const AUTHZ_INFO_TOKENS_PER_PREFIX: usize = 1_000;

/// Tries of one prefix at once, of tokens and of claim codes apart; each costs at most one signature check, or one
/// question to provisioning.
pub const VISIT_BURST: u32 = 50;
/// Time between further tries of one prefix.
pub const VISIT_INTERVAL: Duration = Duration::from_millis(100);
/// Address prefixes that are remembered for these two.
pub const VISIT_SOURCES: usize = 4_096;
/// Connections of one kind that become no session may use this part of the half-open places together (512): they need not
/// make room.
pub const VISIT_PART: usize = 16;
/// One address prefix may use this part of that (64).
pub const VISIT_PREFIX_PART: usize = 8;
/// How long a connection without credentials may last.
pub const ANONYMOUS_WITHIN: Duration = Duration::from_secs(10);
/// Packets of a connection that becomes no session.
pub const VISIT_PACKETS: u32 = 16;

/// How long a connection by a claim code may last: two relayed requests that take as long as they may.
pub const ENROL_WITHIN: Duration = Duration::from_secs(20);
/// Claim codes about which provisioning is asked at once. A wrong one takes it 25 ms.
pub const ENROL_CHECKS: usize = 32;
/// Those of suspect prefixes among them, all together.
pub const ENROL_SUSPECTS: usize = 4;
/// Requests of one such connection that go to provisioning: a nonce and an enrolment, twice more after refusals.
pub const ENROL_REQUESTS: u8 = 6;
/// Requests of devices whose claims are good that are relayed at once, apart from token requests.
pub const ENROL_RELAYS: usize = 32;
