//! Every limit of the broker, with its unit and reason.

use std::time::Duration;

pub use door::*;
pub use http::*;
pub use partners::*;
pub use uplinks::*;
pub use visits::*;

mod door;
mod http;
mod partners;
mod uplinks;
mod visits;

// --- codec -------------------------------------------------------------------------------------------------------

/// Bytes of a packet, fixed header included, before the peer is authenticated. Holds a CONNECT with a 4 KiB token as
/// base64url text, and bounds what a stranger makes us hold.
pub const MAX_PACKET_BEFORE_AUTH: usize = 8 * 1024;

/// User properties in one packet. They are kept as wire bytes, so the packet limit bounds their memory; this bounds
/// the work of walking them.
pub const MAX_USER_PROPERTIES: usize = 10_000;

/// Filters in one SUBSCRIBE or UNSUBSCRIBE, and codes in their answers. More is sent in several packets.
pub const MAX_FILTERS_PER_PACKET: usize = 512;

/// Levels of a topic name or filter. Real fleets use fewer than 12; the matching cost is per level.
pub const MAX_TOPIC_LEVELS: usize = 128;

// --- routing -----------------------------------------------------------------------------------------------------

/// Locks over which the exact subscriptions are spread. Two cores: a publish rarely meets a subscribe.
pub const EXACT_SHARDS: usize = 64;

/// Subscribers of one topic beyond which they are indexed by session, so that leaving stays one step.
pub const EXACT_INDEX_ABOVE: usize = 16;

/// Messages that wait for one session. A session that does not drain loses from here on (counted).
pub const OUTBOX_MESSAGES: usize = 1_000;

/// Bytes that wait for one session.
pub const OUTBOX_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that a waiting message costs beside its topic, properties and payload.
pub const OUTBOX_MESSAGE_OVERHEAD: usize = 64;

/// Largest payload that is also kept as a ready-made QoS 0 packet, shared by all receivers of a message.
pub const SHARED_FRAME_PAYLOAD: usize = 4 * 1024;

/// Publishes that wait for the router. Publishers wait when it is full, which is the back-pressure on them.
pub const ROUTER_QUEUE_MESSAGES: usize = 4_096;

/// Kibibytes of publishes that wait for the router.
pub const ROUTER_QUEUE_KIB: usize = 64 * 1024;

/// Publishes handed to the router in one step.
pub const ROUTER_BATCH: usize = 256;

/// Steps that the router may be behind before its writer waits: with the batch, it bounds the router's input buffer.
pub const ROUTER_BATCHES_AHEAD: usize = 4;

/// Requests to open or close links that wait for the one thread that may block on the router.
pub const ROUTER_LINK_REQUESTS: usize = 1_024;

/// Links closed before the router is given time for others: closing scans every log, 0.2 ms at 10,000 of them.
pub const ROUTER_CLOSES_AT_ONCE: usize = 16;

/// Commit logs of the router by size: (name, how many, bytes of a segment, segments). A log holds what a slow reader
/// has not read; it is never given back to the system, so their number times their size is what the router may keep
/// (384 MiB of messages, several times that with the router's own records when messages are tiny).
/// A filter gets the largest free log of its class or smaller: see `routing::wildcard::logs`.
pub const ROUTER_LOGS: [(&str, usize, usize, usize); 3] = [
    ("large", 8, 4 * 1024 * 1024, 4),
    ("middle", 128, 512 * 1024, 2),
    ("small", 8_192, 8 * 1024, 2),
];

/// Logs of one tenant: three quarters, so that no tenant takes all from the others.
pub const ROUTER_LOGS_PER_TENANT: usize = 6_246;

/// Links into the router: one for each session's wildcard filter and each shared group. A link costs 27 KiB.
pub const ROUTER_LINKS: usize = 16_384;

/// One step of watching the router. Everything below is counted in such steps of the watcher, not in time: a pause of
/// the whole process takes one step at most.
pub const ROUTER_TICK: Duration = Duration::from_millis(250);
/// Steps without an answer of the router after which readiness says so: 2 s.
pub const ROUTER_SILENT_TICKS: u32 = 8;
/// Steps without an answer after which the router is replaced: 10 s. One turn of its loop takes well under a second.
pub const ROUTER_HUNG_TICKS: u32 = 40;
/// Routers that were replaced and have not ended: those that hang never do, and each keeps its logs ([`ROUTER_LOGS`]).
/// With so many, no further one starts, and readiness says so until the process is started anew.
pub const OLD_ROUTERS: usize = 4;
/// Steps that the writer waits for the readers to have links into a new router; for a later one its losses are counted.
pub const ROUTER_MOVE_TICKS: u32 = 40;
/// Steps without a message after which a reader leaves a router that was replaced.
pub const ROUTER_DRAIN_TICKS: u32 = 8;
/// How often a message is offered to a router whose queue is full.
pub const ROUTER_RETRY: Duration = Duration::from_millis(1);
/// Bytes that the router's logs may hold for filters that are not there any more: then it is renewed, which costs 0.1
/// ms for each link.
pub const ROUTER_RESIDUE: u64 = 32 * 1024 * 1024;
/// Bytes that all logs may hold while nothing is written: then it is renewed.
pub const ROUTER_RESIDUE_QUIET: u64 = 2 * 1024 * 1024;
/// Steps without anything written that count as quiet: 10 s.
pub const ROUTER_QUIET_TICKS: u32 = 40;
/// Bytes of the router's own record for a message, beside what is written.
pub const ROUTER_RECORD: u64 = 320;

/// Pushed tokens of push refresh that are taken at once, and that failed and are not told yet.
pub const PUSHES: usize = 256;
/// For how long provisioning waits for a page of push refresh when nothing changes.
pub const PUSH_PAGE_WAIT: Duration = Duration::from_secs(2);
/// For how long changes are gathered for one page.
pub const PUSH_PAGE_GATHER: Duration = Duration::from_millis(20);

/// Members of one shared group.
pub const GROUP_MEMBERS: usize = 1_024;

/// Retained messages on one broker, unless configured.
pub const RETAINED_MESSAGES: usize = 100_000;

/// Bytes of retained messages, topics and properties included, on one broker, unless configured.
pub const RETAINED_BYTES: usize = 128 * 1024 * 1024;

/// Levels of the retained tree that one lookup may visit: bounds the time a wildcard subscribe can take (about 20 ms).
pub const RETAINED_VISITS: usize = 200_000;

/// Retained messages handed to one new subscription.
pub const RETAINED_PER_LOOKUP: usize = 10_000;

/// Retained messages that go ahead into the queue of a new subscriber; the others follow as it drains, half of what
/// leaves it. Small, so that live messages wait behind few and find room.
pub const RETAINED_AHEAD: usize = 64;

/// The least time between two reports of missed messages to a session, while messages wait for it all the time.
pub const MISSED_TOLD: Duration = Duration::from_secs(1);

// --- admission ---------------------------------------------------------------------------------------------------

/// Open sockets in total, unless configured. Each costs a few KiB; beyond it newcomers wait in the kernel's backlog.
pub const SOCKETS: usize = 50_000;
/// Open sockets of one address prefix. A whole fleet may sit behind one carrier NAT.
pub const SOCKETS_PER_PREFIX: usize = 20_000;
/// Sockets without an accepted CONNECT, in total: what strangers can make us hold at most.
pub const HALF_OPEN: usize = 8_192;
/// Sockets without an accepted CONNECT, of one address prefix.
pub const HALF_OPEN_PER_PREFIX: usize = 2_048;
/// Connects of one address prefix in one second, and the size of its burst: a fleet that comes back after an outage.
pub const CONNECTS_PER_SECOND: u32 = 10_000;
/// Address prefixes that are remembered; past it the ones without open sockets are forgotten.
pub const PREFIXES: usize = 65_536;
/// Half-open sockets of a prefix up to which it may use the reserved places.
pub const FEW_HALF_OPEN: usize = 2;
/// Quarters of the half-open places that every prefix may use; the rest is for prefixes that hold few.
pub const UNRESERVED_QUARTERS: usize = 3;
/// Suspect prefixes together may use this part of the half-open places.
pub const SUSPECT_PART: usize = 2;
/// Time before a socket without a byte may have to make room: no first byte takes longer, also when a whole fleet
/// shakes hands at once.
pub const SILENT_AT_LEAST: Duration = Duration::from_secs(1);
/// Time before the socket of a suspect prefix without a whole CONNECT may have to make room.
pub const SUSPECT_AT_LEAST: Duration = Duration::from_millis(250);
/// Sockets that were told to close for others and are still open: they are not counted as half open.
pub const CALLED_SOCKETS: usize = 1_024;
/// Strikes that make a prefix suspect: sockets of it that ended without an accepted CONNECT.
pub const SUSPECT_STRIKES: u32 = 16;
/// Strikes that are counted: how long a prefix is suspect after it has stopped.
pub const STRIKES_MOST: u32 = 64;
/// Strikes that a second without any takes away: the most are forgotten in about a minute.
pub const STRIKES_FORGIVEN_PER_SECOND: u32 = 1;
/// Strikes that an accepted CONNECT takes away: a fleet with a few bad devices in it is never suspect.
pub const STRIKES_FORGIVEN_BY_CONNECT: u32 = 4;
/// Sockets of suspect prefixes that are taken in one second, all together, unless configured: about a fifth of a
/// processor.
pub const SUSPECTS_PER_SECOND: u32 = 4_000;
/// The time in which each suspect prefix gets an even share of them.
pub const SUSPECT_WINDOW: Duration = Duration::from_millis(200);
/// Bits of an IPv4 address that count as one prefix.
pub const IPV4_PREFIX_BITS: u32 = 24;
/// Bits of an IPv6 address that count as one prefix: what one household or office gets.
pub const IPV6_PREFIX_BITS: u32 = 56;
/// Time from accept to a whole CONNECT.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Pause after accept failed (descriptors used up), so that the loop does not spin.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Connections that wait in the kernel to be accepted. The system's own limit (`net.core.somaxconn`) is read when
/// listening begins.
pub const BACKLOG: u32 = 4_096;
/// Sockets accepted before other listeners of the same thread get a turn.
pub const ACCEPTS_PER_TURN: usize = 256;

// --- transports --------------------------------------------------------------------------------------------------

/// Time from accept to the end of the TLS handshake.
pub const TLS_WITHIN: Duration = Duration::from_secs(5);
/// Challenges that are not answered yet, all together: a quarter of the half-open places.
pub const CHALLENGES_OPEN: usize = 2_048;
/// Challenges of one address prefix that are not answered yet: a device answers in one round trip, so a fleet of
/// thousands behind one address has few open at once.
pub const CHALLENGES_OPEN_PER_PREFIX: usize = 512;
/// Challenges in one second and at once, all together, unless configured: a broker of two cores verifies as many.
pub const CHALLENGES_PER_SECOND: u32 = 5_000;
/// Challenges of one address prefix in one second and at once, unless configured.
pub const CHALLENGES_PER_SECOND_PER_PREFIX: u32 = 1_000;
/// Address prefixes that are remembered for these.
pub const CHALLENGE_SOURCES: usize = 4_096;
/// Re-authentications of one connection at once: an honest one has one in the life of a token.
pub const REAUTHENTICATIONS_AT_ONCE: u32 = 10;
/// Time between further ones.
pub const REAUTHENTICATION_EVERY: Duration = Duration::from_secs(10);
/// Bytes that a client may send until the TLS handshake is over: a ClientHello of today takes 2 KiB, the rest is for a
/// chain of client certificates.
pub const TLS_HANDSHAKE_BYTES: u64 = 16 * 1024;
/// Time for the WebSocket upgrade, from the end of the TLS handshake or from accept.
pub const UPGRADE_WITHIN: Duration = Duration::from_secs(5);
/// Time for a PROXY header, from accept: balancers send it first thing.
pub const PROXY_WITHIN: Duration = Duration::from_secs(2);
/// Sockets whose PROXY header has not come yet, and no more than may be half open: only balancers that we trust get
/// here.
pub const PROXY_WAITING: usize = 4_096;
/// Time for the answer to a challenge of RFC 9431: the nonce is good for as long.
pub const CHALLENGE_WITHIN: Duration = Duration::from_secs(10);
/// Times that one turn reads TLS records without plaintext (tickets, key updates) before others get a turn.
pub const TLS_READS_PER_TURN: usize = 16;
/// Connections over QUIC that shake hands from an address that is not proved yet, all together; further ones are asked
/// to come again with a token that only their address gets (Retry), which costs no state.
pub const QUIC_UNPROVED: usize = 64;
/// How long such a token is good for.
pub const QUIC_RETRY_WITHIN: Duration = Duration::from_secs(10);
/// Bytes that wait in the kernel for a UDP port, each way: some 900 first packets, what a fleet that comes back sends
/// in a few milliseconds. The kernel cuts it to its own limit (`net.core.rmem_max`, `wmem_max`), which is looked at.
pub const QUIC_KERNEL_BYTES: usize = 2 * 1024 * 1024;
/// First packets over QUIC that wait to be looked at; those past it are refused. Each holds one datagram.
pub const QUIC_WAITING: usize = 1_024;
/// Bytes that come behind a first packet until it is looked at, for each and for all together.
pub const QUIC_EARLY_BYTES: (u64, u64) = (8 * 1024, 1024 * 1024);
/// Bytes that a client over QUIC may send ahead before it is authenticated: the largest CONNECT, and a packet behind
/// it.
pub const QUIC_WINDOW_BEFORE_AUTH: u32 = 16 * 1024;
/// Bytes that it may send ahead after that, and that go out ahead of its acknowledgements.
pub const QUIC_WINDOW: u32 = 64 * 1024;
/// Bytes that are taken out of a QUIC stream at once.
pub const QUIC_READ: usize = 4 * 1024;
/// Keep-alives ([`KEEP_ALIVE`] unless configured) of silence after which a connection over QUIC is given up, whatever
/// its CONNECT named. MQTT's own deadline is one and a half, so that it comes first.
pub const QUIC_IDLE_KEEP_ALIVES: u32 = 2;
/// Bytes of a WebSocket upgrade request: browsers send cookies.
pub const UPGRADE_BYTES: usize = 8 * 1024;
/// Headers of a WebSocket upgrade request.
pub const UPGRADE_HEADERS: usize = 64;
/// Bytes that a WebSocket frame may have beyond the largest packet: a frame may hold the end of one packet and more.
pub const WEB_SOCKET_SLACK: usize = 64 * 1024;
/// Bytes of answers to WebSocket pings that wait for a slow reader.
pub const WEB_SOCKET_PENDING: usize = 1024;

// --- authentication ----------------------------------------------------------------------------------------------

/// CONNECTs in the mailbox of one verification actor: about 100 ms of signature checks. When all mailboxes are full, a
/// CONNECT is refused at once.
pub const VERIFICATION_MAILBOX: usize = 1_024;
/// CONNECTs of suspect prefixes that wait for verification actors at once, all together: a few milliseconds in front
/// of the others.
pub const AUTHENTICATION_SUSPECTS: usize = 64;
/// Every refusal before the proof held is answered at a multiple of this after the CONNECT, so that its time says
/// nothing.
pub const REFUSAL_BUCKET: Duration = Duration::from_millis(50);

/// Seconds after which a new ticket key takes over, unless configured: a secret outlives a night without its broker.
pub const TICKET_ROTATION: u64 = 12 * 3600;
/// Shortest such time: a reconnect must fall between two changes.
pub const TICKET_ROTATION_LEAST: u64 = 60;
/// Ticket keys of our own that are accepted: the present one and the one before it. A secret is good for one to two
/// times the rotation; the library tries at most `tessera_token::limits::TICKET_KEYS`.
pub const TICKET_KEYS_KEPT: usize = 2;
/// How often it is looked whether a ticket key is due, or a shared file has changed.
pub const TICKET_CHECK: Duration = Duration::from_secs(1);

// --- sessions ----------------------------------------------------------------------------------------------------

/// Sessions of one device or service at once, one for each suffix of its client id, unless configured: one that goes
/// wrong takes a thousandth of [`SESSIONS`]. As many as a service has instances.
pub const SESSIONS_PER_DEVICE: usize = 256;
/// Bytes of a packet of an authenticated client, unless configured. Told in CONNACK.
pub const MAX_PACKET: usize = 256 * 1024;
/// Bytes of a packet at most, however it is configured: with what is written beside it, it must fit a row of the store
/// (1 MiB), or a message that is to be kept could not be.
pub const MAX_PACKET_MOST: usize = 960 * 1024;
/// QoS 1 and 2 publishes that a client may have open with us. Told in CONNACK.
pub const RECEIVE_MAXIMUM: u16 = 256;
/// QoS 1 and 2 deliveries that we have open with one client, whatever more it offers: bounds the resend.
pub const IN_FLIGHT: u16 = 256;
/// Topic aliases that a client may set on one connection: 16 topics of a device, kept in memory until it leaves.
pub const TOPIC_ALIASES: u16 = 16;
/// Deliveries that wait for one client, unless configured.
pub const QUEUE_MESSAGES: usize = 1_000;
/// Bytes of deliveries that wait for one client, unless configured.
pub const QUEUE_BYTES: usize = 1024 * 1024;
/// Subscriptions of one session.
pub const SUBSCRIPTIONS: usize = 256;
/// Sessions in total, connected or kept, unless configured.
pub const SESSIONS: usize = 200_000;
/// Seconds for which a session is kept at most after its connection ended (a day), also for 3.1.1, which has no limit.
pub const SESSION_EXPIRY: u32 = 86_400;
/// Most seconds of keep-alive, sent to MQTT 5 clients: a dead peer is noticed after half an hour.
pub const KEEP_ALIVE: u16 = 1_200;
/// Bytes that are encoded ahead for one socket: enough to fill a segment many times, little to hold for a slow reader.
pub const WRITE_BATCH: usize = 32 * 1024;
/// Bytes that are read from a socket at once.
pub const READ_CHUNK: usize = 8 * 1024;
/// Buffers of a turn that each thread keeps for reading, and as many for writing.
pub const BUFFERS_PER_THREAD: usize = 4;
/// Bytes of a payload that is copied out of its read buffer, an eighth of it: so much memory at most hides behind it.
pub const SMALL_PAYLOAD: usize = 1024;
/// Packets of one client handled before others get a turn.
pub const PACKETS_PER_TURN: usize = 64;
/// Connections that wait to leave their sessions after their peers have gone; past it each leaves on its own account.
pub const DISCONNECT_QUEUE: usize = 16_384;
/// Connections that leave before others get a turn: about a millisecond.
pub const DISCONNECTS_AT_ONCE: usize = 64;
/// Time for a last DISCONNECT to leave before the socket is closed.
pub const LINGER: Duration = Duration::from_millis(500);
/// How often deadlines are looked at (expiry, keep-alive, will delay).
pub const TICK: Duration = Duration::from_millis(50);
/// Longest sleep of a deadline: a wall clock that was set is noticed within it.
pub const DEADLINE_CHECK: Duration = Duration::from_secs(30);

// --- shares ------------------------------------------------------------------------------------------------------
// One device goes wrong, or one tenant: the others still find room. Each can be configured.

/// Bytes of messages that all sessions of one device or service hold: queues, deliveries under way, QoS 2 received.
/// Four sessions whose queue and window are full.
pub const QUEUED_BYTES_PER_DEVICE: usize = 16 * 1024 * 1024;
/// The same of all devices of one tenant: three quarters of the whole.
pub const QUEUED_BYTES_PER_TENANT: usize = 768 * 1024 * 1024;
/// The same in all, in memory. The part of persistent sessions is on the disk too, and nothing else of them grows
/// there.
pub const QUEUED_BYTES_IN_ALL: usize = 1024 * 1024 * 1024;
/// Bytes that a message counts for among these beside [`OUTBOX_MESSAGE_OVERHEAD`]: its publisher and its row.
pub const QUEUED_MESSAGE_OVERHEAD: usize = 192;
/// Bytes of each session that count for no share: a session that keeps up touches no counter that others touch.
pub const SHARE_FREE: usize = 2 * 1024;
/// Bytes that a session takes of a share at once.
pub const SHARE_STEP: usize = 16 * 1024;
/// Persistent sessions of one device or service.
pub const KEPT_SESSIONS_PER_DEVICE: usize = 64;
/// Sessions of one tenant: three quarters of [`SESSIONS`].
pub const SESSIONS_PER_TENANT: usize = 150_000;
/// Subscriptions of all sessions of one device or service. Each takes about half a KiB, with the longest filter 3.
pub const SUBSCRIPTIONS_PER_DEVICE: usize = 2_048;
/// The same of one tenant.
pub const SUBSCRIPTIONS_PER_TENANT: usize = 750_000;
/// The same in all.
pub const SUBSCRIPTIONS_IN_ALL: usize = 1_000_000;
/// Wildcard filters of one device or service that need a log of their own: as many as one session may subscribe to.
pub const ROUTER_LOGS_PER_DEVICE: usize = 256;
/// Large and middle logs of one device, and of one tenant: a filter beyond them has a smaller log.
pub const ROUTER_LARGE_LOGS: (usize, usize) = (4, 6);
/// As [`ROUTER_LARGE_LOGS`].
pub const ROUTER_MIDDLE_LOGS: (usize, usize) = (32, 96);
/// Links of one device or service, and of one tenant (three quarters of [`ROUTER_LINKS`]).
pub const ROUTER_LINKS_PER_DEVICE: usize = 1_024;
/// As [`ROUTER_LINKS_PER_DEVICE`].
pub const ROUTER_LINKS_PER_TENANT: usize = 12_288;
/// Retained messages of one publisher, and their bytes: a quarter of the whole, for a backend that keeps one for each
/// of its devices.
pub const RETAINED_PER_DEVICE: (usize, usize) = (25_000, 32 * 1024 * 1024);
/// The same of one tenant: three quarters of the whole.
pub const RETAINED_PER_TENANT: (usize, usize) = (75_000, 96 * 1024 * 1024);

/// Rows after which what is noted next is committed as a step of its own. Steps that belong together make it larger.
pub const PERSISTENCE_GROUP: usize = 8_192;
/// Rows of one commit at most, what the store takes: one publish reaches at most [`SESSIONS`] sessions, and what
/// several filters of each of them make of it still fits.
pub const PERSISTENCE_WHOLE: usize = tessera_runtime::limits::STORE_BATCH_STEPS;
/// Time after which rows that found no room on the disk are tried again.
pub const PERSISTENCE_TRY_AGAIN: Duration = Duration::from_millis(250);
/// Rows that wait to be committed before all connections wait with them: some 4 MiB of small messages.
pub const PERSISTENCE_BEHIND: usize = 16_384;
/// Bytes of such rows, for the same: large messages that are retained or kept faster than the disk takes them.
pub const PERSISTENCE_BEHIND_BYTES: usize = 64 * 1024 * 1024;
/// Topic aliases that we set for one client at most, whatever more it offers: its busiest topics get one.
pub const TOPIC_ALIASES_OUT: u16 = 16;

// --- control -----------------------------------------------------------------------------------------------------

/// Sessions that one trust effect ends before others get a turn.
pub const SESSIONS_PER_TURN: usize = 256;
/// Token requests of one device a second: one for each token, whose life is 2 seconds at least.
pub const TOKEN_REQUESTS_PER_SECOND: u32 = 2;
/// Token requests that a device may save up.
pub const RELAY_BURST: u32 = 20;
/// Devices whose token requests are counted: those that asked within the last ten seconds. Past it newcomers are
/// refused.
pub const RELAY_DEVICES: usize = 65_536;
/// Token requests that are relayed at once. More are answered with `limit_reached`.
pub const RELAYS: usize = 64;
/// Least pause between two passes over all queues and retained messages that drop the messages of revoked publishers.
/// None of them is delivered in the meantime.
pub const REVOCATION_SWEEP: Duration = Duration::from_secs(1);
/// Such a pause is at least so many times as long as the pass before it.
pub const REVOCATION_SWEEP_REST: u32 = 20;
/// Expired retained messages removed in one pass: keeps a pass short.
pub const RETAINED_SWEEP: usize = 1_000;
/// Time for provisioning to answer a relayed token request.
pub const RELAY_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer of provisioning.
pub const RELAY_ANSWER_BYTES: usize = 16 * 1024;
/// Alerts that wait to be published.
pub const ALERT_BYTES: usize = 16 * 1024;
/// Time for connections to write their DISCONNECT on stop.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(5);

// --- restrictions ------------------------------------------------------------------------------------------------

/// Seconds for which a rule holds a device back; each later match begins them anew.
pub const RESTRAINT_OF_RULE: u64 = 900;
/// Devices that rules hold back at a time. Past it a match is logged and holds nothing back.
pub const RESTRAINTS_OF_RULES: usize = 50_000;
/// Seconds after which the match of a rule in one session is told again.
pub const RULE_TOLD_AGAIN: u64 = 60;
/// Messages a second of a device whose rate is held down.
pub const CLAMP_MESSAGES_A_SECOND: u64 = 1;
/// Bytes a second of it.
pub const CLAMP_BYTES_A_SECOND: u64 = 4096;
/// Time of this rate that may come at once.
pub const CLAMP_BURST: Duration = Duration::from_secs(5);

/// Longest time for which nothing is read of such a device.
pub const CLAMP_PAUSE: Duration = Duration::from_secs(60);

// --- lines about refusals ----------------------------------------------------------------------------------------

/// Bytes of a client id in a line: all that a valid one has.
pub const LOGGED_ID_BYTES: usize = 64;
/// Bytes of a topic or filter in a line.
pub const LOGGED_TOPIC_BYTES: usize = 128;
/// Bytes of a library's text about a broken handshake.
pub const LOGGED_DETAIL_BYTES: usize = 128;
