//! rumqttc, in MQTT 5 with properties and 3.1.1.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, Packet, PubAckReason, PublishProperties,
    SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::{v5, QoS as QoS4};
use tessera_tests::process::PATIENCE;
use tessera_tests::server::{Device, Server};

fn options(device: &Device) -> v5::MqttOptions {
    let mut options = v5::MqttOptions::new(&device.id, "127.0.0.1", device.mqtt.port());
    options.set_credentials(&device.id, device.password()).set_keep_alive(Duration::from_secs(30));
    options.set_connection_timeout(PATIENCE.as_secs());
    options
}

/// The time that a client of 3.1.1 has to connect is no part of its options.
pub(super) fn patient() -> rumqttc::NetworkOptions {
    let mut network = rumqttc::NetworkOptions::new();
    network.set_connection_timeout(PATIENCE.as_secs());
    network
}

/// A client of MQTT 5, polled until what is asked for has come.
struct Five {
    client: v5::AsyncClient,
    events: v5::EventLoop,
}

impl Five {
    async fn open(options: v5::MqttOptions) -> Self {
        let (client, events) = v5::AsyncClient::new(options, 10);
        let mut five = Self { client, events };
        five.packet(|packet| matches!(packet, Packet::ConnAck(_))).await;
        five
    }

    async fn poll(&mut self) -> Result<v5::Event, v5::ConnectionError> {
        tokio::time::timeout(PATIENCE, self.events.poll()).await.expect("the broker says nothing")
    }

    async fn packet(&mut self, wanted: impl Fn(&Packet) -> bool) -> Packet {
        loop {
            match self.poll().await.unwrap() {
                v5::Event::Incoming(packet) if wanted(&packet) => return packet,
                _ => {}
            }
        }
    }

    async fn subscribed(&mut self, filter: &str, qos: QoS) -> SubscribeReasonCode {
        self.client.subscribe(filter, qos).await.unwrap();
        match self.packet(|packet| matches!(packet, Packet::SubAck(_))).await {
            Packet::SubAck(ack) => ack.return_codes[0],
            other => panic!("{other:?}"),
        }
    }

    async fn ended(&mut self) -> v5::ConnectionError {
        loop {
            if let Err(error) = self.poll().await {
                return error;
            }
        }
    }
}

fn told(error: &v5::ConnectionError) -> Option<DisconnectReasonCode> {
    match error {
        v5::ConnectionError::MqttState(v5::StateError::ServerDisconnect {
            reason_code, ..
        }) => Some(*reason_code),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn mqtt_5_with_properties() {
    let server = Server::start();
    let (sensor, backend) = (server.enrol("r-1", "sensor"), server.enrol("r-back", "backend"));
    let mut reader = Five::open(options(&backend)).await;
    let granted = reader.subscribed("d/+/telemetry", QoS::ExactlyOnce).await;
    assert_eq!(granted, SubscribeReasonCode::Success(QoS::ExactlyOnce));
    let mut writer = Five::open(options(&sensor)).await;
    let sent = PublishProperties {
        content_type: Some("text/plain".to_owned()),
        response_topic: Some("d/r-1/cmd".to_owned()),
        correlation_data: Some(Bytes::from_static(&[0, 1])),
        user_properties: vec![("b".into(), "1".into()), ("a".into(), "2".into())],
        ..PublishProperties::default()
    };
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let topic = "d/r-1/telemetry";
        writer.client.publish_with_properties(topic, qos, false, "21", sent.clone()).await.unwrap();
        // Both sides are polled: an exchange of QoS 2 needs them.
        let message = loop {
            tokio::select! {
                event = reader.poll() => {
                    if let v5::Event::Incoming(Packet::Publish(message)) = event.unwrap() {
                        break message;
                    }
                }
                event = writer.poll() => drop(event.unwrap()),
            }
        };
        assert_eq!(
            (&message.topic[..], &message.payload[..], message.qos),
            (topic.as_bytes(), &b"21"[..], qos)
        );
        assert_eq!(message.properties.as_ref(), Some(&sent));
    }
    let refused = writer.subscribed("d/#", QoS::AtLeastOnce).await;
    assert_eq!(refused, SubscribeReasonCode::NotAuthorized);
    writer.client.publish("d/r-2/telemetry", QoS::AtLeastOnce, false, "x").await.unwrap();
    let Packet::PubAck(ack) = writer
        .packet(|p| matches!(p, Packet::PubAck(a) if a.reason != PubAckReason::Success))
        .await
    else {
        panic!()
    };
    assert_eq!(ack.reason, PubAckReason::NotAuthorized);
    let mut again = Five::open(options(&sensor)).await;
    assert_eq!(told(&writer.ended().await), Some(DisconnectReasonCode::SessionTakenOver));
    again.client.publish("d/r-2/telemetry", QoS::AtMostOnce, false, "x").await.unwrap();
    assert_eq!(told(&again.ended().await), Some(DisconnectReasonCode::NotAuthorized));
    let mut stale = options(&sensor);
    stale.set_credentials(&sensor.id, sensor.password_for("r-1~other"));
    let (_client, mut events) = v5::AsyncClient::new(stale, 10);
    match events.poll().await {
        Err(v5::ConnectionError::ConnectionRefused(code)) => {
            assert_eq!(code, ConnectReturnCode::NotAuthorized);
        }
        other => panic!("{other:?}"),
    }
}

/// A client of MQTT 3.1.1.
struct Four {
    client: rumqttc::AsyncClient,
    events: rumqttc::EventLoop,
}

impl Four {
    async fn open(device: &Device, clean: bool) -> (Self, bool) {
        let mut options = rumqttc::MqttOptions::new(&device.id, "127.0.0.1", device.mqtt.port());
        options.set_credentials(&device.id, device.password()).set_clean_session(clean);
        let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
        events.set_network_options(patient());
        let mut four = Self { client, events };
        match four.packet(|packet| matches!(packet, rumqttc::Packet::ConnAck(_))).await {
            rumqttc::Packet::ConnAck(ack) => (four, ack.session_present),
            other => panic!("{other:?}"),
        }
    }

    async fn poll(&mut self) -> Result<rumqttc::Event, rumqttc::ConnectionError> {
        tokio::time::timeout(PATIENCE, self.events.poll()).await.expect("the broker says nothing")
    }

    async fn packet(&mut self, wanted: impl Fn(&rumqttc::Packet) -> bool) -> rumqttc::Packet {
        loop {
            match self.poll().await.unwrap() {
                rumqttc::Event::Incoming(packet) if wanted(&packet) => return packet,
                _ => {}
            }
        }
    }

    async fn subscribed(&mut self, filter: &str, qos: QoS4) -> rumqttc::SubscribeReasonCode {
        self.client.subscribe(filter, qos).await.unwrap();
        match self.packet(|packet| matches!(packet, rumqttc::Packet::SubAck(_))).await {
            rumqttc::Packet::SubAck(ack) => ack.return_codes[0],
            other => panic!("{other:?}"),
        }
    }

    async fn message(&mut self) -> (Vec<u8>, QoS4) {
        match self.packet(|packet| matches!(packet, rumqttc::Packet::Publish(_))).await {
            rumqttc::Packet::Publish(message) => (message.payload.to_vec(), message.qos),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn mqtt_311_and_a_kept_session() {
    let server = Server::start();
    let (sensor, backend) = (server.enrol("r-1", "sensor"), server.enrol("r-back", "backend"));
    let (mut device, present) = Four::open(&sensor, false).await;
    assert!(!present);
    let granted = device.subscribed("d/r-1/cmd", QoS4::ExactlyOnce).await;
    assert_eq!(granted, rumqttc::SubscribeReasonCode::Success(QoS4::ExactlyOnce));
    drop(device);
    let (mut hub, _) = Four::open(&backend, true).await;
    for (qos, text) in [(QoS4::AtLeastOnce, "one"), (QoS4::ExactlyOnce, "two")] {
        hub.client.publish("d/r-1/cmd", qos, false, text).await.unwrap();
        hub.packet(|packet| {
            matches!(packet, rumqttc::Packet::PubAck(_) | rumqttc::Packet::PubComp(_))
        })
        .await;
    }
    let (mut device, present) = Four::open(&sensor, false).await;
    assert!(present);
    assert_eq!(device.message().await, (b"one".to_vec(), QoS4::AtLeastOnce));
    assert_eq!(device.message().await, (b"two".to_vec(), QoS4::ExactlyOnce));
    let refused = device.subscribed("d/#", QoS4::AtLeastOnce).await;
    assert_eq!(refused, rumqttc::SubscribeReasonCode::Failure);
    device.client.publish("d/r-2/telemetry", QoS4::AtLeastOnce, false, "x").await.unwrap();
    while device.poll().await.is_ok() {}
}
