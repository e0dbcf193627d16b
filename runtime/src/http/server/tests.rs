//! The server as its peers meet it, on real sockets. Times are those of the limits: a bound is seen to hold, not to be exact.

use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use actix_web::body::BodyStream;
use actix_web::dev::ServerHandle;
use actix_web::{web, App, HttpResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

use super::*;
use crate::clock::SystemClock;

const LARGE: usize = 32 * 1024 * 1024;

struct Rig {
    addr: SocketAddr,
    handle: ServerHandle,
    metrics: Metrics,
    folder: tempfile::TempDir,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Rig {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ServerLimits)) -> Self {
        let mut limits = ServerLimits {
            workers: 1,
            connections: 64,
            per_peer: 64,
            head: Duration::from_secs(2),
            idle: Duration::from_secs(4),
            request: Duration::from_secs(3),
            drain: Duration::from_secs(5),
        };
        change(&mut limits);
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let counted = ServerMetrics::register(&metrics, "test").unwrap();
        let tcp = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1024).unwrap();
        let addr = tcp.local_addr().unwrap();
        let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
        let (started, handle) = sync_channel(1);
        let body = move || {
            actix_rt::System::new().block_on(async move {
                let listeners = vec![Listener::tcp("tcp", tcp), Listener::unix("unix", unix)];
                let clock = SystemClock::shared();
                let server = serve(app, listeners, &limits, clock, counted).unwrap();
                started.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        };
        let thread = Some(std::thread::spawn(body));
        let handle = handle.recv().unwrap();
        Self { addr, handle, metrics, folder, thread }
    }

    async fn connect(&self) -> Peering {
        Peering(TcpStream::connect(self.addr).await.unwrap())
    }

    async fn unix(&self) -> UnixStream {
        UnixStream::connect(self.folder.path().join("socket")).await.unwrap()
    }

    async fn ended(&self, why: &str) {
        let line = format!("test_http_ended_total{{why=\"{why}\"}} ");
        let seen = || self.metrics.render().lines().any(|l| l.starts_with(&line));
        until(seen, &format!("no connection ended by {why}:\n{}", self.metrics.render())).await;
    }

    async fn end(mut self) {
        self.handle.stop(true).await;
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn until(mut seen: impl FnMut() -> bool, what: &str) {
    for _ in 0..1000 {
        if seen() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}");
}

fn app() -> App<
    impl ServiceFactory<
        actix_web::dev::ServiceRequest,
        Config = (),
        Response = actix_web::dev::ServiceResponse,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new()
        .route("/hello", web::get().to(|| async { HttpResponse::Ok().body("hello") }))
        .route("/large", web::get().to(|| async { HttpResponse::Ok().body(vec![b'x'; LARGE]) }))
        .route("/refused", web::post().to(|| async { HttpResponse::Forbidden().body("no") }))
        .route("/echo", web::post().to(|body: web::Bytes| async { HttpResponse::Ok().body(body) }))
        .route("/never", web::get().to(never))
        .route("/along", web::post().to(along))
}

/// Answers each part of a body when it comes.
async fn along(body: web::Payload) -> HttpResponse {
    HttpResponse::Ok().body(BodyStream::new(body))
}

async fn never() -> HttpResponse {
    std::future::pending().await
}

/// One connection.
struct Peering(TcpStream);

impl Peering {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// One answer with its body.
    async fn answer(&mut self) -> (String, String) {
        let mut bytes = Vec::new();
        let ends = |bytes: &[u8]| bytes.windows(4).position(|w| w == b"\r\n\r\n");
        while ends(&bytes).is_none() {
            let byte = timeout(Duration::from_secs(20), self.0.read_u8()).await.expect("no answer");
            bytes.push(byte.expect("closed before an answer"));
        }
        let head = String::from_utf8(bytes).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    async fn ask(&mut self, text: &str) -> (String, String) {
        self.send(text).await;
        self.answer().await
    }

    /// The bytes until the end, which is a close or a reset.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.0.read_to_end(&mut bytes);
        let _ = timeout(Duration::from_secs(20), read).await.expect("still open");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

const HELLO: &str = "GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_body_that_never_ends_does_not_keep_a_refused_request() {
    let rig = Rig::new();
    let start = "POST /refused HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n";
    let mut peer = rig.connect().await;
    let (head, _) = peer.ask(start).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    // It goes on for as long as it is let.
    let (mut reader, mut writer) = peer.0.into_split();
    let dripping = tokio::spawn(async move {
        while writer.write_all(b"1\r\nx\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    timeout(Duration::from_secs(10), dripping).await.expect("the body still goes on").unwrap();
    let _ = reader.read_to_end(&mut Vec::new()).await;
    let mut pouring = rig.connect().await;
    pouring.ask(start).await;
    let (_reader, mut writer) = pouring.0.into_split();
    let pouring = async move {
        let chunk = [&b"1000\r\n"[..], &[b'x'; 4096], b"\r\n"].concat();
        while writer.write_all(&chunk).await.is_ok() {}
    };
    timeout(Duration::from_secs(10), pouring).await.expect("the body is still read");
    rig.end().await;
}

#[tokio::test]
async fn a_chunked_body_is_read_and_the_connection_ends_behind_it() {
    let rig = Rig::new();
    let mut peer = rig.connect().await;
    let body =
        "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let (head, body) = peer.ask(body).await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("connection: close"), "{head}");
    assert_eq!((body.as_str(), peer.rest().await.as_str()), ("abc", ""));
    rig.end().await;
}

#[tokio::test]
async fn a_small_body_that_a_handler_left_does_not_end_the_connection() {
    let rig = Rig::new();
    let mut peer = rig.connect().await;
    for _ in 0..3 {
        let refused = "POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcde";
        let (head, body) = peer.ask(refused).await;
        assert!(head.starts_with("HTTP/1.1 403") && !head.contains("close"), "{head}");
        assert_eq!(body, "no");
        let echo = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(peer.ask(echo).await.1, "abc");
    }
    // A large one does, and one that does not come.
    peer.send("POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\na").await;
    let (head, _) = peer.answer().await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(peer.rest().await, "");
    let mut large = rig.connect().await;
    let (head, _) =
        large.ask("POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\na").await;
    assert!(head.contains("connection: close"), "{head}");
    rig.end().await;
}

#[tokio::test]
async fn requests_in_one_piece_are_answered_one_after_the_other() {
    let rig = Rig::new();
    let mut peer = rig.connect().await;
    let echo = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc";
    peer.send(&[HELLO, echo, "\r\n\r\n", HELLO, echo].concat()).await;
    for wanted in ["hello", "abc", "hello", "abc"] {
        assert_eq!(peer.answer().await.1, wanted);
    }
    rig.end().await;
}

#[tokio::test]
async fn an_idle_connection_serves_again_after_it_gave_its_buffers_back() {
    let rig = Rig::new();
    let mut peer = rig.connect().await;
    for _ in 0..2 {
        assert_eq!(peer.ask(HELLO).await.1, "hello");
        tokio::time::sleep(SERVER_REST).await;
    }
    assert_eq!(peer.ask(HELLO).await.1, "hello");
    assert_eq!(peer.rest().await, "", "idle for too long");
    rig.ended("idle").await;
    rig.end().await;
}

/// Longer than a dispatcher stays, shorter than an idle connection does.
const SERVER_REST: Duration = Duration::from_millis(1500);

fn problem(answer: &(String, String), status: u16, code: &str) {
    let (head, body) = answer;
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    assert!(head.contains("content-type: application/problem+json\r\n"), "{head}");
    assert!(head.contains("connection: close\r\n") && head.contains("\r\ndate: "), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["status"], status);
    assert_eq!(body["code"], code);
}

#[tokio::test]
async fn what_the_parser_refuses_is_told_as_problem_details() {
    let rig = Rig::new();
    for broken in [
        "\u{ff}\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\na b: c\r\n\r\n",
    ] {
        let mut peer = rig.connect().await;
        problem(&peer.ask(broken).await, 400, "request_malformed");
        assert_eq!(peer.rest().await, "");
    }
    // Behind a request that was answered.
    let mut peer = rig.connect().await;
    peer.send(&[HELLO, "\u{ff}\r\n\r\n"].concat()).await;
    assert_eq!(peer.answer().await.1, "hello");
    problem(&peer.answer().await, 400, "request_malformed");
    let mut long = rig.connect().await;
    let header = format!("x: {}\r\n", "y".repeat(1000));
    problem(
        &long.ask(&format!("GET /hello HTTP/1.1\r\n{}", header.repeat(30))).await,
        431,
        "limit_reached",
    );
    rig.ended("malformed").await;
    rig.ended("head_too_large").await;
    rig.end().await;
}

#[tokio::test]
async fn heads_that_do_not_come_are_told_the_first_and_every_later_one() {
    let rig = Rig::new();
    let mut first = rig.connect().await;
    let mut later = rig.connect().await;
    later.ask(HELLO).await;
    let mut silent = rig.connect().await;
    first.send("GET /hel").await;
    later.send("GET /hel").await;
    problem(&first.answer().await, 408, "request_malformed");
    problem(&later.answer().await, 408, "request_malformed");
    assert_eq!(silent.rest().await, "");
    rig.end().await;
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_time_ends() {
    let rig = Rig::new();
    let mut peer = rig.connect().await;
    peer.send("GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(peer.rest().await, "");
    rig.ended("request_late").await;
    rig.end().await;
}

#[tokio::test]
async fn an_answer_that_is_not_taken_ends_the_connection() {
    let rig = Rig::new();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut peer = Peering(socket.connect(rig.addr).await.unwrap());
    peer.send("GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    rig.ended("answer_not_taken").await;
    // One that reads gets all of it.
    let mut peer = rig.connect().await;
    let (_, body) = peer.ask("GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(body.len(), LARGE);
    rig.end().await;
}

/// An answer that waits for the rest of its request is not one that the peer does not take.
#[tokio::test]
async fn an_answer_may_begin_before_the_request_is_here_and_take_its_time() {
    let rig = Rig::new();
    let mut peer = rig.connect().await;
    peer.send("POST /along HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    peer.send("3\r\none\r\n").await;
    let (head, _) = peer.answer().await;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let mut part = [0; 8];
    for text in ["one", "two"] {
        peer.0.read_exact(&mut part).await.unwrap();
        assert_eq!(part, format!("3\r\n{text}\r\n").as_bytes());
        tokio::time::sleep(crate::limits::SERVER_ANSWER_STEP + Duration::from_secs(1)).await;
        if text == "one" {
            peer.send("3\r\ntwo\r\n").await;
        }
    }
    let mut small = rig.connect().await;
    small.send("POST /along HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\none").await;
    small.answer().await;
    assert_eq!(small.rest().await, "3\r\none\r\n0\r\n\r\n");
    peer.send("0\r\n\r\n").await;
    // The connection ends at once: nothing of the body is unread.
    let rest = timeout(Duration::from_secs(3), peer.rest()).await.expect("it lingers");
    assert_eq!(rest, "0\r\n\r\n");
    rig.ended("answered").await;
    rig.end().await;
}

#[tokio::test]
async fn head_is_where_get_is() {
    let rig = Rig::new();
    let mut peer = rig.connect().await;
    for _ in 0..2 {
        peer.send("HEAD /hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(peer.0.read_u8().await.unwrap());
        }
        let head = String::from_utf8(bytes).unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 5"), "{head}");
    }
    assert_eq!(peer.ask(HELLO).await.1, "hello");
    rig.end().await;
}

#[tokio::test]
async fn a_newcomer_takes_the_place_of_one_that_does_nothing() {
    let rig = Rig::with(|limits| {
        (limits.connections, limits.per_peer) = (8, 8);
        limits.head = Duration::from_secs(60);
        limits.request = Duration::from_secs(60);
    });
    // These are being answered: they keep their places.
    let mut working = Vec::new();
    for _ in 0..4 {
        let mut peer = rig.connect().await;
        peer.send("GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await;
        working.push(peer);
    }
    for _ in 0..100 {
        let mut stuck = rig.connect().await;
        stuck.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n").await;
        std::mem::forget(stuck);
        let mut peer = rig.connect().await;
        assert_eq!(peer.ask(HELLO).await.1, "hello");
    }
    rig.ended("evicted").await;
    // The Unix socket has places of its own.
    for _ in 0..20 {
        std::mem::forget(rig.connect().await);
    }
    let mut unix = rig.unix().await;
    unix.write_all(HELLO.as_bytes()).await.unwrap();
    assert_eq!(unix.read_u8().await.unwrap(), b'H');
    for peer in &mut working {
        assert!(peer.0.try_read(&mut [0]).is_err(), "a request that is answered was ended");
    }
    drop(working);
    drop(unix);
    rig.handle.stop(false).await;
}

#[tokio::test]
async fn a_stop_ends_idle_connections_at_once_and_others_behind_their_answer() {
    let rig = Rig::with(|limits| limits.request = Duration::from_secs(60));
    let (mut fresh, mut idle, mut resting) =
        (rig.connect().await, rig.connect().await, rig.connect().await);
    resting.ask(HELLO).await;
    tokio::time::sleep(SERVER_REST).await;
    idle.ask(HELLO).await;
    let stopping = tokio::spawn(rig.handle.stop(true));
    for peer in [&mut fresh, &mut idle, &mut resting] {
        assert_eq!(peer.rest().await, "");
    }
    timeout(Duration::from_secs(4), stopping).await.expect("it waited for nothing").unwrap();
}
