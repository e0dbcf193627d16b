use tessera_broker::codec::{FrameReader, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::super::packets::SUBSCRIBE_ID;
use super::super::testing::{packet, put_field};
use super::*;

/// Bytes between the pump and each of its peers.
const BETWEEN: usize = 512;

/// A pump, the ends of its peers, and the way of payloads to it.
struct Rig {
    client: DuplexStream,
    broker: DuplexStream,
    asks: mpsc::Sender<Vec<u8>>,
    heard: mpsc::Receiver<Heard>,
    stop: Stop,
    pump: tokio::task::JoinHandle<Left>,
}

impl Rig {
    /// CONNACK and the proxy's own SUBSCRIBE are over; with an answer to it, the packets of the client go on.
    async fn start(version: Version, answered: bool) -> Self {
        let (client, local) = tokio::io::duplex(BETWEEN);
        let (broker, remote) = tokio::io::duplex(BETWEEN);
        let level = if version == Version::V5 { 5 } else { 4 };
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 60];
        body.extend((version == Version::V5).then_some(0));
        put_field(b"x", &mut body);
        let mut whole = BytesMut::from(packet(0x10, &body).as_slice());
        let Ok(Step::Frame(frame)) = FrameReader::new(1_000).next(&mut whole) else { panic!() };
        let connect = super::super::connect::read(&frame).ok().unwrap();
        let opened = Opened {
            stream: ByteStream::over(Box::pin(remote)),
            connack: packet(0x20, &[0, 0]),
            rest: BytesMut::new(),
            token: Vec::new(),
        };
        let local = ByteStream::over(Box::pin(local));
        let mut pump = Pump::new(&connect, local, BytesMut::new(), opened);
        let ((asks, asked), (hears, heard)) = (mpsc::channel(4), mpsc::channel(4));
        let stop = Stop::new();
        let stopped = stop.clone();
        let pump = tokio::spawn(async move {
            let left = pump.run(asked, hears, &stopped).await;
            pump.end(&left).await;
            left
        });
        let mut rig = Self { client, broker, asks, heard, stop, pump };
        assert_eq!(read(&mut rig.client, 4).await, packet(0x20, &[0, 0]));
        let own = subscribe(version);
        assert_eq!(read(&mut rig.broker, own.len()).await, own);
        if answered {
            let none = (version == Version::V5).then_some(0);
            let body: Vec<u8> =
                SUBSCRIBE_ID.to_be_bytes().into_iter().chain(none).chain([0, 0]).collect();
            rig.broker.write_all(&packet(0x90, &body)).await.unwrap();
        }
        rig
    }
}

async fn read(from: &mut DuplexStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await.unwrap();
    bytes
}

fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_field(topic.as_bytes(), &mut body);
    body.extend(payload);
    packet(0x30, &body)
}

#[tokio::test]
async fn own_packets_go_between_those_of_the_client_wherever_its_bytes_are_split() {
    let client = [publish("d/x", b"one"), publish("d/x", &[7; 140])];
    let bytes = client.concat();
    let own = token(Version::V311, b"next".to_vec());
    for at in 0..bytes.len() {
        let mut rig = Rig::start(Version::V311, true).await;
        let (left, right) = bytes.split_at(at);
        rig.client.write_all(left).await.unwrap();
        // Bytes of a head wait for the whole head.
        let begun = if at < client[0].len() { 0 } else { client[0].len() };
        let passes = if at - begun < 3 { begun } else { at };
        let mut came = read(&mut rig.broker, passes).await;
        rig.asks.send(b"next".to_vec()).await.unwrap();
        rig.client.write_all(right).await.unwrap();
        came.extend(read(&mut rig.broker, bytes.len() + own.len() - came.len()).await);
        let next = client.iter().scan(0, |end, one| {
            *end += one.len();
            Some(*end)
        });
        // Behind the packet that had begun; the renewal may also have been quicker than the client, or slower.
        let least = std::iter::once(0).chain(next).find(|end| *end >= passes).unwrap();
        let (before, behind) = bytes.split_at(least);
        let second = client[0].len();
        let orders = [
            [before, &own, behind].concat(),
            [&bytes[..second], &own, &bytes[second..]].concat(),
            [&bytes[..], &own].concat(),
        ];
        assert!(orders[..].contains(&came), "split at {at}: {came:?}");
    }
}

#[tokio::test]
async fn the_packets_of_the_client_wait_for_the_answer_to_the_subscription_of_the_proxy() {
    let mut rig = Rig::start(Version::V311, false).await;
    let first = publish("d/x", b"early");
    rig.client.write_all(&first).await.unwrap();
    rig.asks.send(b"next".to_vec()).await.unwrap();
    // The packet of the client came first, and waits.
    let own = token(Version::V311, b"next".to_vec());
    assert_eq!(read(&mut rig.broker, own.len()).await, own);
    let id = SUBSCRIBE_ID.to_be_bytes();
    rig.broker.write_all(&packet(0x90, &[&id[..], &[0x80, 0]].concat())).await.unwrap();
    assert_eq!(read(&mut rig.broker, first.len()).await, first);
    assert!(matches!(rig.heard.recv().await, Some(Heard::NoAnswers)));
    rig.broker.write_all(&publish("$tessera/token", b"answer")).await.unwrap();
    let heard = rig.heard.recv().await;
    assert!(matches!(heard, Some(Heard::Answer(payload)) if payload == b"answer"));
}

#[tokio::test]
async fn a_peer_that_reads_nothing_makes_the_other_one_wait() {
    for client_reads in [true, false] {
        let Rig { client, broker, pump, .. } = &mut Rig::start(Version::V311, true).await;
        let large = publish("d/x", &vec![5; 200_000]);
        let (from, to) = if client_reads { (broker, client) } else { (client, broker) };
        let mut sent = 0;
        // It takes what its bounds hold and no more.
        while let Ok(wrote) = timeout(Duration::from_millis(200), from.write(&large[sent..])).await
        {
            sent += wrote.unwrap();
            assert!(sent < 4 * WAITING_BYTES, "{sent} bytes are held");
        }
        assert!(!pump.is_finished());
        let write = async { from.write_all(&large[sent..]).await.unwrap() };
        let (came, ()) = tokio::join!(read(to, large.len()), write);
        assert!(came == large, "the bytes are others");
    }
}

#[tokio::test]
async fn bytes_of_a_client_that_has_gone_reach_the_broker() {
    let mut rig = Rig::start(Version::V311, false).await;
    let all = [publish("d/x", &[3; 300]), packet(0xe0, &[])].concat();
    rig.client.write_all(&all).await.unwrap();
    drop(rig.client);
    let id = SUBSCRIBE_ID.to_be_bytes();
    rig.broker.write_all(&packet(0x90, &[&id[..], &[0, 0]].concat())).await.unwrap();
    assert_eq!(read(&mut rig.broker, all.len()).await, all);
    assert_eq!(rig.broker.read(&mut [0]).await.unwrap(), 0);
    drop(rig.broker);
    assert_eq!(rig.pump.await.unwrap(), Left::Client { said_goodbye: true });
}

#[tokio::test]
async fn a_client_is_told_the_end_between_packets_alone() {
    let half = publish("d/x", &[1; 20])[..10].to_vec();
    for (version, sent, told) in [
        (
            Version::V5,
            Vec::new(),
            disconnect(Version::V5, ReasonCode::SERVER_SHUTTING_DOWN).unwrap(),
        ),
        (Version::V5, half, Vec::new()),
        (Version::V311, Vec::new(), Vec::new()),
    ] {
        let mut rig = Rig::start(version, true).await;
        rig.broker.write_all(&sent).await.unwrap();
        assert_eq!(read(&mut rig.client, sent.len()).await, sent);
        rig.stop.trigger();
        let mut last = Vec::new();
        rig.client.read_to_end(&mut last).await.unwrap();
        assert_eq!(last, told);
        drop((rig.client, rig.broker));
        assert_eq!(rig.pump.await.unwrap(), Left::Stopped);
    }
}

#[tokio::test]
async fn the_end_by_the_broker_is_told_with_its_own_words() {
    for (last, told) in [
        (packet(0xe0, &[0x98]), packet(0xe0, &[0x98])),
        (Vec::new(), disconnect(Version::V5, ReasonCode::UNSPECIFIED).unwrap()),
    ] {
        let mut rig = Rig::start(Version::V5, true).await;
        let status = br#"{"refusal":"device_revoked","words":"the device is revoked"}"#;
        let body = [&b"\0\x0f$tessera/status\0"[..], status].concat();
        rig.broker.write_all(&packet(0x30, &body)).await.unwrap();
        rig.broker.write_all(&last).await.unwrap();
        drop(rig.broker);
        let mut came = Vec::new();
        rig.client.read_to_end(&mut came).await.unwrap();
        assert_eq!(came, told);
        drop(rig.client);
        let reason = (!last.is_empty()).then_some(0x98);
        let refusal = Some(("device_revoked".to_owned(), "the device is revoked".to_owned()));
        assert_eq!(rig.pump.await.unwrap(), Left::Broker { reason, refusal });
    }
}

/// A client closes once it has the DISCONNECT, before the broker does.
#[tokio::test]
async fn the_end_by_the_broker_is_known_although_the_client_closes_first() {
    let mut rig = Rig::start(Version::V5, true).await;
    let last = packet(0xe0, &[0x98]);
    rig.broker.write_all(&last).await.unwrap();
    assert_eq!(read(&mut rig.client, last.len()).await, last);
    drop(rig.client);
    assert_eq!(rig.broker.read(&mut [0]).await.unwrap(), 0);
    drop(rig.broker);
    let left = Left::Broker { reason: Some(0x98), refusal: None };
    assert_eq!(rig.pump.await.unwrap(), left);
}

#[tokio::test]
async fn bytes_that_are_no_mqtt_end_the_connection() {
    let bad = [0x30, 0xff, 0xff, 0xff, 0xff, 0xff];
    let mut rig = Rig::start(Version::V5, true).await;
    rig.client.write_all(&bad).await.unwrap();
    let told = disconnect(Version::V5, ReasonCode::MALFORMED_PACKET).unwrap();
    assert_eq!(read(&mut rig.client, told.len()).await, told);
    drop((rig.client, rig.broker));
    assert_eq!(rig.pump.await.unwrap(), Left::ClientMalformed);
    let mut rig = Rig::start(Version::V5, true).await;
    rig.broker.write_all(&bad).await.unwrap();
    let told = disconnect(Version::V5, ReasonCode::UNSPECIFIED).unwrap();
    assert_eq!(read(&mut rig.client, told.len()).await, told);
    drop((rig.client, rig.broker));
    assert_eq!(rig.pump.await.unwrap(), Left::BrokerMalformed);
}
