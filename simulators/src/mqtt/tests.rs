use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

#[test]
fn broker_addresses() {
    let parsed = |text| Broker::parse(text).map(|b| (b.host, b.port));
    assert_eq!(parsed("127.0.0.1:1884"), Some(("127.0.0.1".to_owned(), 1884)));
    assert_eq!(parsed("[::1]:1884"), Some(("[::1]".to_owned(), 1884)));
    assert_eq!(parsed("broker.example"), Some(("broker.example".to_owned(), 1883)));
    for (text, told) in [
        ("mqtt://h", "h:1883"),
        ("mqtts://h", "mqtts://h:8883"),
        ("mqtts://[::1]:9", "mqtts://[::1]:9"),
        ("ws://h:8080", "ws://h:8080"),
        ("wss://h", "wss://h:443"),
    ] {
        assert_eq!(Broker::parse(text).map(|b| b.to_string()).as_deref(), Some(told));
    }
    assert_eq!(Broker::parse("wss://h/a/b").unwrap().path, "/a/b");
    assert_eq!(Broker::parse("wss://h").unwrap().path, "/mqtt");
    for bad in ["http://h:1", "mqtts://", "mqtts://h/x", "ws://h/a b", "ws://h/a\r\nx"] {
        assert!(Broker::parse(bad).is_none(), "{bad}");
    }
    for bad in ["", ":1883", "host:port", "host:0", "host:70000"] {
        assert_eq!(parsed(bad), None, "{bad}");
    }
}

#[test]
fn kinds_are_short() {
    assert_eq!(Closed::Refused("not_authorized".to_owned()).kind(), "connect:not_authorized");
    assert_eq!(Closed::Lost("anything at all".to_owned()).kind(), "connection_lost");
    assert_eq!(Closed::Silent.kind(), "connection_lost");
}

async fn listen() -> (TcpListener, Connect) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = connect_to(listener.local_addr().unwrap().port());
    (listener, connect)
}

fn connect_to(port: u16) -> Connect {
    Connect {
        broker: Broker::plain("127.0.0.1", port),
        client_id: "d-1".to_owned(),
        username: "d-1".to_owned(),
        password: "cGFzc3dvcmQ".to_owned(),
        version: Version::V311,
        keep_alive: limits::KEEP_ALIVE,
        session: Session::default(),
    }
}

/// Reads one packet and answers with these bytes.
async fn answer(socket: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 4096];
    let length = socket.read(&mut packet).await.unwrap();
    packet.truncate(length);
    socket.write_all(bytes).await.unwrap();
    packet
}

#[tokio::test]
async fn a_refusal_is_told_in_both_versions() {
    for (version, connack) in
        [(Version::V311, &[0x20, 2, 0, 5][..]), (Version::V5, &[0x20, 3, 0, 0x87, 0])]
    {
        let (listener, connect) = listen().await;
        let connect = Connect { version, ..connect };
        let (opened, packet) = tokio::join!(Link::open(&connect), async {
            let (mut socket, _) = listener.accept().await.unwrap();
            answer(&mut socket, connack).await
        });
        assert_eq!(opened.err(), Some(Closed::Refused("not_authorized".to_owned())));
        let holds = |text: &str| packet.windows(text.len()).any(|w| w == text.as_bytes());
        assert!(holds("MQTT") && holds("d-1") && holds("cGFzc3dvcmQ"));
    }
}

#[tokio::test]
async fn messages_and_the_end_of_the_connection_arrive_in_order() {
    let (listener, connect) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        answer(&mut socket, &[0x20, 2, 0, 0]).await;
        // SUBACK for packet 1, then a QoS 0 message, then the end.
        answer(&mut socket, &[0x90, 3, 0, 1, 1]).await;
        socket.write_all(&[0x30, 5, 0, 1, b't', b'h', b'i']).await.unwrap();
    });
    let mut link = Link::open(&connect).await.unwrap();
    link.subscribe("t").unwrap();
    assert_eq!(link.next().await, Incoming::Subscribed);
    let message = Incoming::Message { topic: "t".to_owned(), payload: b"hi".to_vec() };
    assert_eq!(link.next().await, message);
    assert!(matches!(link.next().await, Incoming::Closed(Closed::Lost(_))));
    broker.await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_no_refusal() {
    // The port is taken, and no process listens.
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let connect = connect_to(silent.local_addr().unwrap().port());
    let opened = Link::open(&connect).await;
    assert!(matches!(opened.err(), Some(Closed::NotOpened(Obstacle::Port, _))));
}
