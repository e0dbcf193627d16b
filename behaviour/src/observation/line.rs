//! Observations as lines of NDJSON (`docs/observations.md`).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tessera_token::refusal::RefusalCode;

use super::{
    Connected, Denial, Event, Fault, Messages, Network, Observation, Place, Point, SubjectKind,
    UnixMillis,
};
use crate::limits;

mod write;

pub use write::to_line;

/// The name of the form, in the first line of a file.
pub const FORMAT: &str = "tessera-observations-1";

/// One line as it is written: members that a kind does not use are absent, and unknown members are ignored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Members<'a> {
    /// Seconds since 1970, with a fraction.
    t: f64,
    #[serde(borrow, default, skip_serializing_if = "is_empty")]
    tenant: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "is_empty")]
    device: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_zero")]
    session: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    net: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    service: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fp: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_alive: Option<u16>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    client: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asn: Option<u32>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    country: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latitude: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    longitude: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    radius_km: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    built: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    relay: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    clean: bool,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    topic: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    filter: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    code: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    denial: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    owner: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    fault: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credential: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<f64>,
}

fn is_empty(text: &str) -> bool {
    text.is_empty()
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// Why a line is no observation.
#[derive(Debug)]
pub enum LineError {
    /// Longer than [`limits::LINE_BYTES`].
    TooLong,
    /// No JSON object, or a member of the wrong type.
    Json(serde_json::Error),
    /// The kind is not known.
    Kind(String),
    /// A member that this kind needs is absent.
    Absent(&'static str),
    /// A member has a value that means nothing.
    Value {
        /// The member.
        member: &'static str,
        /// Its value.
        value: String,
    },
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the line is longer than {} bytes", limits::LINE_BYTES),
            Self::Json(error) => write!(f, "the line is no observation: {error}"),
            Self::Kind(kind) => write!(
                f,
                "kind `{kind}` is not known: use connect, disconnect, publish, receive, subscribe, ping, refuse, fault, \
                 outside, stranger, gap or announce"
            ),
            Self::Absent(member) => write!(f, "the member `{member}` is missing"),
            Self::Value { member, value } => {
                write!(f, "the member `{member}` has the value `{value}`, which means nothing here")
            }
        }
    }
}

impl std::error::Error for LineError {}

/// One parsed line. It owns what the line escaped, and borrows the rest.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    members: Members<'a>,
    what: What,
}

/// The members that are no texts, judged once.
#[derive(Clone, Copy, Debug)]
enum What {
    Connect { network: Network, group: u64 },
    Disconnect,
    Publish,
    Receive,
    Subscribe,
    Ping,
    Refuse { code: RefusalCode, denial: Option<DenialKind> },
    Fault(Fault),
    Outside { code: RefusalCode, network: Network },
    Stranger { code: RefusalCode, network: Network },
    Gap { step: u32 },
    Announce { group: u64, until: UnixMillis },
}

#[derive(Clone, Copy, Debug)]
enum DenialKind {
    Own,
    Owner,
    Wide,
    System,
}

impl<'a> Line<'a> {
    /// Parses one line. `None` for a line that says the format, and for an empty one.
    ///
    /// # Errors
    /// See [`LineError`].
    pub fn parse(text: &'a str) -> Result<Option<Self>, LineError> {
        if text.len() > limits::LINE_BYTES {
            return Err(LineError::TooLong);
        }
        let text = text.trim();
        if text.is_empty() || text.starts_with("{\"format\"") {
            return Ok(None);
        }
        let members: Members<'a> = serde_json::from_str(text).map_err(LineError::Json)?;
        millis("t", members.t)?;
        let what = what(&members)?;
        let about_a_device = !matches!(what, What::Stranger { .. } | What::Announce { .. });
        if about_a_device && members.device.is_empty() {
            return Err(LineError::Absent("device"));
        }
        Ok(Some(Self { members, what }))
    }

    /// The observation that the line holds.
    pub fn observation(&self) -> Observation<'_> {
        let members = &self.members;
        Observation {
            at: to_millis(members.t),
            tenant: &members.tenant,
            device: &members.device,
            session: members.session,
            event: self.event(),
        }
    }

    fn event(&self) -> Event<'_> {
        let members = &self.members;
        let messages = || Messages {
            topic: members.topic.as_deref().unwrap_or(""),
            count: members.count.unwrap_or(1),
            bytes: members.bytes.unwrap_or(0),
        };
        match self.what {
            What::Connect { network, group } => Event::Connected(Connected {
                network,
                key: members.key.unwrap_or(0),
                group,
                kind: if members.service { SubjectKind::Service } else { SubjectKind::Device },
                fingerprint: members.fp.unwrap_or(0),
                keep_alive: members.keep_alive.unwrap_or(0),
                client: members.client.as_deref().unwrap_or(&members.device),
                place: place(members),
            }),
            What::Disconnect => Event::Disconnected { clean: members.clean },
            What::Publish => Event::Published(messages()),
            What::Receive => Event::Received(messages()),
            What::Subscribe => {
                Event::Subscribed { filter: members.filter.as_deref().unwrap_or("") }
            }
            What::Ping => Event::Pinged { count: members.count.unwrap_or(1) },
            What::Refuse { code, denial } => Event::Refused {
                code,
                topic: members.topic.as_deref().or(members.filter.as_deref()),
                denial: denial.map(|kind| match kind {
                    DenialKind::Own => Denial::Own,
                    DenialKind::Owner => Denial::Owner(members.owner.as_deref().unwrap_or("")),
                    DenialKind::Wide => Denial::Wide,
                    DenialKind::System => Denial::System,
                }),
            },
            What::Fault(fault) => Event::Faulted(fault),
            What::Outside { code, network } => Event::Outside { code, network },
            What::Stranger { code, network } => Event::Stranger {
                code,
                network,
                name: members.name.as_deref(),
                credential: members.credential.unwrap_or(0),
            },
            What::Gap { step } => Event::Skipped { step },
            What::Announce { group, until } => Event::Announced { group, until },
        }
    }
}

/// The place of a connect; none when no member says anything of it.
fn place(members: &Members<'_>) -> Option<Place> {
    let point = match (members.latitude, members.longitude, members.radius_km) {
        (Some(latitude), Some(longitude), Some(radius_km))
            if latitude.abs() <= 90.0 && longitude.abs() <= 180.0 =>
        {
            Some(Point { latitude, longitude, radius_km })
        }
        _ => None,
    };
    let country = members.country.as_deref().and_then(Place::country_of);
    let (asn, built) = (members.asn.unwrap_or(0), members.built.unwrap_or(0));
    let place = Place { asn, country, point, built, relay: members.relay };
    place.is_known().then_some(place)
}

fn what(members: &Members<'_>) -> Result<What, LineError> {
    let kind = match &*members.kind {
        "connect" => {
            What::Connect { network: network(members)?, group: members.group.unwrap_or(0) }
        }
        "disconnect" => What::Disconnect,
        "publish" => {
            members.topic.as_ref().ok_or(LineError::Absent("topic"))?;
            What::Publish
        }
        "receive" => {
            members.topic.as_ref().ok_or(LineError::Absent("topic"))?;
            What::Receive
        }
        "subscribe" => {
            members.filter.as_ref().ok_or(LineError::Absent("filter"))?;
            What::Subscribe
        }
        "ping" => What::Ping,
        "refuse" => What::Refuse { code: code(members)?, denial: denial(members)? },
        "fault" => {
            let fault = members.fault.as_deref().ok_or(LineError::Absent("fault"))?;
            What::Fault(Fault::parse(fault).ok_or_else(|| value("fault", fault))?)
        }
        "outside" => What::Outside { code: code(members)?, network: network(members)? },
        "stranger" => What::Stranger { code: code(members)?, network: network(members)? },
        "gap" => What::Gap { step: members.step.ok_or(LineError::Absent("step"))? },
        "announce" => What::Announce {
            group: members.group.ok_or(LineError::Absent("group"))?,
            until: millis("until", members.until.ok_or(LineError::Absent("until"))?)?,
        },
        other => return Err(LineError::Kind(other.to_owned())),
    };
    Ok(kind)
}

/// An address, or an address and the length of a prefix, which says no more than the address here.
fn network(members: &Members<'_>) -> Result<Network, LineError> {
    let Some(text) = members.net.as_deref() else {
        return Ok(Network::Local);
    };
    let address = text.split('/').next().unwrap_or(text);
    address.parse::<IpAddr>().map(Network::Address).map_err(|_| value("net", text))
}

fn code(members: &Members<'_>) -> Result<RefusalCode, LineError> {
    let code = members.code.as_deref().ok_or(LineError::Absent("code"))?;
    RefusalCode::parse(code).ok_or_else(|| value("code", code))
}

fn denial(members: &Members<'_>) -> Result<Option<DenialKind>, LineError> {
    let Some(kind) = members.denial.as_deref() else {
        return Ok(None);
    };
    let kind = match kind {
        "own" => DenialKind::Own,
        "owner" => {
            members.owner.as_ref().ok_or(LineError::Absent("owner"))?;
            DenialKind::Owner
        }
        "wide" => DenialKind::Wide,
        "system" => DenialKind::System,
        other => return Err(value("denial", other)),
    };
    Ok(Some(kind))
}

fn value(member: &'static str, value: &str) -> LineError {
    let value = value.chars().take(64).collect();
    LineError::Value { member, value }
}

fn millis(member: &'static str, seconds: f64) -> Result<UnixMillis, LineError> {
    // Year 9999 is the last that other tools write.
    match seconds.is_finite() && (0.0..253_402_300_800.0).contains(&seconds) {
        true => Ok(to_millis(seconds)),
        false => Err(value(member, &seconds.to_string())),
    }
}

fn to_millis(seconds: f64) -> UnixMillis {
    (seconds * 1000.0).round() as UnixMillis
}

#[cfg(test)]
mod tests;
