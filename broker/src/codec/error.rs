//! Faults in the bytes of a peer, with the MQTT reason code that answers each.

use core::fmt;

/// An MQTT 5 reason code (MQTT 5 section 2.4). MQTT 3.1.1 codes are mapped where they are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReasonCode(pub u8);

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl ReasonCode { $($(#[$doc])* pub const $name: Self = Self($value);)* }
    };
}

reasons! {
    /// Success, normal disconnection, granted QoS 0.
    SUCCESS = 0x00;
    /// SUBACK: QoS 1 granted.
    GRANTED_QOS_1 = 0x01;
    /// SUBACK: QoS 2 granted.
    GRANTED_QOS_2 = 0x02;
    /// DISCONNECT from a client that wants its will published.
    DISCONNECT_WITH_WILL = 0x04;
    /// No client listens to the topic.
    NO_MATCHING_SUBSCRIBERS = 0x10;
    /// UNSUBACK: there was no such subscription.
    NO_SUBSCRIPTION_EXISTED = 0x11;
    /// AUTH: more data follows.
    CONTINUE_AUTHENTICATION = 0x18;
    /// AUTH: a client starts over.
    RE_AUTHENTICATE = 0x19;
    /// Unspecified error.
    UNSPECIFIED = 0x80;
    /// The bytes do not form a packet.
    MALFORMED_PACKET = 0x81;
    /// A well-formed packet at the wrong place or with forbidden content.
    PROTOCOL_ERROR = 0x82;
    /// Valid, but not accepted here.
    IMPLEMENTATION_SPECIFIC = 0x83;
    /// The MQTT version is not spoken here.
    UNSUPPORTED_VERSION = 0x84;
    /// The client identifier is not allowed.
    CLIENT_ID_NOT_VALID = 0x85;
    /// Bad user name or password.
    BAD_USER_NAME_OR_PASSWORD = 0x86;
    /// Not authorized.
    NOT_AUTHORIZED = 0x87;
    /// Server unavailable.
    SERVER_UNAVAILABLE = 0x88;
    /// Server busy.
    SERVER_BUSY = 0x89;
    /// Banned.
    BANNED = 0x8A;
    /// Server shutting down.
    SERVER_SHUTTING_DOWN = 0x8B;
    /// Bad authentication method.
    BAD_AUTHENTICATION_METHOD = 0x8C;
    /// Keep alive timeout.
    KEEP_ALIVE_TIMEOUT = 0x8D;
    /// Session taken over.
    SESSION_TAKEN_OVER = 0x8E;
    /// Topic filter invalid.
    TOPIC_FILTER_INVALID = 0x8F;
    /// Topic name invalid.
    TOPIC_NAME_INVALID = 0x90;
    /// Packet identifier in use.
    PACKET_ID_IN_USE = 0x91;
    /// Packet identifier not found.
    PACKET_ID_NOT_FOUND = 0x92;
    /// Receive maximum exceeded.
    RECEIVE_MAXIMUM_EXCEEDED = 0x93;
    /// Topic alias invalid.
    TOPIC_ALIAS_INVALID = 0x94;
    /// Packet too large.
    PACKET_TOO_LARGE = 0x95;
    /// Message rate too high.
    MESSAGE_RATE_TOO_HIGH = 0x96;
    /// Quota exceeded.
    QUOTA_EXCEEDED = 0x97;
    /// Administrative action.
    ADMINISTRATIVE_ACTION = 0x98;
    /// Payload format invalid.
    PAYLOAD_FORMAT_INVALID = 0x99;
    /// Retain not supported.
    RETAIN_NOT_SUPPORTED = 0x9A;
    /// QoS not supported.
    QOS_NOT_SUPPORTED = 0x9B;
    /// Use another server.
    USE_ANOTHER_SERVER = 0x9C;
    /// Server moved.
    SERVER_MOVED = 0x9D;
    /// Shared subscriptions not supported.
    SHARED_NOT_SUPPORTED = 0x9E;
    /// Connection rate exceeded.
    CONNECTION_RATE_EXCEEDED = 0x9F;
    /// Maximum connect time.
    MAXIMUM_CONNECT_TIME = 0xA0;
    /// Subscription identifiers not supported.
    SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1;
    /// Wildcard subscriptions not supported.
    WILDCARDS_NOT_SUPPORTED = 0xA2;
}

impl ReasonCode {
    /// Codes from 0x80 on are failures.
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02x}", self.0)
    }
}

/// The peer sent, or the caller wants to send, bytes that MQTT forbids. The connection cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodecError {
    /// The reason code that MQTT 5 sends in CONNACK or DISCONNECT before closing.
    pub reason: ReasonCode,
    /// A stable name of the rule that was broken, for logs, metrics and tests.
    pub rule: &'static str,
}

impl CodecError {
    /// The bytes do not form a packet (0x81).
    pub const fn malformed(rule: &'static str) -> Self {
        Self::with(ReasonCode::MALFORMED_PACKET, rule)
    }

    /// The packet is readable and forbidden (0x82).
    pub const fn protocol(rule: &'static str) -> Self {
        Self::with(ReasonCode::PROTOCOL_ERROR, rule)
    }

    /// A rule for which MQTT has a code of its own.
    pub const fn with(reason: ReasonCode, rule: &'static str) -> Self {
        Self { reason, rule }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.rule, self.reason)
    }
}

impl std::error::Error for CodecError {}

/// The result of reading or writing a packet.
pub type Result<T> = core::result::Result<T, CodecError>;
