//! Every bound of this crate, with its unit and its reason.

/// Bytes of a token before anything is parsed. A CBOR tree costs about fifty times its bytes.
pub const TOKEN_BYTES: usize = 4096;
/// Bytes of the password that carries token and proof, as base64url text.
pub const PASSWORD_BYTES: usize = 5600;
/// Nesting of arrays, maps and tags in a peer's CBOR.
pub const CBOR_DEPTH: usize = 8;
/// Items (array elements, map keys and values, tags) in a peer's CBOR: bounds the pre-check's work.
pub const CBOR_ITEMS: usize = 1024;
/// Characters of a device, group, role or operator id.
pub const ID_CHARS: usize = 64;
/// Characters of a tenant id, which is also `iss`.
pub const TENANT_CHARS: usize = 32;
/// Bytes of an audience name.
pub const AUDIENCE_BYTES: usize = 16;
/// Characters of the suffix behind `~` in a client id.
pub const CLIENT_SUFFIX_CHARS: usize = 23;
/// Bytes of a topic name or filter. The standard allows 65,535; no fleet routes that.
pub const TOPIC_BYTES: usize = 1024;
/// Levels of a topic name or filter: bounds every walk over it.
pub const TOPIC_LEVELS: usize = 32;
/// Entries of one scope.
pub const SCOPE_ENTRIES: usize = 64;
/// Bytes of `cti`.
pub const CTI_BYTES: usize = 16;
/// Seconds by which clocks may differ between issuer, device and verifier.
pub const CLOCK_SKEW_SECONDS: u64 = 60;
/// Seconds around now in which a connect proof or refresh request is fresh.
pub const PROOF_WINDOW_SECONDS: u64 = 60;
/// Bytes of a symmetric key: at least the output of the hash, at most its block.
pub const SYMMETRIC_KEY_BYTES: core::ops::RangeInclusive<usize> = 32..=64;
/// Bytes of a `kid` in `cnf`.
pub const CNF_KID_BYTES: usize = 32;
/// Derivation keys of one audience: the present one and those before it.
pub const DERIVATION_KEYS: usize = 3;
/// Ticket keys that are tried: the present one and those before it.
pub const TICKET_KEYS: usize = 3;
/// Bytes of RFC 9431 Authentication Data: length, token, signature.
pub const ACE_DATA_BYTES: usize = 2 + TOKEN_BYTES + 64;
/// Issuer keys that share one kid and are tried in order.
pub const KEYS_PER_KID: usize = 4;
/// Bytes of a nonce in device messages, smallest and largest.
pub const NONCE_BYTES: core::ops::RangeInclusive<usize> = 8..=32;
/// Bytes of a claim code.
pub const CLAIM_CODE_BYTES: usize = 128;
/// Bytes of a refresh token: prefix and base64url of 64 bytes, with room.
pub const REFRESH_TOKEN_BYTES: usize = 128;
/// Certificates of an enrolment: that of the device and two between it and the authority.
pub const ENROL_CERTIFICATES: usize = 3;
/// Bytes of one of them: three fit into a device message.
pub const ENROL_CERTIFICATE_BYTES: usize = 2048;
/// Bytes of a device message (enrol, token request, answer).
pub const MESSAGE_BYTES: usize = 8192;
/// Entries of each list in a page of push refresh.
pub const PUSH_PAGE: usize = 200;
/// Bytes of such a page.
pub const PUSH_PAGE_BYTES: usize = 64 * 1024;
/// Bytes of one page of the trust feed over MQTT: the largest packet of a gateway with little memory.
pub const UPLINK_PAGE: usize = 64 * 1024;
/// Bytes of the smallest page that a gateway may ask for: a snapshot has 65,536 of them at most.
pub const UPLINK_PAGE_LEAST: usize = 1024;
/// Bytes of one call of a gateway over MQTT: alerts and evidence, within the usual packet of a broker.
pub const UPLINK_BYTES: usize = 240 * 1024;
/// Bytes of a trust snapshot: about a million changed devices.
pub const SNAPSHOT_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of one trust event or heartbeat.
pub const EVENT_BYTES: usize = 4096;
/// Bytes of a rule inside of an event: the rest of the event is its head and its signature.
pub const RULE_BYTES: usize = 3584;
/// Bytes of one link between root sets: its statement and four signatures, with room.
pub const ROOT_LINK_BYTES: usize = 1024;
/// Links between root sets, from the first on: a change a month for five years.
pub const ROOT_LINKS: usize = 64;
/// Bytes of the answer that carries a snapshot: the links stand in front of it.
pub const SNAPSHOT_ANSWER_BYTES: usize = SNAPSHOT_BYTES + (ROOT_LINKS + 1) * ROOT_LINK_BYTES;
/// Events in one answer of the trust feed.
pub const EVENTS_PER_ANSWER: usize = 1000;
/// Tenants of one reader that does not read all: what one operator account can belong to.
pub const FEED_TENANTS: usize = 256;
/// Bytes of one view: the hashes of the events of one answer, with room.
pub const VIEW_BYTES: usize = 40 * 1024;
/// Events in the evidence of one reader: twice what it stores behind its snapshot before it takes a new one.
pub const EVIDENCE_EVENTS: usize = 20_000;
/// Bytes of the evidence of one reader: a whole snapshot and its events, which are some 250 bytes each.
pub const EVIDENCE_BYTES: usize = SNAPSHOT_BYTES + 8 * 1024 * 1024;
/// Longest life of a token, in seconds (30 days): an epoch older than this needs no entry.
pub const TOKEN_LIFE_SECONDS: u64 = 30 * 24 * 3600;

// --- trust: what a verifier holds, and provisioning keeps below ------------------------------------------------------

/// Devices with a moved epoch: more than a snapshot of 64 MiB can hold.
pub const TRUST_DEVICES: usize = 2_000_000;
/// Devices whose key is held, for tenants whose tokens only refer to it: about 120 bytes each.
pub const TRUST_DEVICE_KEYS: usize = 1_000_000;
/// Revoked tokens that have not expired.
pub const TRUST_TOKENS: usize = 1_000_000;
/// Groups with a moved epoch.
pub const TRUST_GROUPS: usize = 200_000;
/// Rules of all tenants: each counts for [`EVENT_BYTES`] of a snapshot.
pub const TRUST_RULES: usize = 20_000;
/// Devices that are held back: each counts for 512 bytes of a snapshot.
pub const TRUST_RESTRAINTS: usize = 200_000;
/// Tenants.
pub const TRUST_TENANTS: usize = 20_000;
/// Issuer keys, all states, all tenants.
pub const TRUST_KEYS: usize = 200_000;
/// Of each of them, the parts in a hundred that provisioning fills. The rest is for what verifiers hold beyond it: rows
/// that have expired and are not let go of yet, and what was published after the copy from which a service was restored.
pub const TRUST_FILLED_PERCENT: usize = 95;
