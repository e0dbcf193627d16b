//! Limits of the ways of enrolment.

use std::time::Duration;

use tessera_token::limits as shared;

use super::Rate;

/// Open claims of one tenant, unless the settings say otherwise: five imports of the longest kind. Their rows take some 300 MB.
pub const OPEN_CLAIMS: u64 = 1_000_000;
/// The most that the settings may say.
pub const OPEN_CLAIMS_MOST: u64 = 10_000_000;
/// Open claims for which a count rests a second, so that counting takes a small part of the time: up to a minute for the
/// default.
pub const OPEN_CLAIMS_COUNTED: u64 = 20_000;
/// Devices that may use one claim.
pub const CLAIM_USES: u64 = 100_000;
/// Characters of a pattern of ids: those of an id.
pub const PATTERN_CHARS: usize = shared::ID_CHARS;
/// Ids that are added to the list of a group key in one call.
pub const LISTED_PER_CALL: usize = 1000;
/// Group keys of one tenant: one for each factory line or batch.
pub const GROUP_KEYS: usize = 256;
/// Authorities of manufacturers of one tenant: the certificates of a device are tried against each that may have signed.
pub const AUTHORITIES: usize = 32;
/// Bytes of a manufacturer's authority in DER.
pub const AUTHORITY_BYTES: usize = 4096;
/// Denied certificates of one tenant.
pub const DENIED_CERTIFICATES: usize = 10_000;
/// Requests for approval of one tenant, decided ones included until they expire.
pub const APPROVALS: u64 = 1000;
/// Of them those that came from one address (IPv6: one /64), or by one relay.
pub const APPROVALS_OF_SOURCE: u64 = 100;
/// Of them those that came from one IPv6 /48.
pub const APPROVALS_OF_NETWORK: u64 = 200;
/// All answers to a request for approval that is not granted leave at a multiple of this time after its arrival: whether a row
/// was written is shorter, also on a slow disk.
pub const APPROVAL_BUCKET: Duration = Duration::from_millis(250);
/// Seconds for which a request for approval waits, and for which the decision waits for the device (3 days: a weekend).
pub const APPROVAL_SECONDS: u64 = 3 * 24 * 3600;
/// Seconds after which a device that waits for approval asks again.
pub const APPROVAL_RETRY_SECONDS: u64 = 30;
/// Requests for approval of an address or a relay: they come from strangers and write to the disk.
pub const APPROVAL_ASKS: Rate = Rate { per_second: 10, burst: 200 };
/// The same in total. In the life of a nonce they use up a tenth of [`USED_NONCES`](super::USED_NONCES) at most.
pub const APPROVAL_ASKS_TOTAL: Rate = Rate { per_second: 100, burst: 2000 };
