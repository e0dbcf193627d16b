//! A log of mosquitto with `log_type all` and `connection_messages true`; times as seconds since 1970 (the default of
//! older versions), or as `log_timestamp_format %Y-%m-%dT%H:%M:%S`.

use std::net::IpAddr;

use tessera_token::refusal::RefusalCode;

use super::sessions::Sessions;
use super::Converter;
use crate::observation::{
    Connected, Denial, Event, Fault, Messages, Network, Observation, SubjectKind, UnixMillis,
};

/// Reads the lines of one log, the oldest first.
#[derive(Debug)]
pub struct Mosquitto {
    tenant: String,
    /// The level of topics that holds the name of the device.
    place: usize,
    sessions: Sessions,
    /// The client and time of a SUBSCRIBE, the filters of which follow.
    subscribes: Option<(UnixMillis, String)>,
}

impl Mosquitto {
    /// Nothing read so far. `place` is the level of a topic that holds the name of the device, 0 for the first.
    pub fn of(tenant: &str, place: usize) -> Self {
        Self { tenant: tenant.to_owned(), place, sessions: Sessions::default(), subscribes: None }
    }

    fn tell(
        &self,
        at: UnixMillis,
        device: &str,
        session: u64,
        event: Event<'_>,
        take: &mut dyn FnMut(&Observation<'_>),
    ) {
        take(&Observation { at, tenant: &self.tenant, device, session, event });
    }

    fn connected(
        &mut self,
        at: UnixMillis,
        rest: &str,
        take: &mut dyn FnMut(&Observation<'_>),
    ) -> Option<()> {
        // `192.0.2.7:53210 as d-17 (p2, c1, k60, u'd-17').`
        let (address, rest) = rest.split_once(" as ")?;
        let (client, rest) = rest.rsplit_once(" (")?;
        let address = address.rsplit_once(':').map_or(address, |(address, _)| address);
        let address: Option<IpAddr> = address.trim_matches(['[', ']']).parse().ok();
        let parts = || rest.trim_end_matches([')', '.']).split(", ");
        let number = |mark| {
            parts().find_map(|part| part.strip_prefix(mark)?.parse::<u16>().ok()).unwrap_or(0)
        };
        let (session, former) = self.sessions.open(client);
        let connected = Connected {
            network: address.map_or(Network::Local, Network::Address),
            key: 0,
            group: 0,
            kind: SubjectKind::Device,
            // Protocol, clean flag and keep-alive: all that the line has of the software.
            fingerprint: u32::from(number('p')) << 24
                | u32::from(number('c')) << 16
                | u32::from(number('k')),
            keep_alive: number('k'),
            client,
            place: None,
        };
        self.tell(at, client, session, Event::Connected(connected), take);
        if let Some(former) = former {
            self.tell(at, client, former, Event::Disconnected { clean: false }, take);
        }
        Some(())
    }

    fn client(
        &mut self,
        at: UnixMillis,
        rest: &str,
        take: &mut dyn FnMut(&Observation<'_>),
    ) -> Option<()> {
        let marks: [(&str, Option<Fault>, bool); 9] = [
            (" disconnected due to malformed packet.", Some(Fault::Malformed), false),
            (" disconnected due to protocol error.", Some(Fault::Protocol), false),
            (" disconnected due to oversize packet.", Some(Fault::TooLarge), false),
            (" has exceeded timeout, disconnecting.", Some(Fault::KeepAlive), false),
            (" disconnected, not authorised.", None, false),
            (" disconnected.", None, true),
            (" closed its connection.", None, false),
            (" already connected, closing old connection.", None, false),
            (" disconnected: session taken over.", None, false),
        ];
        let (client, fault, clean) = marks
            .iter()
            .find_map(|(mark, fault, clean)| Some((rest.strip_suffix(mark)?, *fault, *clean)))?;
        // Newer versions put the address behind the name.
        let client = client.split_once(" [").map_or(client, |(client, _)| client);
        if client == "<unknown>" {
            let (code, network) = (RefusalCode::CredentialMissing, Network::Local);
            let event = Event::Stranger { code, network, name: None, credential: 0 };
            self.tell(at, "", 0, event, take);
            return Some(());
        }
        if rest.ends_with("closing old connection.") {
            // The line of the new session follows, and ends this one.
            return None;
        }
        let session = self.sessions.close(client)?;
        if let Some(fault) = fault {
            self.tell(at, client, session, Event::Faulted(fault), take);
        }
        self.tell(at, client, session, Event::Disconnected { clean }, take);
        Some(())
    }

    fn published(
        &self,
        at: UnixMillis,
        rest: &str,
        way: Way,
        take: &mut dyn FnMut(&Observation<'_>),
    ) -> Option<()> {
        // `d-17 (d0, q1, r0, m5, 'd/d-17/telemetry', ... (42 bytes))`
        let (client, rest) = rest.split_once(" (d")?;
        let (_, rest) = rest.split_once('\'')?;
        let (topic, rest) = rest.rsplit_once("', ... (")?;
        let bytes = rest.split(' ').next()?.parse().ok()?;
        let messages = Messages { topic, count: 1, bytes };
        let event = match way {
            Way::From => Event::Published(messages),
            Way::To => Event::Received(messages),
            Way::Denied => Event::Refused {
                code: RefusalCode::PublishNotAuthorised,
                topic: Some(topic),
                denial: Some(Denial::of(topic, client, self.place)),
            },
        };
        self.tell(at, client, self.sessions.number(client), event, take);
        Some(())
    }

    fn used(
        &mut self,
        at: UnixMillis,
        text: &str,
        take: &mut dyn FnMut(&Observation<'_>),
    ) -> Option<()> {
        if let Some(filter) = text.strip_prefix('\t') {
            let (_, client) = self.subscribes.as_ref()?;
            let (filter, _) = filter.rsplit_once(" (QoS ")?;
            let session = self.sessions.number(client);
            self.tell(at, client, session, Event::Subscribed { filter }, take);
            return Some(());
        }
        self.subscribes = None;
        if let Some(rest) = text.strip_prefix("New client connected from ") {
            return self.connected(at, rest, take);
        }
        if let Some(rest) = text.strip_prefix("Client ") {
            return self.client(at, rest, take);
        }
        let ways = [
            ("Received PUBLISH from ", Way::From),
            ("Sending PUBLISH to ", Way::To),
            ("Denied PUBLISH from ", Way::Denied),
        ];
        if let Some((rest, way)) =
            ways.iter().find_map(|(mark, way)| Some((text.strip_prefix(mark)?, *way)))
        {
            return self.published(at, rest, way, take);
        }
        if let Some(client) = text.strip_prefix("Received PINGREQ from ") {
            let session = self.sessions.number(client);
            self.tell(at, client, session, Event::Pinged { count: 1 }, take);
            return Some(());
        }
        if let Some(client) = text.strip_prefix("Received SUBSCRIBE from ") {
            self.subscribes = Some((at, client.to_owned()));
            return Some(());
        }
        if let Some(client) = text.strip_prefix("Received DISCONNECT from ") {
            let session = self.sessions.close(client)?;
            self.tell(at, client, session, Event::Disconnected { clean: true }, take);
            return Some(());
        }
        None
    }
}

#[derive(Clone, Copy)]
enum Way {
    From,
    To,
    Denied,
}

impl Converter for Mosquitto {
    fn line(&mut self, text: &str, take: &mut dyn FnMut(&Observation<'_>)) -> bool {
        let text = text.trim_end();
        let found = text.split_once(": ").and_then(|(time, rest)| Some((time_of(time)?, rest)));
        // Filters may stand in lines of their own, without a time.
        let before = self.subscribes.as_ref().map(|(at, _)| *at);
        match found.or_else(|| text.starts_with('\t').then_some((before?, text))) {
            Some((at, rest)) => self.used(at, rest, take).is_some(),
            None => false,
        }
    }
}

/// Seconds since 1970, or `2026-01-05T08:30:00` with an optional fraction and an offset or `Z`.
fn time_of(text: &str) -> Option<UnixMillis> {
    if let Ok(seconds) = text.parse::<f64>() {
        let is_good = (0.0..253_402_300_800.0).contains(&seconds);
        return is_good.then_some((seconds * 1_000.0).round() as UnixMillis);
    }
    let (date, time) = text.split_once(['T', ' '])?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let behind = time.char_indices().find(|(_, c)| matches!(c, 'Z' | '+' | '-'));
    let (time, zone) = match behind {
        Some((at, _)) => time.split_at_checked(at)?,
        None => (time, "Z"),
    };
    let mut parts = time.split(':');
    let hour: i64 = parts.next()?.parse().ok()?;
    let minute: i64 = parts.next()?.parse().ok()?;
    let second: f64 = parts.next()?.parse().ok()?;
    let is_possible = (1_970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..61.0).contains(&second);
    if !is_possible {
        return None;
    }
    // Days since 1970 of a date of the Gregorian calendar.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 - offset(zone)?;
    UnixMillis::try_from(seconds * 1_000 + (second * 1_000.0).round() as i64).ok()
}

/// Seconds east of UTC: `Z`, `+0200` or `+02:00`.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = digits.get(2..4)?.parse().ok()?;
    Some(sign * (hours * 3_600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::line;

    fn converted(log: &str) -> (Vec<String>, usize) {
        let (mut converter, mut lines) = (Mosquitto::of("acme", 1), Vec::new());
        let used = log
            .lines()
            .filter(|text| converter.line(text, &mut |seen| lines.push(line::to_line(seen))))
            .count();
        (lines, used)
    }

    #[test]
    fn a_log_becomes_observations() {
        let log = "1765432100: mosquitto version 2.0.18 starting\n\
            1765432101: New connection from 192.0.2.7:53210 on port 1883.\n\
            1765432101: New client connected from 192.0.2.7:53210 as d-17 (p2, c1, k60, u'd-17').\n\
            1765432102: Received SUBSCRIBE from d-17\n\
            1765432102: \td/d-17/cmd (QoS 1)\n\
            1765432103: Received PUBLISH from d-17 (d0, q1, r0, m5, 'd/d-17/it's', ... (42 bytes))\n\
            1765432104: Denied PUBLISH from d-17 (d0, q0, r0, m0, 'd/d-18/telemetry', ... (7 bytes))\n\
            1765432105: Sending PUBLISH to d-17 (d0, q0, r0, m0, 'd/d-17/cmd', ... (3 bytes))\n\
            1765432106: Received PINGREQ from d-17\n\
            1765432107: New client connected from [2001:db8::7]:1 as d-17 (p5, c0, k30).\n\
            1765432108: Client d-17 disconnected due to malformed packet.\n\
            1765432109: Client d-17 disconnected.\n\
            1765432110: Client <unknown> disconnected, not authorised.\n";
        let (lines, used) = converted(log);
        let fields = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
        let kinds: Vec<_> = lines.iter().map(|text| fields(text)["kind"].to_string()).collect();
        let wanted = [
            "connect",
            "subscribe",
            "publish",
            "refuse",
            "receive",
            "ping",
            "connect",
            "disconnect",
            "fault",
            "disconnect",
            "stranger",
        ];
        assert_eq!(kinds, wanted.map(|kind| format!("\"{kind}\"")));
        assert_eq!(used, 10, "{lines:?}");
        assert_eq!(fields(&lines[0])["net"], "192.0.2.7");
        assert_eq!(fields(&lines[0])["keep_alive"], 60);
        assert_eq!(fields(&lines[2])["topic"], "d/d-17/it's");
        assert_eq!(
            (fields(&lines[3])["denial"].clone(), fields(&lines[3])["owner"].clone()),
            ("owner".into(), "d-18".into())
        );
        assert_eq!(
            (fields(&lines[6])["session"].clone(), fields(&lines[7])["session"].clone()),
            (2.into(), 1.into())
        );
        assert_eq!(fields(&lines[6])["net"], "2001:db8::7");
    }

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(time_of("1767571200"), Some(1_767_571_200_000));
        assert_eq!(time_of("2026-01-05T00:00:00"), Some(1_767_571_200_000));
        assert_eq!(time_of("2026-01-05T02:00:00.250+0200"), Some(1_767_571_200_250));
        assert_eq!(time_of("2026-01-04 19:00:00-05:00"), Some(1_767_571_200_000));
        assert_eq!(time_of("2024-02-29T00:00:00Z"), Some(1_709_164_800_000));
        for bad in ["", "x", "2026-13-05T00:00:00", "2026-01-05T25:00:00", "-1", "nan"] {
            assert_eq!(time_of(bad), None, "{bad}");
        }
    }
}
