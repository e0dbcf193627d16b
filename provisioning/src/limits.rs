//! Every limit of this crate, with its unit and its reason.

use std::time::Duration;

use tessera_token::limits as shared;

pub use alerts::*;
pub use bulk::*;
pub use events::*;
pub use inventory::*;
pub use partners::*;
pub use push::*;
pub use ways::*;
pub use webhooks::*;

mod alerts;
mod bulk;
mod events;
mod inventory;
mod partners;
mod push;
mod ways;
mod webhooks;

/// Bytes of one request body: the largest is a role with all its templates.
pub const BODY_BYTES: usize = 32 * 1024;
/// Bytes of a device message: keys, ids and a signature, with room (as `tessera_token::limits::MESSAGE_BYTES`).
pub const DEVICE_BODY_BYTES: usize = tessera_token::limits::MESSAGE_BYTES;
/// Time for a request's head: a peer that drips it holds a socket only so long.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a request's body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which an idle connection is kept.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Connections at once: the sockets of 16,000 devices, or half of the descriptors. One that does nothing costs some 2 KiB.
pub const CONNECTIONS: usize = 16_384;
/// Connections of one address at once: no address has every place.
pub const CONNECTIONS_PER_ADDRESS: usize = 12_288;
/// Time for one request: the longest poll, or a reader's evidence after a wait for its turn.
pub const REQUEST_TIME: Duration = Duration::from_secs(180);
/// Connections that wait to be accepted.
pub const BACKLOG: u32 = 1024;
/// Time given to running requests when the service stops.
pub const DRAIN: Duration = Duration::from_secs(5);

/// Messages that wait for one actor: callers beyond it wait in their request.
pub const MAILBOX: usize = 1024;
/// Serials reserved with one durable write: at most so many are lost by a crash.
pub const SERIAL_BLOCK: u64 = 1024;
/// Times a change is tried again when another got in between.
pub const ATTEMPTS: usize = 32;

/// Seconds for which an enrolment nonce is good: a device on a slow network needs two round trips.
pub const NONCE_SECONDS: u64 = 120;
/// Used enrolment nonces remembered until they expire; past it enrolment answers `rate_limited`.
pub const USED_NONCES: usize = 200_000;
/// Between two looks at what other processes of the same database have published.
pub const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// The same while the database is away.
pub const FOLLOW_AGAIN: Duration = Duration::from_secs(1);
/// Events of others that are read in one look, to wake the readers of their tenants alone; past it all are woken.
pub const FOLLOW_EVENTS: usize = 256;
/// Between two notes of what was seen of a shared database.
pub const SEEN_EVERY: Duration = Duration::from_secs(5);
/// Seconds for which processes that share a database remember a used nonce.
pub const USED_NONCE_SECONDS: u64 = 3600;

/// Claims made in one call.
pub const CLAIMS_PER_CALL: usize = 1000;
/// Devices that are named in one call for claims: what a body of 32 KiB holds.
pub const CLAIM_DEVICES: usize = 400;
/// Seconds of a claim's life when the caller names none (30 days: printed labels travel slowly).
pub const CLAIM_SECONDS: u64 = 30 * 24 * 3600;
/// Seconds of a claim's life at most (5 years).
pub const CLAIM_SECONDS_MOST: u64 = 5 * 365 * 24 * 3600;
/// Seconds for which an expired, unused claim is still listed.
pub const CLAIM_KEPT_SECONDS: u64 = 7 * 24 * 3600;

/// Templates of one role, publish and subscribe together: what one scope can hold.
pub const ROLE_TEMPLATES: usize = tessera_token::limits::SCOPE_ENTRIES;
/// Bytes of a role's scope for the longest ids: leaves half of a token for everything else.
pub const ROLE_SCOPE_BYTES: usize = 2048;
/// Templates of a role of the class `partner`: each is an exact topic, and one token names them all.
pub const PARTNER_TEMPLATES: usize = 16;
/// Seconds of a token's life of the class `partner` at most (1 day): the other party keeps it out of our sight.
pub const PARTNER_TOKEN_SECONDS: u64 = 24 * 3600;
/// Devices up to which a change of their role moves the epoch of each: one publication. Beyond it their groups' move.
pub const ROLE_ENDS_DEVICES: usize = 500;
/// Groups up to which a change of a role moves the epoch of each: one publication. Beyond it the tenant's moves.
pub const ROLE_ENDS_GROUPS: usize = 500;
/// Devices of a role that are read for a change of it, some tenths of a second. When there are more, the tenant's epoch moves.
pub const ROLE_DEVICES_READ: usize = 100_000;
/// Open claims that a refused deletion of a role counts.
pub const ROLE_CLAIMS_COUNTED: usize = 1000;
/// Changes of roles that one sweep takes up after a stop of the service in the middle of them.
pub const ROLES_RESUMED: usize = 16;

/// Attributes of one device: its row stays small.
pub const ATTRIBUTES: usize = 16;
/// Characters of the name of an attribute.
pub const ATTRIBUTE_NAME_CHARS: usize = 32;
/// Characters of the value of an attribute: as of an id.
pub const ATTRIBUTE_VALUE_CHARS: usize = tessera_token::limits::ID_CHARS;
/// Attributes by which one list finds devices.
pub const ATTRIBUTES_ASKED: usize = 4;
/// Devices that one page of a list by an attribute looks at: each is read by its own key.
pub const ATTRIBUTES_LOOK: usize = 1_000;

/// Faults of a database that a check tells.
pub const FAULTS_TOLD: usize = 50;
/// Tokens of one hash that are asked for: there is one at most, and so many are not read on the thread that asks.
pub const TOKENS_LOOK: usize = tessera_runtime::limits::SQL_ROWS_AT_ONCE + 1;
/// Rows of the store of a former version in one write of the database that it becomes.
pub const FORMER_ROWS: usize = 1000;
/// Answers of a device that are read for one request: those that count, and as many that are a little older.
pub const ANSWERS_READ: usize = 2 * ANSWERS_PER_DEVICE;
/// Refresh answers kept per device while their request is fresh: asking more often is refused.
pub const ANSWERS_PER_DEVICE: usize = 64;
/// Families of refresh tokens of one device at a time; past it the oldest ends.
pub const FAMILIES_PER_DEVICE: usize = 4;
/// Access tokens of one family that live at a time: each can be revoked. Past it the family rests until one has expired.
pub const LIVE_TOKENS_PER_FAMILY: usize = 64;
/// Seconds after which a family ends that is not used (30 days).
pub const REFRESH_IDLE_SECONDS: u64 = 30 * 24 * 3600;
/// Seconds after which a family ends in any case (a year): then the device key is proved again.
pub const REFRESH_LIFE_SECONDS: u64 = 365 * 24 * 3600;
/// Shortest token life in seconds that can be configured.
pub const TOKEN_SECONDS_LEAST: u64 = 2;

/// Shortest staleness budget in seconds: a poll, its wait and a restart of the service fit in.
pub const STALENESS_SECONDS_LEAST: u64 = 60;
/// Longest staleness budget in seconds (30 days): the longest life of a token.
pub const STALENESS_SECONDS_MOST: u64 = tessera_token::limits::TOKEN_LIFE_SECONDS;

/// Rows of one page of a list, when the caller names none.
pub const PAGE: usize = 100;
/// Rows of one page at most.
pub const PAGE_MOST: usize = 1000;

/// Seconds that a long poll may wait.
pub const POLL_SECONDS: u64 = 60;
/// Long polls that wait at one time: brokers and agents, not devices.
pub const POLLERS: usize = 1024;
/// Of accounts of some tenants those that wait at one time, beside [`POLLERS`]: no customer takes the place of a broker of
/// all tenants.
pub const POLLERS_BOUND: usize = 2048;
/// Of all such accounts whose first tenant is the same: the gateways of a customer. Sixteen of these fill all.
pub const POLLERS_OF_SHARE: usize = 128;
/// Events that one answer to an account of some tenants looks at, its own and others: a few milliseconds. The reader asks
/// for the rest at once.
pub const VIEW_LOOK: usize = 2_000;
/// Snapshots of some tenants that are kept for [`SNAPSHOT_REUSE_SECONDS`], of 64 MiB together at most.
pub const SNAPSHOTS_BOUND: usize = 64;
/// Time for which a reader waits until snapshots of other tenants are made: one at a time.
pub const SNAPSHOT_WAIT: Duration = Duration::from_secs(60);
/// Verifier names that readers polled under lately, of accounts of all tenants and once more of the others. A name takes
/// about 100 bytes; gateways have one each.
pub const VERIFIER_NAMES: usize = 16 * 1024;
/// Of accounts of some tenants whose first tenant is the same: eight times as many as they can wait with.
pub const VERIFIER_NAMES_OF_SHARE: usize = 1024;
/// Processes of one verifier name that are remembered after another took their place: more in [`VERIFIER_KEPT`] are no
/// restarts.
pub const READERS_OF_A_NAME: usize = 32;
/// Time for which a reader is remembered. A reader that runs polls at least every 40 seconds.
pub const VERIFIER_KEPT: Duration = Duration::from_secs(120);
/// Revoked tokens of one tenant on the token revocation list: past it the list says that it is not whole, until the longest
/// life of a token is over. Verifiers read the trust feed, which has no such bound.
pub const TRL_TOKENS: u64 = 20_000;
/// Serials that one Token Status List spans: 1 MiB before it is compressed.
pub const STATUS_LIST_ENTRIES: usize = 8 * 1024 * 1024;
/// Seconds for which a Token Status List is good.
pub const STATUS_LIST_SECONDS: u64 = 24 * 3600;
/// Seconds after which a newer Token Status List should be fetched.
pub const STATUS_LIST_TTL_SECONDS: u64 = 300;
/// Token hashes in one answer: 36 bytes each.
pub const TRL_ANSWER: usize = 50_000;
/// Tokens that are read at once for an answer.
pub const TRL_PAGE: usize = 1_000;
/// Updates of a tenant's list that are kept (MAX_N of RFC 9770).
pub const TRL_HISTORY: u64 = 128;
/// Updates in one answer (MAX_DIFF_BATCH).
pub const TRL_BATCH: usize = 32;
/// Updates that a diff query may ask for.
pub const TRL_DIFF_MOST: u64 = 1_000_000;
/// Largest number of an update (MAX_INDEX): no column of the database holds a larger one.
pub const TRL_MAX_INDEX: u64 = i64::MAX as u64;
/// Events that one step of the list looks at.
pub const TRL_EVENTS_IN_A_STEP: usize = 100;
/// Devices whose tokens one step looks at.
pub const TRL_DEVICES_IN_A_STEP: usize = 100;
/// Tokens that one step looks at, of however many devices: the next step goes on behind them.
pub const TRL_TOKENS_IN_A_STEP: usize = 1_000;
/// Steps that one request or one sweep takes.
pub const TRL_STEPS: usize = 50;
/// Seconds after which no token can be written any more that was being issued at a revocation.
pub const TRL_SETTLES_SECONDS: u64 = 10;
/// Seconds between two writes of the row of a verifier that has confirmed nothing new.
pub const VERIFIER_SEEN_EVERY: u64 = 20;
/// Rows of verifiers in one write.
pub const VERIFIERS_IN_A_WRITE: usize = 500;
/// Seconds for which the row of a verifier stays after it was last seen: longer than it admits by old trust data.
pub const VERIFIER_REMEMBERED_SECONDS: u64 = tessera_token::limits::TOKEN_LIFE_SECONDS;
/// Time between two removals of such rows, which read all of them.
pub const VERIFIERS_SWEPT_EVERY: Duration = Duration::from_secs(60);
/// Seconds for which a revocation may wait for verifiers.
pub const REVOCATION_WAIT_SECONDS: u64 = 30;
/// Revocations that wait at one time: past it they are done and answered at once.
pub const REVOCATIONS_WAIT: usize = 256;
/// Of one share.
pub const REVOCATIONS_WAIT_OF_SHARE: usize = 8;
/// Seconds behind the end of a wait for which verifiers' confirmations are still written at once: clocks of two processes
/// differ.
pub const WAIT_ANNOUNCED_SECONDS: u64 = 30;
/// Time between two looks of a revocation that waits at what other processes have written; longer when a look takes long.
pub const WAIT_LOOK: Duration = Duration::from_millis(100);
/// Time within which confirmations that come together are one look.
pub const WAIT_GATHER: Duration = Duration::from_millis(5);
/// Verifiers that one answer names.
pub const VERIFIERS_NAMED: usize = 100;
/// Events kept in the feed: a reader that was away longer takes the snapshot.
pub const EVENTS_KEPT: u64 = 100_000;
/// Seconds for which a snapshot may be taken by a reader.
pub const SNAPSHOT_SECONDS: u64 = 24 * 3600;
/// Seconds for which one made snapshot is served again when nothing changed.
pub const SNAPSHOT_REUSE_SECONDS: u64 = 10;
/// Readers that wait for the next snapshot of all tenants: as many as the mailbox of its actor holds.
pub const SNAPSHOT_CALLERS: usize = MAILBOX;

/// Numbers that a service jumps over when it is unknown how many its lost part gave out: trust events and serials, of
/// which it cannot have given out so many since any copy.
pub const UNKNOWN_JUMP: u64 = 1 << 32;
/// A line of the trust feed begins behind a multiple of this.
pub const LINE_STEP: u64 = 1 << 20;
/// Group numbers that it jumps over: they stand in tokens, so no more than is enough.
pub const GROUPS_JUMP: u64 = 1 << 16;
/// Serials that a service gives out in a second at most, over the time between two restorations: after one they go on above
/// the time by so many, so that two restorations of one copy give none out twice. They take 6 bytes in a token then.
pub const SERIALS_A_SECOND: u64 = 1 << 13;
/// Restorations that are remembered.
pub const RESTORATIONS: usize = 32;
/// Tenants whose subjects are lifted in one step after readers of some tenants have shown what a restored service has lost:
/// as many as four feed tokens have.
pub const LIFTED_TENANTS: usize = 1024;
/// Seconds ahead of the clock up to which epochs count that a reader shows of a root key which was stolen. Epochs follow the
/// clock after a jump, and clocks of machines differ by less than a day.
pub const EPOCHS_AHEAD_SECONDS: u64 = 86_400;
/// Requests for another online root that are open at a time; the next one forgets the seeds of the others.
pub const ROOT_REQUESTS: usize = 8;
/// Things that readers knew beyond a restored service and that are listed for an operator; more are taken in all the same.
pub const FINDINGS: usize = 10_000;
/// Seconds for which the word of a reader that it is beyond this service makes the next publication jump.
pub const CLAIM_OF_READER_SECONDS: u64 = 60;
/// Time for a reader's evidence: a snapshot of 64 MiB over a slow line.
pub const EVIDENCE_TIME: Duration = Duration::from_secs(100);
/// Time for which a reader waits until another's evidence was looked at; then it comes again with its next poll.
pub const EVIDENCE_WAIT: Duration = Duration::from_secs(20);
/// Pieces of evidence that are looked at in one moment: each is up to 72 MiB of memory.
pub const EVIDENCE_AT_ONCE: usize = 1;

/// Operator accounts: people and brokers, not devices.
pub const OPERATORS: usize = 1000;
/// Tenants of one operator account that does not belong to all: its row stays small.
pub const OPERATOR_TENANTS: usize = shared::FEED_TENANTS;

/// API tokens of one account: a person reads the list.
pub const API_TOKENS_PER_ACCOUNT: usize = 50;
/// API tokens of one account with those that have expired and are still listed.
pub const API_TOKEN_ROWS: usize = 4 * API_TOKENS_PER_ACCOUNT;
/// Seconds of an API token's life when its maker names none (90 days).
pub const API_TOKEN_SECONDS: u64 = 90 * 24 * 3600;
/// The same at least: a job of a minute.
pub const API_TOKEN_SECONDS_LEAST: u64 = 60;
/// The same at most (366 days), also for a row that says more.
pub const API_TOKEN_SECONDS_MOST: u64 = 366 * 24 * 3600;
/// Characters of the purpose of an API token.
pub const PURPOSE_CHARS: usize = 100;
/// Seconds between two notes of the last use of an API token: at most one write a minute.
pub const API_TOKEN_USED_EVERY: u64 = 60;
/// Seconds for which an expired API token is still listed (30 days).
pub const API_TOKEN_KEPT_SECONDS: u64 = 30 * 24 * 3600;
/// API tokens that one page of the list looks at for those that the account sees: a few milliseconds.
pub const API_TOKENS_LOOK: usize = 2_000;

/// Audit entries chained by one write.
pub const AUDIT_GROUP: usize = 500;
/// Characters of the reason that an operator gives for a suspension: it is whole in the audit entry.
pub const REASON_CHARS: usize = 200;
/// Seconds between two entries that hold the signed head of the audit log.
pub const AUDIT_HEAD_SECONDS: u64 = 3600;
/// Characters of a text in an audit entry.
pub const AUDIT_TEXT: usize = 256;
/// Characters of a value of a changed column in an audit entry.
pub const AUDIT_VALUE_CHARS: usize = 1024;
/// Refused attempts of one account in [`ATTEMPTS_WINDOW`] that have audit entries of their own; the others are one sum.
pub const ATTEMPTS_TOLD: u64 = 20;
/// The time for which they are counted.
pub const ATTEMPTS_WINDOW: Duration = Duration::from_secs(60);
/// Seconds by which the time of an entry of the audit log may be before that of an earlier one, where entries are found by time.
pub const AUDIT_SLACK_SECONDS: u64 = 600;
/// Entries that one page of the audit log looks at for those that were asked for: a few milliseconds.
pub const AUDIT_LOOK: usize = 2_000;

/// Devices that one page of a list looks at for those that were asked for: some milliseconds.
pub const DEVICES_LOOK: usize = 2_000;
/// Devices of a former version whose keys are named in one write of a start.
pub const KEYS_NAMED: usize = 500;
/// Requests for a new key of one device that wait for an operator.
pub const REKEYS_PER_DEVICE: usize = 4;
/// The same of all devices of a tenant: a person reads the list.
pub const REKEYS_PER_TENANT: usize = 128;
/// Seconds for which such a request waits (7 days): a weekend, and an operator who is away.
pub const REKEY_SECONDS: u64 = 7 * 24 * 3600;
/// Rows removed by one sweep step: keeps each write short.
pub const SWEEP_ROWS: usize = 1000;
/// Time between sweeps.
pub const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// A rate and its burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second.
    pub per_second: u32,
    /// Requests that may be saved up.
    pub burst: u32,
}

/// The rates of requests. Those of an address are of one IPv4 address or one /64 (IPv6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Of enrolments and refreshes with a right proof, of an address.
    pub proved: Rate,
    /// The same in total.
    pub proved_total: Rate,
    /// Of requests without any credential, of an address.
    pub anonymous: Rate,
    /// The same in total.
    pub anonymous_total: Rate,
    /// Of wrong credentials that are told what was wrong, of an address or of an account that relays.
    pub wrong: Rate,
    /// Of refreshes with a right proof that one account relays.
    pub relayed: Rate,
    /// Of requests with a right proof, of a device.
    pub device: Rate,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        RATES
    }
}

/// Rates of requests. A thousand devices behind one address may start at once; a core verifies about 8,000 requests a
/// second; a broker of 15,000 sessions relays some 6 a second and all of them when it was away; a device asks once a token,
/// which is 2 seconds at least. 25 wrong credentials a second are a fleet of a hundred with the wrong clock.
pub const RATES: AdmissionLimits = AdmissionLimits {
    proved: Rate { per_second: 500, burst: 5000 },
    proved_total: Rate { per_second: 4000, burst: 20_000 },
    anonymous: Rate { per_second: 500, burst: 5000 },
    anonymous_total: Rate { per_second: 4000, burst: 20_000 },
    wrong: Rate { per_second: 25, burst: 250 },
    relayed: Rate { per_second: 1000, burst: 20_000 },
    device: Rate { per_second: 2, burst: 100 },
};
/// Addresses, devices and accounts whose rates are tracked, of each kind: past it, idle ones are forgotten, then newcomers
/// share one bucket.
pub const ADDRESSES: usize = 65_536;
/// Seconds of an issuer key's validity when it is not rotated (10 years).
pub const KEY_SECONDS: u64 = 10 * 365 * 24 * 3600;
/// Seconds before its end at which an issuer key is rotated by the service itself.
pub const KEY_RENEW_SECONDS: u64 = 90 * 24 * 3600;
/// Seconds for which an issuer key signs by default (90 days).
pub const KEY_PERIOD_SECONDS: u64 = 90 * 24 * 3600;
/// The shortest period in seconds (2 days): a key is published for a day before it signs.
pub const KEY_PERIOD_SECONDS_LEAST: u64 = 2 * 24 * 3600;
/// The longest period in seconds (5 years): half of an issuer key's validity.
pub const KEY_PERIOD_SECONDS_MOST: u64 = KEY_SECONDS / 2;
/// Seconds for which the next key is published at least before the schedule lets it sign (2 days).
pub const KEY_AHEAD_SECONDS: u64 = 2 * 24 * 3600;
/// The least of it: a snapshot may be so old when a reader takes it.
pub const KEY_AHEAD_SECONDS_LEAST: u64 = SNAPSHOT_SECONDS;
/// The most of it in seconds (30 days).
pub const KEY_AHEAD_SECONDS_MOST: u64 = 30 * 24 * 3600;
/// Rotations by schedule in one sweep: tenants that were made together have their turns one after the other.
pub const ROTATIONS_PER_SWEEP: usize = 64;
/// Time between two errors in the log that keys cannot be rotated.
pub const KEYS_TOLD_EVERY: Duration = Duration::from_secs(3600);
/// Seconds of lived time between two durable writes of it: a kill leaves rows so much longer.
pub const LIVED_STEP_SECONDS: u64 = 600;
/// Clocks of readers that are remembered: those that were heard last.
pub const READER_CLOCKS: usize = 64;
/// Time for which a reader's clock bears witness: readers ask every ten seconds.
pub const READER_HEARD: Duration = Duration::from_secs(60);
/// Time between two looks at a clock that shows a time before the release: a start waits for it.
pub const CLOCK_LOOK: Duration = Duration::from_millis(500);
/// Device keys in one publication of the trust feed: one batch of the store, and other changes wait for it.
pub const KEYS_PER_PUBLICATION: usize = 500;

// --- room of the verifiers -------------------------------------------------------------------------------------------

const fn filled(most: usize) -> usize {
    most / 100 * shared::TRUST_FILLED_PERCENT
}

/// Tenants: past it no tenant is made.
pub const TRUST_TENANTS: usize = filled(shared::TRUST_TENANTS);
/// Groups, moved or not, so that each can be revoked: past it no group is made.
pub const TRUST_GROUPS: usize = filled(shared::TRUST_GROUPS);
/// Issuer keys: past it a compromised key gets no successor; it is cut all the same.
pub const TRUST_KEYS: usize = filled(shared::TRUST_KEYS);
/// Issuer keys past which none is rotated and no tenant is made. The rest is for successors of compromised keys.
pub const TRUST_KEYS_UNASKED: usize = shared::TRUST_KEYS / 100 * 85;
/// Published device keys: past it no device of such a tenant enrols.
pub const TRUST_DEVICE_KEYS: usize = filled(shared::TRUST_DEVICE_KEYS);
/// Revoked tokens: past it the revocation of a token ends all tokens of its device.
pub const TRUST_TOKENS: usize = filled(shared::TRUST_TOKENS);
/// Devices with a moved epoch: past it the revocation of a device ends all tokens of its group.
pub const TRUST_DEVICES: usize = filled(shared::TRUST_DEVICES);
/// Bytes of a snapshot, counted from above.
pub const TRUST_BYTES: usize = filled(shared::SNAPSHOT_BYTES);
/// Bytes of a snapshot past which nothing new is taken in. The rest, 16 MiB, is for revocations: 200,000 devices of the
/// longest names, or 350,000 of usual ones.
pub const TRUST_BYTES_UNASKED: usize = TRUST_BYTES - 16 * 1024 * 1024;
/// Time between two countings while something does not fit: rows may have been swept, and a count reads all of them.
pub const TRUST_RECOUNT: Duration = Duration::from_secs(60);
/// Seconds for which a retired issuer key is still listed. Verifiers know it no more.
pub const KEY_KEPT_SECONDS: u64 = 7 * 24 * 3600;
/// Issuer keys of one tenant, retired ones aside, past which none is rotated: all of them are looked through for the one
/// that signs. A compromised key is cut in any case.
pub const KEYS_PER_TENANT: usize = 8192;
/// How long an audit entry may wait to be chained before the service is not ready: twelve sweeps, each of which chains
/// the rest.
pub const AUDIT_BEHIND: Duration = Duration::from_secs(60);

// --- strangers ---------------------------------------------------------------------------------------------------

/// A refusal at an endpoint of devices is told at a multiple of this after the request, so that its time says nothing.
pub const REFUSAL_BUCKET: Duration = Duration::from_millis(25);
/// Time between two entries of the audit log about refused strangers: 1,440 a day at most.
pub const STRANGERS_AUDITED_EVERY: Duration = Duration::from_secs(60);

// --- push ---------------------------------------------------------------------------------------------------------

/// Objects of ended keys in a security module that wait to be destroyed; a start finds more by their rows.
pub const MODULE_KEYS_LEFT: usize = 4096;
/// Time between two looks whether a security module answers.
pub const MODULE_LOOK_EVERY: Duration = Duration::from_secs(5);
