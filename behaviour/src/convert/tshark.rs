//! The fields that `tshark` prints of a capture, one line a frame:
//!
//! ```sh
//! tshark -r F -Y mqtt -T fields -E aggregator=';' -e frame.time_epoch -e ip.src -e ip.dst -e tcp.stream \
//!   -e mqtt.msgtype -e mqtt.clientid -e mqtt.topic -e mqtt.len -e mqtt.kalive -e mqtt.conack.val
//! ```

use std::net::IpAddr;

use hashbrown::HashMap;
use tessera_token::refusal::RefusalCode;

use super::sessions::Sessions;
use super::Converter;
use crate::limits;
use crate::observation::{
    Connected, Event, Messages, Network, Observation, SubjectKind, UnixMillis,
};

/// One connection.
#[derive(Debug)]
struct Stream {
    client: Box<str>,
    /// The address from which the CONNECT came.
    address: IpAddr,
    keep_alive: u16,
    session: u64,
}

/// Reads the fields of one capture.
#[derive(Debug)]
pub struct Tshark {
    tenant: String,
    sessions: Sessions,
    streams: HashMap<u64, Stream>,
}

impl Tshark {
    /// Nothing read so far.
    pub fn of(tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), sessions: Sessions::default(), streams: HashMap::new() }
    }

    fn used(&mut self, text: &str, take: &mut dyn FnMut(&Observation<'_>)) -> Option<()> {
        let mut fields = text.split('\t');
        let seconds: f64 = fields.next()?.parse().ok()?;
        if !(0.0..253_402_300_800.0).contains(&seconds) {
            return None;
        }
        let at = (seconds * 1_000.0).round() as UnixMillis;
        let source: IpAddr = fields.next()?.parse().ok()?;
        let _to = fields.next()?;
        let stream: u64 = fields.next()?.parse().ok()?;
        let kinds = fields.next()?;
        let client = fields.next().unwrap_or("");
        let mut topics = fields.next().unwrap_or("").split(';');
        let mut sizes = fields.next().unwrap_or("").split(';');
        let keep_alive = fields.next().unwrap_or("");
        let answer = fields.next().unwrap_or("");
        for kind in kinds.split(';') {
            let kind: u8 = kind.parse().ok()?;
            let size: u64 = sizes.next().and_then(|size| size.parse().ok()).unwrap_or(0);
            match kind {
                1 => self.connect(stream, client, source, keep_alive),
                2 => self.answered(at, stream, answer, take),
                3 => self.published(at, stream, source, topics.next().unwrap_or(""), size, take),
                8 => {
                    let filter = topics.next().unwrap_or("");
                    self.tell(at, stream, Event::Subscribed { filter }, take);
                }
                10 => {
                    topics.next();
                }
                12 => self.tell(at, stream, Event::Pinged { count: 1 }, take),
                14 => self.ended(at, stream, take),
                _ => {}
            }
        }
        Some(())
    }

    fn connect(&mut self, number: u64, client: &str, address: IpAddr, keep_alive: &str) {
        if self.streams.len() >= limits::CONVERTED_CLIENTS {
            // Connections of which no end was seen.
            self.streams.clear();
        }
        // A client without an id is named by its address.
        let client = match client.is_empty() {
            true => address.to_string(),
            false => client.to_owned(),
        };
        let keep_alive = keep_alive.split(';').next().and_then(|text| text.parse().ok());
        let stream = Stream {
            client: client.into(),
            address,
            keep_alive: keep_alive.unwrap_or(0),
            session: 0,
        };
        self.streams.insert(number, stream);
    }

    fn answered(
        &mut self,
        at: UnixMillis,
        number: u64,
        answer: &str,
        take: &mut dyn FnMut(&Observation<'_>),
    ) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let network = Network::Address(stream.address);
        let tenant = self.tenant.as_str();
        if !matches!(answer, "" | "0" | "0x00") {
            let name = Some(&*stream.client);
            let code = RefusalCode::CredentialMissing;
            let event = Event::Stranger { code, network, name, credential: 0 };
            take(&Observation { at, tenant, device: "", session: 0, event });
            self.streams.remove(&number);
            return;
        }
        let (session, former) = self.sessions.open(&stream.client);
        stream.session = session;
        let connected = Connected {
            network,
            key: 0,
            group: 0,
            kind: SubjectKind::Device,
            fingerprint: u32::from(stream.keep_alive) + 1,
            keep_alive: stream.keep_alive,
            client: &stream.client,
            place: None,
        };
        let device = &*stream.client;
        let event = Event::Connected(connected);
        take(&Observation { at, tenant, device, session, event });
        if let Some(session) = former {
            let event = Event::Disconnected { clean: false };
            take(&Observation { at, tenant, device, session, event });
        }
    }

    fn published(
        &self,
        at: UnixMillis,
        number: u64,
        source: IpAddr,
        topic: &str,
        size: u64,
        take: &mut dyn FnMut(&Observation<'_>),
    ) {
        let Some(stream) = self.streams.get(&number) else { return };
        // The length of the packet has the topic and its two bytes of length in it.
        let bytes = size.saturating_sub(topic.len() as u64 + 2);
        let messages = Messages { topic, count: 1, bytes };
        let event = match source == stream.address {
            true => Event::Published(messages),
            false => Event::Received(messages),
        };
        self.tell(at, number, event, take);
    }

    fn ended(&mut self, at: UnixMillis, number: u64, take: &mut dyn FnMut(&Observation<'_>)) {
        self.tell(at, number, Event::Disconnected { clean: true }, take);
        if let Some(stream) = self.streams.remove(&number) {
            if self.sessions.number(&stream.client) == stream.session {
                self.sessions.close(&stream.client);
            }
        }
    }

    fn tell(
        &self,
        at: UnixMillis,
        number: u64,
        event: Event<'_>,
        take: &mut dyn FnMut(&Observation<'_>),
    ) {
        let Some(stream) = self.streams.get(&number).filter(|stream| stream.session > 0) else {
            return;
        };
        let (tenant, device) = (self.tenant.as_str(), &*stream.client);
        take(&Observation { at, tenant, device, session: stream.session, event });
    }
}

impl Converter for Tshark {
    fn line(&mut self, text: &str, take: &mut dyn FnMut(&Observation<'_>)) -> bool {
        self.used(text.trim_end_matches(['\r', '\n']), take).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::line;

    #[test]
    fn fields_become_observations() {
        let fields = "1765432100.5\t192.0.2.7\t192.0.2.1\t0\t1\td-17\t\t20\t60\t\n\
            1765432100.6\t192.0.2.1\t192.0.2.7\t0\t2\t\t\t2\t\t0\n\
            1765432101.0\t192.0.2.7\t192.0.2.1\t0\t3;3\t\td/d-17/a;d/d-17/b\t18;28\t\t\n\
            1765432101.5\t192.0.2.7\t192.0.2.1\t0\t8;12\t\td/d-17/cmd\t14;0\t\t\n\
            1765432102.0\t192.0.2.1\t192.0.2.7\t0\t3\t\td/d-17/cmd\t17\t\t\n\
            1765432103.0\t192.0.2.7\t192.0.2.1\t0\t14\t\t\t0\t\t\n\
            1765432104.0\t192.0.2.9\t192.0.2.1\t1\t1\tadmin\t\t20\t60\t\n\
            1765432104.1\t192.0.2.1\t192.0.2.9\t1\t2\t\t\t2\t\t5\n\
            no line\n";
        let (mut converter, mut lines) = (Tshark::of("acme"), Vec::new());
        let used = fields
            .lines()
            .filter(|text| converter.line(text, &mut |seen| lines.push(line::to_line(seen))))
            .count();
        assert_eq!(used, 8);
        let parsed: Vec<serde_json::Value> =
            lines.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let kinds: Vec<_> = parsed.iter().map(|line| line["kind"].as_str().unwrap()).collect();
        let wanted = [
            "connect",
            "publish",
            "publish",
            "subscribe",
            "ping",
            "receive",
            "disconnect",
            "stranger",
        ];
        assert_eq!(kinds, wanted);
        assert_eq!(
            (parsed[1]["topic"].as_str(), parsed[1]["bytes"].as_u64()),
            (Some("d/d-17/a"), Some(8))
        );
        assert_eq!(parsed[2]["bytes"].as_u64(), Some(18));
        assert_eq!(parsed[7]["name"].as_str(), Some("admin"));
    }
}
