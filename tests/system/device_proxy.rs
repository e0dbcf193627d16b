//! `tessera device proxy` with mosquitto's clients, and with packets byte by byte, as docs/proxy.md says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tessera_tests::process::{ok, run, tessera, Process, PATIENCE};
use tessera_tests::server::{run_file, Device, Server};
use tessera_tests::site::Watch;

use crate::device_lines::{accept, packet, password};
use crate::tls::certificate;

/// Seconds of a token's life: a quarter of it is time enough for a renewal on a busy machine.
const LIFE: u64 = 8;

struct Proxy {
    process: Process,
    at: SocketAddr,
}

fn command(device: &Device, broker: &str, listen: &str) -> Command {
    let mut command = Command::new(tessera());
    command.args(["device", "proxy", "--broker", broker, "--listen", listen, "--dir"]);
    command.arg(&device.folder);
    command
}

impl Proxy {
    fn start(device: &Device, more: &[&str]) -> Self {
        Self::at(device, &device.mqtt.to_string(), more)
    }

    fn at(device: &Device, broker: &str, more: &[&str]) -> Self {
        let mut process = Process::start(command(device, broker, "127.0.0.1:0").args(more));
        let line = process.line("its place", |line| line.starts_with("listening"));
        let at = line.rsplit(' ').next().unwrap().parse().unwrap();
        process.line("ready", |line| line == "ready");
        Self { process, at }
    }

    /// A client of mosquitto as it comes: without client id, user name and password.
    fn mosquitto(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", program, "-d", "-h", "127.0.0.1"]);
        command.args(["-p", &self.at.port().to_string()]).args(words);
        command
    }

    fn subscriber(&self, topic: &str, more: &[&str]) -> Process {
        let words = ["-v", "-q", "1", "-t", topic];
        let mut process = Process::start(self.mosquitto("mosquitto_sub", &words).args(more));
        process.line("SUBACK", |line| line.contains("received SUBACK"));
        process
    }

    fn logs(&mut self, words: &[&str]) -> String {
        self.process.line(&format!("{words:?}"), |line| words.iter().all(|w| line.contains(w)))
    }

    /// A client that is spoken for here.
    fn raw(&self, connect: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(connect).unwrap();
        stream
    }

    fn stop(mut self) -> String {
        self.process.terminate();
        assert!(self.process.wait().success(), "{}", self.process.output());
        self.process.output()
    }
}

/// CONNECT of a client without a client id: clean, keep alive 60.
fn connect(level: u8) -> Vec<u8> {
    match level {
        5 => b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0".to_vec(),
        _ => b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0".to_vec(),
    }
}

/// All that comes up to the end of the connection.
fn rest(mut stream: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

fn brief(server: &Server, device: &str) -> Device {
    let seconds = LIFE.to_string();
    let words = ["role", "set", "brief", "--token-seconds", &seconds];
    let rights = ["--publish", "d/{device}/telemetry", "--subscribe", "d/{device}/cmd"];
    ok(server.operator(&words).args(rights));
    server.enrol(device, "brief")
}

fn publish(device: &Device, topic: &str, payload: &str) {
    ok(device.mosquitto("mosquitto_pub").args(["-q", "1", "-t", topic, "-m", payload]));
}

#[test]
fn proxy_stock_clients_stay_connected_beyond_the_life_of_a_token_and_miss_nothing() {
    let server = Server::start();
    let device = brief(&server, "p-1");
    let backend = server.enrol("back", "backend");
    let mut proxy = Proxy::start(&device, &[]);
    let mut old = proxy.subscriber("d/p-1/cmd", &[]);
    let mut five = proxy.subscriber("d/p-1/cmd", &["-V", "5", "-i", "garage"]);
    let first = device.token()["serial"].clone();
    let (watch, mut sent) = (Watch::start(), 0);
    while watch.passed() < Duration::from_secs(3 * LIFE + 1) {
        // Each renewal or token that is handed in says for how long it is good.
        let line = proxy.logs(&["token", "client_id=\"p-1", "seconds="]);
        assert!(!line.contains("seconds=0"), "{line}");
        sent += 1;
        publish(&backend, "d/p-1/cmd", &sent.to_string());
        for client in [&mut old, &mut five] {
            client.line("the message", |line| line == format!("d/p-1/cmd {sent}"));
        }
    }
    assert!(sent > 3, "{}", proxy.process.output());
    // A renewal shows nothing of itself to the clients.
    for client in [old, five] {
        let told = client.output();
        assert_eq!(told.matches("received CONNACK").count(), 1, "{told}");
        assert_eq!(told.matches("received PUBLISH").count(), sent, "{told}");
        assert!(!told.contains("$tessera"), "{told}");
    }
    assert_ne!(device.token()["serial"], first, "the folder has the new token");
    let told = proxy.stop();
    assert!(told.contains("token renewed") && told.contains("client_id=\"p-1~2\""), "{told}");
    let kept = std::fs::read_to_string(device.folder.join("token.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert!(!told.contains(kept["token"].as_str().unwrap()), "a token is in the log");
}

#[test]
fn proxy_clients_publish_and_leave_and_a_will_is_the_clients() {
    let server = Server::start();
    let device = server.enrol("p-1", "sensor");
    let backend = server.enrol("back", "backend");
    let mut reader =
        Process::start(backend.mosquitto("mosquitto_sub").args(["-v", "-t", "d/p-1/telemetry"]));
    reader.line("SUBACK", |line| line.contains("received SUBACK"));
    let mut proxy = Proxy::start(&device, &[]);
    // Larger than every buffer on the way.
    let file = server.folder.path().join("large");
    std::fs::write(&file, "x".repeat(200_000)).unwrap();
    let file = file.display().to_string();
    for version in ["311", "5"] {
        for qos in ["0", "1", "2"] {
            let words = ["-V", version, "-q", qos, "-t", "d/p-1/telemetry"];
            ok(proxy.mosquitto("mosquitto_pub", &words).args(["-m", qos]));
            reader.line(qos, |line| line == format!("d/p-1/telemetry {qos}"));
            ok(proxy.mosquitto("mosquitto_pub", &words).args(["-f", &file]));
            reader.line("the large one", |line| line.len() == 200_016);
        }
        let will = ["--will-topic", "d/p-1/telemetry", "--will-payload", "gone", "-V", version];
        let mut client = proxy.subscriber("d/p-1/cmd", &will);
        client.kill();
        reader.line("the will", |line| line == "d/p-1/telemetry gone");
        proxy.logs(&["client left", "said_goodbye=false"]);
    }
    proxy.stop();
}

#[test]
fn proxy_clients_have_client_ids_of_their_own_and_their_number_is_bounded() {
    let server = Server::start();
    let device = server.enrol("p-1", "sensor");
    let mut proxy = Proxy::start(&device, &["--clients", "3"]);
    let clients = [&["-i", "p-1~garage"][..], &[], &[]];
    let clients = clients.map(|words| proxy.subscriber("d/p-1/cmd", words));
    let came = [0; 3].map(|_| proxy.logs(&["client came"]));
    for (line, client_id) in came.iter().zip(["p-1~garage", "p-1", "p-1~2"]) {
        assert!(line.contains(&format!("client_id=\"{client_id}\"")), "{line}");
    }
    let (came, _) =
        run(&mut proxy.mosquitto("mosquitto_pub", &["-t", "d/p-1/telemetry", "-m", "x"]));
    assert!(!came, "a fourth client came");
    proxy.logs(&["all places are taken"]);
    drop(clients);
    for _ in 0..3 {
        proxy.logs(&["client left"]);
    }
    ok(&mut proxy.mosquitto("mosquitto_pub", &["-t", "d/p-1/telemetry", "-m", "x"]));
    let (came, told) = run(&mut proxy
        .mosquitto("mosquitto_pub", &["-i", "p-1~a/b", "-t", "d/p-1/telemetry", "-m", "x"]));
    assert!(!came && told.contains("CONNACK (2)"), "{told}");
    // Bytes that are no CONNECT, and a version that no client has.
    assert_eq!(rest(proxy.raw(b"GET / HTTP/1.1\r\n\r\n")), b"");
    assert_eq!(rest(proxy.raw(b"\x10\x0c\0\x04MQTT\x07\x02\0\x3c\0\0")), [0x20, 2, 0, 1]);
    assert_eq!(rest(proxy.raw(b"\x10\xff\xff\x04")), b"");
    proxy.stop();
}

#[test]
fn proxy_tells_that_the_device_is_revoked() {
    let server = Server::start();
    let device = server.enrol("p-1", "sensor");
    let mut proxy = Proxy::start(&device, &[]);
    let mut client = proxy.subscriber("d/p-1/cmd", &["-V", "5"]);
    server.revoke("p-1");
    client.line("DISCONNECT", |line| line.contains("DISCONNECT (152)"));
    client.kill();
    proxy.logs(&["client left: the broker ended the connection", "0x98"]);
    proxy.logs(&["refused: no new token", "device_revoked"]);
    for (version, code) in [("5", "CONNACK (135)"), ("311", "CONNACK (5)")] {
        let words = ["-V", version, "-t", "d/p-1/telemetry", "-m", "x"];
        let (came, told) = run(&mut proxy.mosquitto("mosquitto_pub", &words));
        assert!(!came && told.contains(code), "{told}");
        proxy.logs(&["refused", "device_revoked"]);
    }
    proxy.stop();
}

#[test]
fn proxy_goes_on_after_the_broker_was_away_and_after_its_token_ended() {
    let mut server = Server::start();
    let device = server.enrol("p-1", "sensor");
    let backend = server.enrol("back", "backend");
    let mut proxy = Proxy::start(&device, &[]);
    let mut five = proxy.raw(&connect(5));
    let connack = packet(&mut five);
    assert_eq!((connack[0], connack[3]), (0x20, 0));
    let client = proxy.subscriber("d/p-1/cmd", &[]);
    server.process.kill();
    // MQTT 5 is told the end: no reason of a DISCONNECT fits better than the unspecified one.
    assert_eq!(rest(five), [0xe0, 2, 0x80, 0]);
    assert_eq!(rest(proxy.raw(&connect(5))), [0x20, 3, 0, 0x88, 0]);
    assert_eq!(rest(proxy.raw(&connect(4))), [0x20, 2, 0, 3]);
    proxy.logs(&["client turned away", "no connection to the broker"]);
    drop(client);
    device.change("token.json", |token| token["expires"] = json!(1));
    let (mqtt, http) = (server.mqtt.to_string(), server.http.to_string());
    let mut again = Process::start(
        Command::new(tessera())
            .args(["up", "--mqtt", &mqtt, "--http", &http, "--metrics", "127.0.0.1:0", "--data"])
            .arg(server.data()),
    );
    again.line("ready", |line| line == "ready");
    // mosquitto_sub ends at a refusal of its CONNECT; the pace of connects may refuse one for a while yet.
    let words = ["-t", "d/p-1/telemetry", "-m", "x"];
    let comes = || run(&mut proxy.mosquitto("mosquitto_pub", &words)).0;
    assert!(Watch::until(PATIENCE, comes).is_some(), "{}", proxy.process.output());
    let mut client = proxy.subscriber("d/p-1/cmd", &[]);
    publish(&backend, "d/p-1/cmd", "on");
    client.line("the message", |line| line == "d/p-1/cmd on");
    proxy.stop();
}

#[test]
fn proxy_is_reached_from_this_machine_alone_and_ends_gracefully() {
    let server = Server::start();
    let device = server.enrol("p-1", "sensor");
    let broker = device.mqtt.to_string();
    for other in ["0.0.0.0:0", "[::]:0", "192.0.2.1:1883"] {
        let mut process = Process::start(&mut command(&device, &broker, other));
        assert_eq!(process.wait().code(), Some(2), "{}", process.output());
        assert!(process.output().contains("not loopback"), "{}", process.output());
    }
    let socket = server.folder.path().join("mqtt.sock");
    let listen = format!("unix:{}", socket.display());
    let mut process = Process::start(&mut command(&device, &broker, &listen));
    process.line("ready", |line| line == "ready");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut clients = [5, 4].map(|level| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(&connect(level)).unwrap();
        stream
    });
    for client in &mut clients {
        let mut connack = [0; 4];
        client.read_exact(&mut connack).unwrap();
        assert_eq!((connack[0], connack[3]), (0x20, 0));
    }
    process.terminate();
    let [five, old] = clients;
    assert!(rest(five).ends_with(&[0xe0, 2, 0x8b, 0]));
    assert_eq!(rest(old), b"");
    assert!(process.wait().success(), "{}", process.output());
    assert!(!socket.exists());
}

/// A broker of the test, which grants no control topic: tokens come over REST, and are handed in between the packets of
/// the client.
#[test]
fn proxy_renews_over_rest_where_the_broker_has_no_answers() {
    const TOKEN_TOPIC: &[u8] = b"$tessera/token";
    let server = Server::start();
    let device = brief(&server, "p-1");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut proxy = Proxy::at(&device, &listener.local_addr().unwrap().to_string(), &[]);
    // SUBSCRIBE behind CONNECT, before there is a CONNACK.
    let subscribe = [0x82, 8, 0xff, 0xff, 0, 3, b'a', b'/', b'b', 1];
    let mut client = proxy.raw(&[&connect(4)[..], &subscribe].concat());
    let mut broker = accept(&listener);
    let first = password(&packet(&mut broker));
    broker.write_all(&[0x20, 2, 0, 0]).unwrap();
    assert_eq!(packet(&mut client), [0x20, 2, 0, 0]);
    // The own subscription has the packet id of the client's, which is sent once that one is answered.
    let own = packet(&mut broker);
    assert_eq!((own[0], &own[2..4]), (0x82, &[0xff, 0xff][..]));
    assert!(own.windows(14).any(|part| part == TOKEN_TOPIC));
    broker.write_all(&[0x90, 4, 0xff, 0xff, 0x80, 0x80]).unwrap();
    assert_eq!(packet(&mut broker), subscribe);
    broker.write_all(&[0x90, 3, 0xff, 0xff, 1]).unwrap();
    assert_eq!(packet(&mut client), [0x90, 3, 0xff, 0xff, 1]);
    let handed_in = packet(&mut broker);
    let head = handed_in.windows(14).position(|part| part == TOKEN_TOPIC).unwrap() + 14;
    assert_eq!((handed_in[0], &handed_in[head..head + 4]), (0x30, &[0xd8, 0x3d, 0xd2, 0x84][..]));
    assert_ne!(&handed_in[head..], &first.token[..]);
    proxy.logs(&["token renewed", "over=\"rest\""]);
    drop(client);
    proxy.stop();
}

#[test]
fn proxy_says_as_json_where_it_listens() {
    let server = Server::start();
    let device = server.enrol("p-json", "sensor");
    let mut proxy = command(&device, &device.mqtt.to_string(), "127.0.0.1:0");
    let mut proxy = Process::start(proxy.arg("--json"));
    let line = proxy.line("its place", |line| line.starts_with('{'));
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["device"], "p-json");
    let listening: SocketAddr = told["listening"].as_str().unwrap().parse().unwrap();
    assert!(listening.ip().is_loopback());
    proxy.line("ready", |line| line == r#"{"ready":true}"#);
    proxy.terminate();
    assert!(proxy.wait().success());
}

/// Messages in both directions, one of them larger than all buffers, over each way that a broker offers.
#[test]
fn proxy_reaches_the_broker_over_tls_and_websocket() {
    let folder = tempfile::TempDir::new().unwrap();
    let (cert, key) = certificate(folder.path());
    let any = "127.0.0.1:0";
    let server = Server::start_with(
        folder,
        &["--mqtts", any, "--wss", any, "--ws", any, "--cert", &cert, "--key", &key],
    );
    let places = run_file(&server.data());
    let device = server.enrol("p-ways", "sensor");
    let backend = server.enrol("back-ways", "backend");
    let large = server.data().join("large");
    std::fs::write(&large, "x".repeat(200_000)).unwrap();
    for scheme in ["mqtts", "wss", "ws"] {
        let at: SocketAddr = places[scheme].as_str().unwrap().parse().unwrap();
        let broker = format!("{scheme}://localhost:{}", at.port());
        let proxy = Proxy::at(&device, &broker, &["--cafile", &cert]);
        let mut subscriber = proxy.subscriber("d/p-ways/cmd", &[]);
        publish(&backend, "d/p-ways/cmd", scheme);
        subscriber.line("the message", |line| line == format!("d/p-ways/cmd {scheme}"));
        let words = ["-q", "1", "-i", "~up", "-t", "d/p-ways/telemetry", "-f"];
        let told = ok(proxy.mosquitto("mosquitto_pub", &words).arg(&large));
        assert!(told.contains("received PUBACK"), "{scheme}: {told}");
        proxy.stop();
    }
    // A certificate that nothing vouches for.
    let at: SocketAddr = places["mqtts"].as_str().unwrap().parse().unwrap();
    let mut proxy = Proxy::at(&device, &format!("mqtts://localhost:{}", at.port()), &[]);
    let (connected, told) = run(&mut proxy.mosquitto("mosquitto_pub", &["-t", "a", "-m", "x"]));
    assert!(!connected, "{told}");
    proxy.logs(&["client turned away", "certificate"]);
}
