//! The attributes of a CONNECT for rules.

use tessera_rules::attributes as rules;

use crate::codec::{Connect, PropertyId, Version};

/// The channel of a CONNECT.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    /// `mqtt`, `mqtts`, `ws`, `wss` or `quic`.
    pub(crate) transport: &'static str,
    /// `none`, `1.2` or `1.3`.
    pub(crate) tls: &'static str,
}

/// The attributes of a CONNECT.
pub(super) fn attributes(connect: &Connect, channel: Channel) -> rules::Connect<'_> {
    rules::Connect {
        version: match connect.version {
            Version::V311 => 4,
            Version::V5 => 5,
        },
        keep_alive: connect.keep_alive,
        clean: connect.clean_start,
        will_topic: connect.will.as_ref().map_or("", |will| &will.topic),
        user_name: connect.user_name.as_deref().unwrap_or_default(),
        properties: properties(connect),
        transport: match channel.transport {
            "ws" | "wss" => "ws",
            "quic" => "quic",
            _ => "tcp",
        },
        tls: channel.tls,
    }
}

/// Bits of `tessera_rules::attributes::schema::PROPERTIES`, in their order.
fn properties(connect: &Connect) -> u32 {
    const OF_CONNECT: [PropertyId; 9] = [
        PropertyId::SessionExpiry,
        PropertyId::ReceiveMaximum,
        PropertyId::MaximumPacketSize,
        PropertyId::TopicAliasMaximum,
        PropertyId::RequestResponseInfo,
        PropertyId::RequestProblemInfo,
        PropertyId::UserProperty,
        PropertyId::AuthMethod,
        PropertyId::AuthData,
    ];
    const OF_WILL: [PropertyId; 4] = [
        PropertyId::WillDelay,
        PropertyId::MessageExpiry,
        PropertyId::ContentType,
        PropertyId::ResponseTopic,
    ];
    let has = |all: &crate::codec::Properties, id: PropertyId| all.iter().any(|(one, _)| one == id);
    let own = OF_CONNECT.iter().map(|id| has(&connect.properties, *id));
    let will = connect.will.as_ref().map(|will| &will.properties);
    let of_will = OF_WILL.iter().map(|id| will.is_some_and(|will| has(will, *id)));
    own.chain(of_will).zip(0..).fold(0, |bits, (is_set, at)| bits | u32::from(is_set) << at)
}
