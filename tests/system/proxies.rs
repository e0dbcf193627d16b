//! nginx and HAProxy in front: the address of the client counts, not that of the proxy. As docs/doors.md says.

#![allow(clippy::disallowed_methods, reason = "a test waits for a real process, by a real clock")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tessera_tests::process::{ok, run, tessera, Process};
use tessera_tests::server::{Device, Server};

use crate::tls::certificate;

/// A port that was free a moment ago.
fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn listens(port: u16, process: &Process) {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", process.output());
        std::thread::yield_now();
    }
}

fn system_command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// nginx as docs/doors.md sets it up: HTTPS and `wss` to one port, HTTP/1.0 to provisioning as it does by itself, `stream` with the PROXY header (version 1) to another.
struct Nginx {
    _process: Process,
    https: u16,
    stream: u16,
}

impl Nginx {
    fn start(folder: &Path, http: SocketAddr, ws: SocketAddr, mqtt: SocketAddr) -> Self {
        let (cert, key) = certificate(folder);
        let (https, stream) = (free(), free());
        let at = folder.display();
        let config = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
user root; daemon off; worker_processes 1; pid {at}/nginx.pid; error_log stderr warn;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
  server {{
    listen 127.0.0.1:{https} ssl;
    ssl_certificate {cert}; ssl_certificate_key {key};
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    location / {{ proxy_pass http://{http}; }}
    location /mqtt {{
      proxy_pass http://{ws}; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
    }}
  }}
}}
stream {{ server {{ listen 127.0.0.1:{stream}; proxy_pass {mqtt}; proxy_protocol on; }} }}
"
        );
        let path = folder.join("nginx.conf");
        std::fs::write(&path, config).unwrap();
        let process =
            Process::start(system_command("nginx").arg("-p").arg(folder).arg("-c").arg(&path));
        listens(https, &process);
        listens(stream, &process);
        Self { _process: process, https, stream }
    }
}

struct Site {
    server: Server,
    nginx: Nginx,
    places: Value,
}

fn places(server: &Server) -> Value {
    serde_json::from_slice(&std::fs::read(server.data().join("run.json")).unwrap()).unwrap()
}

fn site(settings: &str) -> Site {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("tessera.toml");
    std::fs::write(&config, settings).unwrap();
    let config = config.display().to_string();
    let server = Server::start_with(folder, &["--ws", "127.0.0.1:0", "--config", &config]);
    let places = places(&server);
    let at = |name: &str| places[name].as_str().unwrap().parse().unwrap();
    let nginx = Nginx::start(server.folder.path(), server.http, at("ws"), server.mqtt);
    Site { server, nginx, places }
}

impl Site {
    /// Requests with a wrong operator token from one address, without end; returns when its rate is used up.
    fn wrong_tokens(&self, from: &str) -> Process {
        let url = format!("https://localhost:{}/v1/whoami?[1-1000000]", self.nginx.https);
        let mut flood = Process::start(
            Command::new("curl")
                .args(["-s", "-Z", "--parallel-max", "20", "--interface", from, "--cacert"])
                .arg(self.server.folder.path().join("server.pem"))
                .args(["-H", "authorization: Bearer tsr_op_wrong", "-o", "/dev/null"])
                .args(["-w", "%{http_code}\n", &url]),
        );
        flood.line("a refusal for the rate", |line| line == "429");
        flood
    }

    /// Enrols through nginx.
    fn enrol(&self, device: &str) -> Device {
        let claim =
            ok(&mut self.server.operator(&["claim", "create", "--role", "sensor", "--json"]));
        let claim: Value = serde_json::from_str(&claim).unwrap();
        let folder = self.server.folder.path().join(device);
        ok(Command::new(tessera())
            .args(["device", "enrol", "--device", device, "--claim"])
            .arg(claim["claims"][0]["code"].as_str().unwrap())
            .args(["--http", &format!("https://localhost:{}", self.nginx.https), "--cafile"])
            .arg(self.server.folder.path().join("server.pem"))
            .arg("--dir")
            .arg(&folder));
        Device { id: device.to_owned(), folder, mqtt: self.server.mqtt }
    }

    fn metric(&self, line: &str) -> u64 {
        let text =
            ok(Command::new("curl")
                .args(["-s", &format!("http://{}/metrics", self.server.metrics)]));
        let found = text.lines().find_map(|one| one.strip_prefix(line));
        found.map_or(0, |value| value.trim().parse().unwrap())
    }
}

fn refreshes(device: &Device) -> (bool, String) {
    run(Command::new(tessera()).args(["device", "token", "--refresh", "--dir"]).arg(&device.folder))
}

/// Wrong operator tokens without end through the terminator refuse no honest refresh from another address.
#[test]
fn guesses_through_nginx_refuse_nobody_else() {
    let site = site("[proxy]\ntrusted = [\"127.0.0.1\"]\nheader = \"x-forwarded-for\"\n");
    let device = site.enrol("m-1");
    let mut flood = site.wrong_tokens("127.0.2.1");
    for _ in 0..20 {
        let (good, output) = refreshes(&device);
        assert!(good, "{output}");
        flood.line("more of the flood", |line| line == "429");
    }
    drop(flood);
    site.server.stop();
}

/// Two clients of different networks share a bound of one connection for each; through nginx they have one address.
const ONE_EACH: &str = "[broker.limits]\nsockets_per_prefix = 1\n";

fn subscriber(site: &Site, device: &Device, from: &str, port: u16, more: &[&str]) -> Process {
    let mut command = device.mosquitto("mosquitto_sub");
    command.args(["-A", from, "-h", "127.0.0.1", "-p", &port.to_string()]);
    command.args(["-t", &format!("d/{}/cmd", device.id)]).args(more);
    let _ = site;
    Process::start(&mut command)
}

#[test]
fn nginx_names_the_client_by_the_proxy_header_of_version_1() {
    let settings = format!("{ONE_EACH}[proxy]\nlisteners = [\"mqtt\"]\nfrom = [\"127.0.0.1\"]\n");
    let site = site(&settings);
    let (one, two) = (site.enrol("m-1"), site.enrol("m-2"));
    let mut first = subscriber(&site, &one, "127.0.2.1", site.nginx.stream, &[]);
    first.line("a subscription", |line| line.contains("received SUBACK"));
    let mut second = subscriber(&site, &two, "127.0.3.1", site.nginx.stream, &[]);
    second.line("a subscription", |line| line.contains("received SUBACK"));
    // A third from the first network finds no place.
    let turned = "tessera_broker_turned_away_total{limit=\"prefix_sockets\"} ";
    let before = site.metric(turned);
    let three = site.enrol("m-3");
    let (let_in, _) = run(three
        .mosquitto("mosquitto_pub")
        .args(["-A", "127.0.2.9", "-p", &site.nginx.stream.to_string()])
        .args(["-t", "d/m-3/telemetry", "-m", "1"]));
    assert!(!let_in);
    assert!(site.metric(turned) > before);
    // Without a header, or from elsewhere, no client is served.
    let (let_in, _) = run(one.mosquitto("mosquitto_pub").args([
        "-A",
        "127.0.4.1",
        "-t",
        "d/m-1/telemetry",
        "-m",
        "1",
    ]));
    assert!(!let_in);
    assert!(site.metric("tessera_broker_turned_away_total{limit=\"proxy_source\"} ") > 0);
    drop((first, second));
    site.server.stop();
}

/// `tessera device connect` over `wss` through nginx; the address that the proxy names counts.
#[test]
fn nginx_names_the_client_of_a_web_socket() {
    let site = site(&format!("{ONE_EACH}[proxy]\ntrusted = [\"127.0.0.1\"]\n"));
    let devices = ["m-1", "m-2"].map(|id| site.enrol(id));
    let open = |device: &Device, forwarded: &str| {
        let upgrade = format!(
            "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             X-Forwarded-For: {forwarded}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        let _ = device;
        let ws: SocketAddr = site.places["ws"].as_str().unwrap().parse().unwrap();
        let mut socket = TcpStream::connect(ws).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        std::io::Write::write_all(&mut socket, upgrade.as_bytes()).unwrap();
        let mut begin = [0; 12];
        std::io::Read::read_exact(&mut socket, &mut begin).unwrap();
        assert_eq!(&begin, b"HTTP/1.1 101");
        socket
    };
    for device in &devices {
        let (good, output) = run(Command::new(tessera())
            .args(["device", "connect", "--test", "--dir"])
            .arg(&device.folder)
            .args(["--mqtt", &format!("wss://localhost:{}", site.nginx.https)]));
        assert!(good, "{output}");
    }
    // Two of different networks have a place each; one more of the first network has none.
    let _held = (open(&devices[0], "203.0.113.1"), open(&devices[1], "198.51.100.1"));
    let turned = "tessera_broker_turned_away_total{limit=\"prefix_sockets\"} ";
    let before = site.metric(turned);
    let _third = open(&devices[0], "203.0.113.2");
    let start = Instant::now();
    while site.metric(turned) == before {
        assert!(start.elapsed() < Duration::from_secs(20), "the third has a place");
    }
    site.server.stop();
}

/// HAProxy sends version 2, to the broker in clear and to provisioning in front of TLS.
#[test]
fn haproxy_names_the_client_by_the_proxy_header_of_version_2() {
    let folder = TempDir::new().unwrap();
    let (cert, key) = certificate(folder.path());
    let config = folder.path().join("tessera.toml");
    let settings = format!(
        "{ONE_EACH}[https]\ncert = \"{cert}\"\nkey = \"{key}\"\n[proxy]\nlisteners = [\"mqtt\", \"http\"]\nfrom = [\"127.0.0.1\"]\n"
    );
    std::fs::write(&config, settings).unwrap();
    let server = Server::start_with(folder, &["--config", &config.display().to_string()]);
    let (http, mqtt) = (free(), free());
    let haproxy = server.folder.path().join("haproxy.cfg");
    let text = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         listen mqtt\n  bind 127.0.0.1:{mqtt}\n  server one {} send-proxy-v2\n\
         listen http\n  bind 127.0.0.1:{http}\n  server one {} send-proxy-v2\n",
        server.mqtt, server.http
    );
    std::fs::write(&haproxy, text).unwrap();
    let process = Process::start(system_command("haproxy").arg("-db").arg("-f").arg(&haproxy));
    listens(mqtt, &process);
    listens(http, &process);
    let at = format!("https://localhost:{http}");
    let tessera_at = |words: &[&str]| {
        let mut command = Command::new(tessera());
        command.args(words).args(["--http", &at, "--cafile", &cert]);
        command.env("TESSERA_OPERATOR_TOKEN", server.operator_token());
        command
    };
    let mut devices = Vec::new();
    for id in ["m-1", "m-2"] {
        let claim = ok(&mut tessera_at(&["claim", "create", "--role", "sensor", "--json"]));
        let claim: Value = serde_json::from_str(&claim).unwrap();
        let dir = server.folder.path().join(id);
        let code = claim["claims"][0]["code"].as_str().unwrap();
        let path = dir.display().to_string();
        ok(&mut tessera_at(&["device", "enrol", "--device", id, "--claim", code, "--dir", &path]));
        devices.push(Device { id: id.to_owned(), folder: dir, mqtt: server.mqtt });
    }
    let held = [("127.0.2.1", &devices[0]), ("127.0.3.1", &devices[1])].map(|(from, device)| {
        let mut command = device.mosquitto("mosquitto_sub");
        command.args(["-A", from, "-p", &mqtt.to_string(), "-t", &format!("d/{}/cmd", device.id)]);
        let mut process = Process::start(&mut command);
        process.line("a subscription", |line| line.contains("received SUBACK"));
        process
    });
    // Provisioning itself is not asked without the header.
    let direct = format!("https://localhost:{}", server.http.port());
    let (answered, _) =
        run(Command::new("curl").args(["-s", "--cacert", &cert, "-m", "10", &direct]));
    assert!(!answered);
    drop(held);
    drop(process);
    server.stop();
}
