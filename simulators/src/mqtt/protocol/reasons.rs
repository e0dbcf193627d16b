//! Names of MQTT's return and reason codes, in the words of the standard (MQTT 5 section 2.4). Reports count by them.

use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode as Connect5, DisconnectReasonCode as Disconnect, PubAckReason as PubAck,
    SubscribeReasonCode as SubAck,
};
use rumqttc::ConnectReturnCode as Connect311;

/// The return code of a CONNACK of MQTT 3.1.1.
pub(super) fn connack_311(code: Connect311) -> &'static str {
    match code {
        Connect311::Success => "success",
        Connect311::RefusedProtocolVersion => "unsupported_protocol_version",
        Connect311::BadClientId => "client_identifier_not_valid",
        Connect311::ServiceUnavailable => "server_unavailable",
        Connect311::BadUserNamePassword => "bad_user_name_or_password",
        Connect311::NotAuthorized => "not_authorized",
    }
}

/// The reason of a CONNACK of MQTT 5.
pub(super) fn connack_5(code: Connect5) -> &'static str {
    match code {
        Connect5::Success => "success",
        Connect5::MalformedPacket => "malformed_packet",
        Connect5::ProtocolError => "protocol_error",
        Connect5::ImplementationSpecificError => "implementation_specific_error",
        Connect5::RefusedProtocolVersion | Connect5::UnsupportedProtocolVersion => {
            "unsupported_protocol_version"
        }
        Connect5::BadClientId | Connect5::ClientIdentifierNotValid => "client_identifier_not_valid",
        Connect5::BadUserNamePassword => "bad_user_name_or_password",
        Connect5::NotAuthorized => "not_authorized",
        Connect5::ServiceUnavailable | Connect5::ServerUnavailable => "server_unavailable",
        Connect5::ServerBusy => "server_busy",
        Connect5::Banned => "banned",
        Connect5::BadAuthenticationMethod => "bad_authentication_method",
        Connect5::TopicNameInvalid => "topic_name_invalid",
        Connect5::PacketTooLarge => "packet_too_large",
        Connect5::QuotaExceeded => "quota_exceeded",
        Connect5::PayloadFormatInvalid => "payload_format_invalid",
        Connect5::RetainNotSupported => "retain_not_supported",
        Connect5::QoSNotSupported => "qos_not_supported",
        Connect5::UseAnotherServer => "use_another_server",
        Connect5::ServerMoved => "server_moved",
        Connect5::ConnectionRateExceeded => "connection_rate_exceeded",
        Connect5::UnspecifiedError => "unspecified_error",
    }
}

/// The reason of a DISCONNECT. Those that no broker gives for a device are one name.
pub(super) fn disconnect(code: Disconnect) -> &'static str {
    match code {
        Disconnect::NormalDisconnection => "normal_disconnection",
        Disconnect::MalformedPacket => "malformed_packet",
        Disconnect::ProtocolError => "protocol_error",
        Disconnect::ImplementationSpecificError => "implementation_specific_error",
        Disconnect::NotAuthorized => "not_authorized",
        Disconnect::ServerBusy => "server_busy",
        Disconnect::ServerShuttingDown => "server_shutting_down",
        Disconnect::KeepAliveTimeout => "keep_alive_timeout",
        Disconnect::SessionTakenOver => "session_taken_over",
        Disconnect::TopicFilterInvalid => "topic_filter_invalid",
        Disconnect::TopicNameInvalid => "topic_name_invalid",
        Disconnect::ReceiveMaximumExceeded => "receive_maximum_exceeded",
        Disconnect::TopicAliasInvalid => "topic_alias_invalid",
        Disconnect::PacketTooLarge => "packet_too_large",
        Disconnect::MessageRateTooHigh => "message_rate_too_high",
        Disconnect::QuotaExceeded => "quota_exceeded",
        Disconnect::AdministrativeAction => "administrative_action",
        _ => "unspecified_error",
    }
}

/// The reason of a PUBACK.
pub(super) fn puback(reason: PubAck) -> &'static str {
    match reason {
        PubAck::Success => "success",
        PubAck::NoMatchingSubscribers => "no_matching_subscribers",
        PubAck::ImplementationSpecificError => "implementation_specific_error",
        PubAck::NotAuthorized => "not_authorized",
        PubAck::TopicNameInvalid => "topic_name_invalid",
        PubAck::PacketIdentifierInUse => "packet_identifier_in_use",
        PubAck::QuotaExceeded => "quota_exceeded",
        PubAck::PayloadFormatInvalid => "payload_format_invalid",
        PubAck::UnspecifiedError => "unspecified_error",
    }
}

/// A reason of a SUBACK.
pub(super) fn suback(reason: &SubAck) -> &'static str {
    match reason {
        SubAck::Success(_) => "success",
        SubAck::ImplementationSpecific => "implementation_specific_error",
        SubAck::NotAuthorized => "not_authorized",
        SubAck::TopicFilterInvalid => "topic_filter_invalid",
        SubAck::PkidInUse => "packet_identifier_in_use",
        SubAck::QuotaExceeded => "quota_exceeded",
        SubAck::SharedSubscriptionsNotSupported => "shared_subscriptions_not_supported",
        SubAck::SubscriptionIdNotSupported => "subscription_identifiers_not_supported",
        SubAck::WildcardSubscriptionsNotSupported => "wildcard_subscriptions_not_supported",
        SubAck::Failure | SubAck::Unspecified => "unspecified_error",
    }
}
