//! Packets and session state of MQTT 3.1.1 and 5; [`reasons`] names their codes. Only this folder names `rumqttc`.

mod reasons;

use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5 as p5;
use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::{v5, QoS as QoS4};
use tessera_token::ace::BOUND_METHOD;
use tokio_util::codec::{Decoder, Encoder};

use super::{Challenge, Closed, Connect, Incoming, Outgoing, Qos, Version};
use crate::limits;

/// A request by the user of a link.
pub(super) enum Asked {
    Publish(Outgoing),
    Subscribe(String, Qos),
    Ping,
    Disconnect,
}

/// The client's state of one connection.
pub(super) enum Protocol {
    V311(Box<rumqttc::MqttState>, rumqttc::Codec),
    V5(Box<v5::MqttState>, p5::Codec),
}

impl Protocol {
    pub(super) fn new(version: Version) -> Self {
        let (most, flight) = (limits::PACKET_BYTES, limits::IN_FLIGHT);
        match version {
            Version::V311 => {
                let codec = rumqttc::Codec { max_incoming_size: most, max_outgoing_size: most };
                Self::V311(Box::new(rumqttc::MqttState::new(flight, false)), codec)
            }
            Version::V5 => {
                let most = u32::try_from(most).ok();
                let codec = p5::Codec { max_incoming_size: most, max_outgoing_size: None };
                Self::V5(Box::new(v5::MqttState::new(flight, false)), codec)
            }
        }
    }

    /// The CONNECT; with a challenge (MQTT 5 alone) it has the token in the place of user name and password.
    pub(super) fn connect(
        &mut self,
        connect: &Connect,
        challenge: Option<&Challenge<'_>>,
        out: &mut BytesMut,
    ) -> Result<(), Closed> {
        let (id, name, password) = (&connect.client_id, &connect.username, &connect.password);
        let keep_alive = u16::try_from(connect.keep_alive.as_secs()).unwrap_or(u16::MAX);
        match self {
            Self::V311(_, codec) => {
                let mut packet = rumqttc::Connect::new(id.as_str());
                packet.keep_alive = keep_alive;
                packet.clean_session = connect.session.clean;
                packet.login =
                    Some(rumqttc::Login { username: name.clone(), password: password.clone() });
                codec.encode(rumqttc::Packet::Connect(packet), out).map_err(lost)
            }
            Self::V5(_, codec) => {
                let mut packet = p5::Connect {
                    keep_alive,
                    client_id: id.clone(),
                    clean_start: connect.session.clean,
                    properties: None,
                };
                let mut login =
                    Some(p5::Login { username: name.clone(), password: password.clone() });
                if connect.session.expiry > 0 {
                    let mut properties = p5::ConnectProperties::new();
                    properties.session_expiry_interval = Some(connect.session.expiry);
                    packet.properties = Some(properties);
                }
                if let Some(challenge) = challenge {
                    let mut properties = packet.properties.take().unwrap_or_default();
                    properties.authentication_method = Some(BOUND_METHOD.to_owned());
                    properties.authentication_data = Some(challenge.data()?.into());
                    packet.properties = Some(properties);
                    login = None;
                }
                codec.encode(p5::Packet::Connect(packet, None, login), out).map_err(lost)
            }
        }
    }

    /// Whether the CONNACK has come, and what it says; `keep_alive` becomes what the broker asks for.
    pub(super) fn connected(
        &mut self,
        inbox: &mut BytesMut,
        keep_alive: &mut Duration,
    ) -> Result<bool, Closed> {
        match self {
            Self::V311(_, codec) => match codec.decode(inbox).map_err(lost)? {
                None => Ok(false),
                Some(rumqttc::Packet::ConnAck(ack)) => match ack.code {
                    rumqttc::ConnectReturnCode::Success => Ok(true),
                    refused => Err(Closed::Refused(reasons::connack_311(refused).to_owned())),
                },
                Some(_) => Err(lost("the first packet is no CONNACK")),
            },
            Self::V5(state, codec) => match codec.decode(inbox).map_err(lost)? {
                None => Ok(false),
                Some(p5::Packet::ConnAck(ack)) => {
                    if ack.code != p5::ConnectReturnCode::Success {
                        return Err(Closed::Refused(reasons::connack_5(ack.code).to_owned()));
                    }
                    let told = ack.properties.as_ref();
                    codec.max_outgoing_size = told.and_then(|all| all.max_packet_size);
                    if let Some(asked) = told.and_then(|all| all.server_keep_alive) {
                        *keep_alive = Duration::from_secs(asked.into());
                    }
                    // It learns how many publishes the broker takes at once.
                    state.handle_incoming_packet(p5::Packet::ConnAck(ack)).map_err(closed_5)?;
                    state.events.clear();
                    Ok(true)
                }
                Some(_) => Err(lost("the first packet is no CONNACK")),
            },
        }
    }

    /// The next whole packet of `inbox`: what it tells, and what it makes us say. `None` when none is whole.
    #[allow(clippy::option_option, reason = "a packet may tell nothing")]
    pub(super) fn next(
        &mut self,
        inbox: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<Option<Incoming>>, Closed> {
        match self {
            Self::V311(state, codec) => {
                let Some(packet) = codec.decode(inbox).map_err(lost)? else { return Ok(None) };
                let reply = state.handle_incoming_packet(packet.clone()).map_err(lost)?;
                reply.map_or(Ok(()), |reply| codec.encode(reply, out)).map_err(lost)?;
                state.events.clear();
                Ok(Some(incoming_311(packet)))
            }
            Self::V5(state, codec) => {
                let Some(packet) = codec.decode(inbox).map_err(lost)? else { return Ok(None) };
                let reply = state.handle_incoming_packet(packet.clone()).map_err(closed_5)?;
                reply.map_or(Ok(()), |reply| codec.encode(reply, out)).map_err(lost)?;
                state.events.clear();
                Ok(Some(incoming_5(packet)))
            }
        }
    }

    /// Whether another request may be taken: no more are in flight than both sides hold.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::V311(state, _) => {
                state.inflight() < limits::IN_FLIGHT && state.collision.is_none()
            }
            Self::V5(state, _) => state.inflight() < limits::IN_FLIGHT && state.collision.is_none(),
        }
    }

    /// Writes what is asked for.
    pub(super) fn ask(&mut self, asked: Asked, out: &mut BytesMut) -> Result<(), Closed> {
        match self {
            Self::V311(state, codec) => {
                let packet = state.handle_outgoing_packet(request_311(asked)).map_err(lost)?;
                state.events.clear();
                packet.map_or(Ok(()), |packet| codec.encode(packet, out)).map_err(lost)
            }
            Self::V5(state, codec) => {
                let packet = state.handle_outgoing_packet(request_5(asked)).map_err(closed_5)?;
                state.events.clear();
                packet.map_or(Ok(()), |packet| codec.encode(packet, out)).map_err(lost)
            }
        }
    }
}

fn request_311(asked: Asked) -> rumqttc::Request {
    match asked {
        Asked::Publish(Outgoing { topic, qos, retain, payload }) => {
            let mut packet = rumqttc::Publish::new(topic, qos_311(qos), payload);
            packet.retain = retain;
            rumqttc::Request::Publish(packet)
        }
        Asked::Subscribe(filter, qos) => {
            rumqttc::Request::Subscribe(rumqttc::Subscribe::new(filter, qos_311(qos)))
        }
        Asked::Ping => rumqttc::Request::PingReq(rumqttc::PingReq),
        Asked::Disconnect => rumqttc::Request::Disconnect(rumqttc::Disconnect),
    }
}

fn request_5(asked: Asked) -> v5::Request {
    match asked {
        Asked::Publish(Outgoing { topic, qos, retain, payload }) => {
            let mut packet = p5::Publish::new(topic, qos_5(qos), payload, None);
            packet.retain = retain;
            v5::Request::Publish(packet)
        }
        Asked::Subscribe(filter, qos) => {
            let filter = p5::Filter::new(filter, qos_5(qos));
            v5::Request::Subscribe(p5::Subscribe::new(filter, None))
        }
        Asked::Ping => v5::Request::PingReq,
        Asked::Disconnect => v5::Request::Disconnect,
    }
}

const fn qos_311(qos: Qos) -> QoS4 {
    match qos {
        Qos::Zero => QoS4::AtMostOnce,
        Qos::One => QoS4::AtLeastOnce,
        Qos::Two => QoS4::ExactlyOnce,
    }
}

const fn qos_5(qos: Qos) -> QoS5 {
    match qos {
        Qos::Zero => QoS5::AtMostOnce,
        Qos::One => QoS5::AtLeastOnce,
        Qos::Two => QoS5::ExactlyOnce,
    }
}

fn incoming_311(packet: rumqttc::Packet) -> Option<Incoming> {
    match packet {
        rumqttc::Packet::Publish(publish) => {
            Some(Incoming::Message { topic: publish.topic, payload: publish.payload.to_vec() })
        }
        rumqttc::Packet::PubAck(_) => Some(Incoming::Published),
        rumqttc::Packet::PubComp(_) => Some(Incoming::Completed),
        rumqttc::Packet::SubAck(ack) => Some(match ack.return_codes.first() {
            Some(rumqttc::SubscribeReasonCode::Success(_)) => Incoming::Subscribed,
            _ => Incoming::SubscribeRefused("failure".to_owned()),
        }),
        _ => None,
    }
}

fn incoming_5(packet: p5::Packet) -> Option<Incoming> {
    match packet {
        p5::Packet::Publish(publish) => Some(Incoming::Message {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.to_vec(),
        }),
        p5::Packet::PubAck(ack) => Some(match ack.reason {
            p5::PubAckReason::Success | p5::PubAckReason::NoMatchingSubscribers => {
                Incoming::Published
            }
            refused => Incoming::PublishRefused(reasons::puback(refused).to_owned()),
        }),
        p5::Packet::PubComp(_) => Some(Incoming::Completed),
        p5::Packet::SubAck(ack) => Some(match ack.return_codes.first() {
            Some(p5::SubscribeReasonCode::Success(_)) => Incoming::Subscribed,
            Some(refused) => Incoming::SubscribeRefused(reasons::suback(refused).to_owned()),
            None => Incoming::SubscribeRefused("empty".to_owned()),
        }),
        _ => None,
    }
}

fn lost(error: impl std::fmt::Display) -> Closed {
    Closed::Lost(error.to_string())
}

fn closed_5(error: v5::StateError) -> Closed {
    match error {
        v5::StateError::ServerDisconnect { reason_code, .. } => {
            Closed::Disconnected(reasons::disconnect(reason_code).to_owned())
        }
        other => lost(other),
    }
}
