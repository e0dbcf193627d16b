//! Every limit of the broker, with its unit and reason.

// --- codec -------------------------------------------------------------------------------------------------------

/// Bytes of a packet, fixed header included, before the peer is authenticated. Holds a CONNECT with a 4 KiB token as
/// base64url text, and bounds what a stranger makes us hold.
pub const MAX_PACKET_BEFORE_AUTH: usize = 8 * 1024;

/// User properties in one packet. They are kept as wire bytes, so the packet limit bounds their memory; this bounds
/// the work of those who walk them.
pub const MAX_USER_PROPERTIES: usize = 10_000;

/// Filters in one SUBSCRIBE or UNSUBSCRIBE, and codes in their answers. More is sent in several packets.
pub const MAX_FILTERS_PER_PACKET: usize = 512;

/// Levels of a topic name or filter. Real fleets use fewer than 12; the matching cost is per level.
pub const MAX_TOPIC_LEVELS: usize = 128;
