//! The whole process stands still for longer than any of its patience (SIGSTOP, as `docker pause` does it): nothing that
//! lives is taken for dead, and wildcard subscriptions of before and after read the same.

use std::time::Duration;

use rumqttc::v5;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::mqttbytes::QoS;
use tessera_runtime::http::HttpClient;
use tessera_tests::process::PATIENCE;
use tessera_tests::server::{Device, Server};

/// Longer than the router may be silent (`broker/src/limits.rs`).
const PAUSE: Duration = Duration::from_secs(12);
const MESSAGES: u32 = 50;

struct Client {
    client: v5::AsyncClient,
    events: v5::EventLoop,
}

impl Client {
    async fn open(device: &Device, suffix: &str) -> Self {
        let id = format!("{}~{suffix}", device.id);
        let mut options = v5::MqttOptions::new(&id, "127.0.0.1", device.mqtt.port());
        options.set_credentials(&device.id, device.password_for(&id));
        options.set_keep_alive(Duration::from_secs(300)).set_connection_timeout(PATIENCE.as_secs());
        let (client, events) = v5::AsyncClient::new(options, 100);
        let mut opened = Self { client, events };
        opened.until("a CONNACK", |packet| matches!(packet, Packet::ConnAck(_))).await;
        opened
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&Packet) -> bool) -> Packet {
        let waiting = async {
            loop {
                match self.events.poll().await.unwrap() {
                    v5::Event::Incoming(packet) if wanted(&packet) => return packet,
                    _ => {}
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("no {what} in {PATIENCE:?}"))
    }

    async fn subscribe(&mut self, filter: &str) {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        self.until("SUBACK", |packet| matches!(packet, Packet::SubAck(_))).await;
    }

    /// Publishes at QoS 1; returns when all are acknowledged.
    async fn publish(&mut self, topic: &str, first: u32) {
        for number in first..first + MESSAGES {
            self.client.publish(topic, QoS::AtLeastOnce, false, number.to_string()).await.unwrap();
            self.until("PUBACK", |packet| matches!(packet, Packet::PubAck(_))).await;
        }
    }

    /// All of them, in order.
    async fn receives(&mut self, first: u32) {
        for number in first..first + MESSAGES {
            match self.until("message", |packet| matches!(packet, Packet::Publish(_))).await {
                Packet::Publish(message) => {
                    assert_eq!(message.payload, number.to_string().as_bytes());
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Keeps links being opened, so that the pause falls into one.
async fn churn(mut client: Client) {
    for round in 0u64.. {
        let filter = format!("d/churn/{}/#", round % 64);
        client.subscribe(&filter).await;
        client.client.unsubscribe(&filter).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_the_process_splits_no_subscription() {
    let server = Server::start();
    let backend = server.enrol("p-back", "backend");
    let sensor = server.enrol("p-1", "sensor");
    let topic = "d/p-1/telemetry";
    let mut readers = Vec::new();
    for name in ["one", "two"] {
        readers.push(Client::open(&backend, name).await);
    }
    for reader in &mut readers {
        reader.subscribe("d/+/telemetry").await;
    }
    let mut publisher = Client::open(&sensor, "pub").await;
    publisher.publish(topic, 0).await;
    for reader in &mut readers {
        reader.receives(0).await;
    }
    let mut churning = Vec::new();
    for number in 0..8 {
        let client = Client::open(&backend, &format!("churn-{number}")).await;
        churning.push(tokio::spawn(churn(client)));
    }
    for round in 1..=2 {
        // In the middle of what the others do.
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.process.signal("STOP");
        tokio::time::sleep(PAUSE).await;
        server.process.signal("CONT");
        let mut late = Client::open(&backend, &format!("late-{round}")).await;
        late.subscribe("d/+/telemetry").await;
        readers.push(late);
        publisher.publish(topic, round * MESSAGES).await;
        for reader in &mut readers {
            reader.receives(round * MESSAGES).await;
        }
    }
    for one in &churning {
        assert!(!one.is_finished(), "a session that churned was ended");
        one.abort();
    }
    let http = HttpClient::new(format!("http://{}", server.metrics), None, Default::default());
    let http = http.unwrap();
    let metrics = http.get("/metrics").await.unwrap();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for wanted in [r#"{what="router_restarts"} 0"#, r#"{what="router_answers"} 1"#] {
        assert!(metrics.contains(wanted), "{metrics}");
    }
    http.get("/readyz").await.unwrap();
}
