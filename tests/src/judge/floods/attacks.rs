//! The attacks, each a single step that is repeated without a pause.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use tessera_token::hash::sha256;
use tessera_token::ids::DeviceId;
use tessera_token::key::SecretKey;
use tessera_token::messages::{EnrolRequest, NonceAnswer, TokenKind, TokenRequest};

use super::enrol;
use crate::api::tenant;
use crate::http::Http;
use crate::mqtt::Mqtt;
use crate::net;
use crate::world::{Client, Device};

/// How long a server may keep an attacker waiting.
const WITHIN: Duration = Duration::from_secs(5);
/// Connections that one thread holds at once.
const HELD: usize = 200;

/// Role of devices that may use all below their own topic.
pub(super) const GREEDY: &str = "greedy";

/// One thread of an attack.
pub(super) struct Attacker {
    client: Client,
    source: Ipv4Addr,
    device: Device,
    backend: Device,
    /// A password that was used.
    stolen: Vec<u8>,
    round: u64,
    held: Vec<TcpStream>,
    session: Option<Mqtt>,
}

/// Name and step.
pub(super) type Attack = (&'static str, fn(&mut Attacker));

pub(super) const ATTACKS: [Attack; 17] = [
    ("wrong operator tokens", Attacker::wrong_operator_token),
    ("wrong claim codes", Attacker::wrong_claim),
    ("refreshes of devices that are not there", Attacker::refresh_of_no_device),
    ("refreshes with a wrong signature", Attacker::wrong_refresh),
    ("bodies without an end", Attacker::endless_body),
    ("connections that say nothing", Attacker::silent),
    ("no protocol at all", Attacker::rubbish),
    ("forged passwords", Attacker::forged_password),
    ("a stolen password", Attacker::stolen_password),
    ("challenges without an answer", Attacker::challenge),
    ("wrong requests for the next token", Attacker::relayed),
    ("topics of others", Attacker::foreign_topic),
    ("wildcards of one device", Attacker::wildcards),
    ("retained messages of one device", Attacker::retained),
    ("kept sessions of one device", Attacker::kept_sessions),
    ("messages for one who is away", Attacker::kept_messages),
    ("connects of one device", Attacker::connects),
];

impl Attacker {
    pub(super) fn new(client: &Client, source: Ipv4Addr, id: &str, seed: u64) -> Self {
        let device = enrol(client, id, GREEDY, seed);
        let backend = enrol(client, &format!("{id}-b"), "backend", seed);
        let stolen = client.password(&device, &device.id);
        let _ = client.connect_with(&device.id, &stolen, true);
        let (held, session) = (Vec::new(), None);
        let client = client.clone();
        Self { client, source, device, backend, stolen, round: 0, held, session }
    }

    fn http(&self) -> Http {
        Http::new(self.client.places.http, None).from(self.source)
    }

    fn next(&mut self) -> u64 {
        self.round += 1;
        self.round
    }

    /// A key that no service knows.
    fn key(&mut self) -> SecretKey {
        let round = self.next();
        SecretKey::from_seed(&sha256(format!("{} {round}", self.device.id).as_bytes()))
    }

    fn connect(&self, device: &Device, client: &str, clean: bool) -> Option<Mqtt> {
        let password = self.client.password(device, client);
        self.show(client, &password, clean)
    }

    fn show(&self, client: &str, password: &[u8], clean: bool) -> Option<Mqtt> {
        let at = self.client.places.mqtt;
        Mqtt::connect_from(Some(self.source), at, client, password, clean).ok()
    }

    fn open(&self, at: SocketAddr) -> Option<TcpStream> {
        let stream = net::connect(Some(self.source), at, WITHIN).ok()?;
        stream.set_read_timeout(Some(WITHIN)).ok()?;
        Some(stream)
    }

    /// Sends and waits for what comes back.
    fn exchange(&self, at: SocketAddr, bytes: &[u8]) {
        if let Some(mut stream) = self.open(at) {
            let _ = stream.write_all(bytes);
            let _ = stream.read(&mut [0; 256]);
        }
    }

    /// Holds a connection that has sent this, and lets the oldest go.
    fn hold(&mut self, at: SocketAddr, bytes: &[u8]) {
        if let Some(mut stream) = self.open(at) {
            let _ = stream.write_all(bytes);
            self.held.push(stream);
        }
        if self.held.len() > HELD {
            drop(self.held.remove(0));
        }
    }

    fn wrong_operator_token(&mut self) {
        let token = format!("tessera-{:032x}", self.next());
        let http = Http::new(self.client.places.http, Some(token)).from(self.source);
        let _ = http.get("/v1/tenants/default/devices");
    }

    fn wrong_claim(&mut self) {
        let key = self.key();
        let Ok(answer) = self.http().post_cbor("/v1/enrol/nonce", &[]) else { return };
        let Ok(nonce) = NonceAnswer::from_cbor(&answer.body) else { return };
        let id = DeviceId::parse(&format!("x-{}", self.round)).unwrap();
        let claim = format!("{:016X}", self.round);
        let ask = EnrolRequest::sign(&key, &tenant(), &id, &claim, &nonce.nonce);
        let _ = self.http().post_cbor("/v1/enrol", &ask.to_cbor());
    }

    fn refresh_of_no_device(&mut self) {
        let key = self.key();
        let id = DeviceId::parse(&format!("y-{}", self.round)).unwrap();
        let now = self.client.now();
        let ask = TokenRequest::sign(&key, &tenant(), &id, now, &[7; 16], TokenKind::Key);
        let _ = self.http().post_cbor("/v1/token", &ask.to_cbor());
    }

    fn wrong_refresh(&mut self) {
        let nonce = sha256(&self.next().to_be_bytes());
        let mut request = self.client.refresh_request(&self.device, &nonce[..16]);
        if let Some(last) = request.last_mut() {
            *last ^= 1;
        }
        let _ = self.http().post_cbor("/v1/token", &request);
    }

    fn endless_body(&mut self) {
        let places = self.client.places;
        let doors = [places.http, places.http, places.metrics, places.agent];
        let at = doors[self.next() as usize % doors.len()];
        let head = "POST /v1/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        self.hold(at, format!("{head}1\r\nx\r\n").as_bytes());
        for stream in &mut self.held {
            let _ = stream.set_write_timeout(Some(Duration::from_millis(1)));
            let _ = stream.write(b"1\r\nx\r\n");
        }
    }

    fn silent(&mut self) {
        let at = self.client.places.mqtt;
        let part: &[u8] =
            [&b""[..], b"\x10", b"\x10\xff", b"\x10\x80\x02\x00\x04MQ"][self.next() as usize % 4];
        self.hold(at, part);
    }

    fn rubbish(&mut self) {
        let places = self.client.places;
        let doors = [places.http, places.mqtt, places.metrics, places.agent];
        let at = doors[self.next() as usize % doors.len()];
        self.exchange(at, b"\xff\r\n\r\n");
    }

    fn forged_password(&mut self) {
        let mut device = self.device.clone();
        let round = self.next() as usize;
        let at = round % device.token.len();
        device.token[at] ^= 1 << (round % 8);
        let id = device.id.clone();
        let _ = self.connect(&device, &id, true);
    }

    fn stolen_password(&mut self) {
        let _ = self.show(&self.device.id, &self.stolen, true);
    }

    /// CONNECT of MQTT 5 with the method `ace` and no data: the broker answers with a challenge.
    fn challenge(&mut self) {
        let id = format!("z-{}", self.next());
        let mut body = b"\x00\x04MQTT\x05\x02\x00\x3c\x06\x15\x00\x03ace".to_vec();
        body.extend((id.len() as u16).to_be_bytes());
        body.extend(id.as_bytes());
        let mut packet = vec![0x10, body.len() as u8];
        packet.extend(body);
        self.exchange(self.client.places.mqtt, &packet);
    }

    /// A step on a session of the device, which is made again when it has ended.
    fn in_session(&mut self, step: impl FnOnce(&mut Mqtt, &str, u64) -> Option<()>) {
        let round = self.next();
        let mut session = match self.session.take() {
            Some(session) => session,
            None => match self.connect(&self.device, &self.device.id, true) {
                Some(session) => session,
                None => return,
            },
        };
        if step(&mut session, &self.device.id, round).is_some() {
            self.session = Some(session);
        }
    }

    fn relayed(&mut self) {
        self.in_session(|session, _, round| {
            session.publish("$tessera/token", &format!("no request {round}"), false).ok()
        });
    }

    fn foreign_topic(&mut self) {
        self.in_session(|session, _, round| {
            session.publish(&format!("d/other-{round}/telemetry"), "x", false).ok()
        });
    }

    fn wildcards(&mut self) {
        self.in_session(|session, id, round| {
            session.subscribe(&format!("d/{id}/+/{round}"), 1).ok().map(drop)
        });
    }

    fn retained(&mut self) {
        self.in_session(|session, id, round| {
            session.publish(&format!("d/{id}/{round}"), &"r".repeat(1000), true).ok()
        });
    }

    fn kept_sessions(&mut self) {
        let round = self.next();
        let client = format!("{}~{round}", self.device.id);
        if let Some(mut session) = self.connect(&self.device, &client, false) {
            let _ = session.subscribe(&format!("d/{}/cmd", self.device.id), 1);
            session.close();
        }
    }

    /// A backend sends to a session of its own device that is away.
    fn kept_messages(&mut self) {
        let topic = format!("d/{}/cmd", self.device.id);
        if self.next() == 1 {
            let session = self.connect(&self.device, &self.device.id, false);
            if let Some(mut session) = session {
                let _ = session.subscribe(&topic, 1);
                session.close();
            }
        }
        let sender = match self.session.take() {
            Some(sender) => Some(sender),
            None => self.connect(&self.backend, &self.backend.id, true),
        };
        let Some(mut sender) = sender else { return };
        if sender.publish(&topic, &"k".repeat(4000), false).is_ok() {
            self.session = Some(sender);
        }
    }

    fn connects(&mut self) {
        let round = self.next() % 8;
        let client = format!("{}~{round}", self.device.id);
        let _ = self.connect(&self.device, &client, true);
    }
}
