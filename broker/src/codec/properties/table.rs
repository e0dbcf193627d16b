//! MQTT 5 table 2-4: every property, its type, the packets that may carry it.

use super::Place;

/// Type of a property's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// One byte, 0 or 1.
    Flag,
    /// Two bytes; `true`: zero is forbidden.
    Two(bool),
    /// Four bytes; `true`: zero is forbidden.
    Four(bool),
    /// Variable byte integer, never 0.
    Var,
    Text,
    /// Text that must be a topic name.
    Topic,
    Binary,
    Pair,
}

/// One property identifier (MQTT 5 table 2-4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are those of the standard")]
pub enum PropertyId {
    PayloadFormat = 0x01,
    MessageExpiry = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionId = 0x0B,
    SessionExpiry = 0x11,
    AssignedClientId = 0x12,
    ServerKeepAlive = 0x13,
    AuthMethod = 0x15,
    AuthData = 0x16,
    RequestProblemInfo = 0x17,
    WillDelay = 0x18,
    RequestResponseInfo = 0x19,
    ResponseInfo = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardAvailable = 0x28,
    SubscriptionIdAvailable = 0x29,
    SharedAvailable = 0x2A,
}

use PropertyId as P;

const MESSAGE: u32 = Place::PUBLISH | Place::PUBLISH_FROM_SERVER | Place::WILL;
const ACKS: u32 = Place::PUBACK | Place::SUBACK;
const ANY: u32 = u32::MAX;

/// Identifier, value type, places.
pub(super) const TABLE: &[(PropertyId, Shape, u32)] = &[
    (P::PayloadFormat, Shape::Flag, MESSAGE),
    (P::MessageExpiry, Shape::Four(false), MESSAGE),
    (P::ContentType, Shape::Text, MESSAGE),
    (P::ResponseTopic, Shape::Topic, MESSAGE),
    (P::CorrelationData, Shape::Binary, MESSAGE),
    (P::SubscriptionId, Shape::Var, Place::PUBLISH_FROM_SERVER | Place::SUBSCRIBE),
    (
        P::SessionExpiry,
        Shape::Four(false),
        Place::CONNECT | Place::CONNACK | Place::DISCONNECT_FROM_CLIENT,
    ),
    (P::AssignedClientId, Shape::Text, Place::CONNACK),
    (P::ServerKeepAlive, Shape::Two(false), Place::CONNACK),
    (P::AuthMethod, Shape::Text, Place::CONNECT | Place::CONNACK | Place::AUTH),
    (P::AuthData, Shape::Binary, Place::CONNECT | Place::CONNACK | Place::AUTH),
    (P::RequestProblemInfo, Shape::Flag, Place::CONNECT),
    (P::WillDelay, Shape::Four(false), Place::WILL),
    (P::RequestResponseInfo, Shape::Flag, Place::CONNECT),
    (P::ResponseInfo, Shape::Text, Place::CONNACK),
    (P::ServerReference, Shape::Text, Place::CONNACK | Place::DISCONNECT_FROM_SERVER),
    (P::ReasonString, Shape::Text, Place::CONNACK | ACKS | Place::DISCONNECT_ANY | Place::AUTH),
    (P::ReceiveMaximum, Shape::Two(true), Place::CONNECT | Place::CONNACK),
    (P::TopicAliasMaximum, Shape::Two(false), Place::CONNECT | Place::CONNACK),
    (P::TopicAlias, Shape::Two(true), Place::PUBLISH | Place::PUBLISH_FROM_SERVER),
    (P::MaximumQos, Shape::Flag, Place::CONNACK),
    (P::RetainAvailable, Shape::Flag, Place::CONNACK),
    (P::UserProperty, Shape::Pair, ANY),
    (P::MaximumPacketSize, Shape::Four(true), Place::CONNECT | Place::CONNACK),
    (P::WildcardAvailable, Shape::Flag, Place::CONNACK),
    (P::SubscriptionIdAvailable, Shape::Flag, Place::CONNACK),
    (P::SharedAvailable, Shape::Flag, Place::CONNACK),
];

const NONE: Option<(PropertyId, Shape, u32)> = None;

/// The table by identifier: one step, whatever the identifier.
pub(super) const BY_ID: [Option<(PropertyId, Shape, u32)>; 43] = {
    let mut by_id = [NONE; 43];
    let mut row = 0;
    #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    while row < TABLE.len() {
        by_id[TABLE[row].0 as usize] = Some(TABLE[row]);
        row += 1;
    }
    by_id
};
