//! TLS by OpenSSL's and mosquitto's clients, as docs/transports.md says.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tessera_tests::process::{run, PATIENCE};
use tessera_tests::server::{Device, Server};
use tessera_tests::site::Watch;
use tessera_token::encoding::hex;

pub(crate) fn certificate(folder: &Path) -> (String, String) {
    let (cert, key) = (folder.join("server.pem"), folder.join("server.key"));
    let (made, output) = run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert));
    assert!(made, "{output}");
    (cert.display().to_string(), key.display().to_string())
}

struct Secure {
    server: Server,
    port: String,
    cert: String,
}

fn start() -> Secure {
    let folder = TempDir::new().unwrap();
    let (cert, key) = certificate(folder.path());
    let more = ["--mqtts", "127.0.0.1:0", "--cert", &cert, "--key", &key];
    let server = Server::start_with(folder, &more);
    let text = std::fs::read(server.data().join("run.json")).unwrap();
    let places: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let address: std::net::SocketAddr = places["mqtts"].as_str().unwrap().parse().unwrap();
    Secure { server, port: address.port().to_string(), cert }
}

impl Secure {
    fn publish(&self, device: &Device, more: &[&str]) -> (bool, String) {
        run(Command::new("mosquitto_pub")
            .args(["-d", "-h", "localhost", "-p", &self.port, "--cafile", &self.cert])
            .args(["-i", &device.id, "-u", &device.id, "-P", &device.password()])
            .args(["-q", "1", "-t", &format!("d/{}/telemetry", device.id), "-m", "21.5"])
            .args(more))
    }

    fn handshake(&self, more: &[&str]) -> (bool, String) {
        run(Command::new("openssl")
            .args(["s_client", "-connect", &format!("127.0.0.1:{}", self.port)])
            .args(["-CAfile", &self.cert, "-verify_return_error", "-servername", "localhost"])
            .args(more)
            .stdin(std::process::Stdio::null()))
    }
}

#[test]
fn openssl_and_mosquitto_speak_tls_with_it() {
    let secure = start();
    for (version, named) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let (shaken, output) = secure.handshake(&[version, "-alpn", "mqtt"]);
        assert!(shaken && output.contains(named), "{output}");
        assert!(output.contains("ALPN protocol: mqtt"), "{output}");
    }
    assert!(!secure.handshake(&["-tls1_3", "-alpn", "h2"]).0);
    let device = secure.server.enrol("m-1", "sensor");
    for version in ["tlsv1.2", "tlsv1.3"] {
        let (sent, output) = secure.publish(&device, &["--tls-version", version]);
        assert!(sent, "{output}");
    }
    secure.server.stop();
}

#[test]
fn a_renewed_certificate_is_used_after_sighup() {
    let secure = start();
    let device = secure.server.enrol("m-1", "sensor");
    let folder = Path::new(&secure.cert).parent().unwrap().to_owned();
    let old = std::fs::read(&secure.cert).unwrap();
    certificate(&folder);
    assert_ne!(std::fs::read(&secure.cert).unwrap(), old);
    secure.server.process.signal("HUP");
    // The client trusts the new certificate alone.
    let used = Watch::until(PATIENCE, || secure.publish(&device, &[]).0);
    assert!(used.is_some(), "the new certificate is not used in {PATIENCE:?}");
    secure.server.stop();
}

/// An MQTT 3.1.1 CONNECT with a keep-alive of a second, and a SUBSCRIBE to the device's commands.
fn connect_and_subscribe(device: &Device) -> Vec<u8> {
    let text = |text: &str| {
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        [&length[..], text.as_bytes()].concat()
    };
    let packet = |kind: u8, body: Vec<u8>| {
        let length = match body.len() {
            short @ 0..128 => vec![short as u8],
            long => vec![(long % 128) as u8 | 0x80, (long / 128) as u8],
        };
        [&[kind][..], &length, &body].concat()
    };
    let head = b"\x00\x04MQTT\x04\xc2\x00\x01".to_vec();
    let texts = [text(&device.id), text(&device.id), text(&device.password())];
    let connect = packet(0x10, [head, texts.concat()].concat());
    let filter = text(&format!("d/{}/cmd", device.id));
    [connect, packet(0x82, [&[0, 1][..], &filter, &[0]].concat())].concat()
}

/// The largest record of a server at this port when it is sent these bytes, to a client with these options. All records
/// together have `least` bytes or more.
pub(crate) fn largest_record(
    (port, cert): (&str, &str),
    bytes: &[u8],
    least: usize,
    more: &[&str],
) -> usize {
    let input = TempDir::new().unwrap();
    let input = input.path().join("input");
    std::fs::write(&input, bytes).unwrap();
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .args(["-CAfile", cert, "-ign_eof", "-msg"])
        .args(more)
        .stdin(std::fs::File::open(&input).unwrap())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&output.stdout);
    let records = records(&output);
    assert!(records.iter().sum::<usize>() >= least, "{records:?}\n{output}");
    records.into_iter().max().unwrap()
}

/// The lengths of the server's records, as `openssl s_client -msg` shows them.
fn records(output: &str) -> Vec<usize> {
    let mut lines = output.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.contains("<<< ") && line.contains("RecordHeader") {
            let bytes = hex::decode(lines.next().unwrap().replace(' ', "")).unwrap();
            found.push(usize::from(u16::from_be_bytes([bytes[3], bytes[4]])));
        }
    }
    found
}

/// The bytes that the largest record may have beside its content: nonce, tag, type.
pub(crate) const OF_THE_RECORD: usize = 32;

#[test]
fn a_client_with_small_buffers_gets_small_records() {
    let secure = start();
    let backend = secure.server.enrol("back-1", "backend");
    let device = secure.server.enrol("m-1", "sensor");
    let large = "x".repeat(9_000);
    let retained = ["-r", "-q", "1", "-t", "d/m-1/cmd", "-m", &large];
    let (sent, output) = run(backend.mosquitto("mosquitto_pub").args(retained));
    assert!(sent, "{output}");
    // A fresh password for each handshake.
    let largest = |more: &[&str]| {
        let packets = connect_and_subscribe(&device);
        largest_record((&secure.port, &secure.cert), &packets, large.len() + 1, more)
    };
    for version in ["-tls1_2", "-tls1_3"] {
        for (asked, most) in [("512", 512), ("1024", 1_024), ("2048", 2_048)] {
            let found = largest(&[version, "-maxfraglen", asked]);
            assert!((most..=most + OF_THE_RECORD).contains(&found), "{version} {asked}: {found}");
        }
        assert!(largest(&[version]) > 4_096, "{version}");
    }
    secure.server.stop();
}
