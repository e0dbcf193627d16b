//! The other tables of a scenario file: networks, groups and phases.

use serde::Deserialize;

use super::number::{Between, Real, Span, Whole};

/// How the addresses of a network are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addresses {
    /// Devices of one place share one address.
    Site,
    /// Each device has its own, for some days.
    Home,
    /// A few exits with many devices behind each, another address at each attach.
    Carrier,
}

/// A network.
#[derive(Clone, Debug)]
pub struct NetworkPlan {
    /// How addresses are given out.
    pub kind: Addresses,
    /// Devices behind one address of a site.
    pub devices_per_site: Span,
    /// Days for which a home has one address.
    pub lease_days: Span,
    /// Exits of a carrier.
    pub exits: Span,
    /// Share of the attaches at which a device comes out of another exit.
    pub moves: Span,
    /// Milliseconds from a device to the broker.
    pub latency_ms: Span,
    /// Share of the messages that are lost.
    pub loss: f64,
    /// Outages of one device's link in 30 days.
    pub outages_per_month: f64,
    /// Minutes of such an outage.
    pub outage_min: Span,
    /// Share of the devices with an IPv6 address.
    pub ipv6: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNetwork {
    kind: Addresses,
    devices_per_site: Option<Between<1_000, 1_000_000>>,
    lease_days: Option<Between<40, 3_650_000>>,
    exits: Option<Between<1_000, 200_000>>,
    moves: Option<Between<0, 1_000>>,
    latency_ms: Option<Between<0, 10_000_000>>,
    loss: Option<Real<0, 500>>,
    outages_per_month: Option<Real<0, 1_000_000>>,
    outage_min: Option<Between<100, 10_000_000>>,
    ipv6: Option<Real<0, 1_000>>,
}

impl From<&RawNetwork> for NetworkPlan {
    fn from(raw: &RawNetwork) -> Self {
        let span = |low, high| Span { low, high };
        Self {
            kind: raw.kind,
            devices_per_site: raw.devices_per_site.map_or(span(20.0, 60.0), |given| given.0),
            lease_days: raw.lease_days.map_or(span(2.0, 30.0), |given| given.0),
            exits: raw.exits.map_or(span(3.0, 8.0), |given| given.0),
            moves: raw.moves.map_or(span(0.1, 0.5), |given| given.0),
            latency_ms: raw.latency_ms.map_or(span(10.0, 100.0), |given| given.0),
            loss: raw.loss.map_or(0.001, |given| given.0),
            outages_per_month: raw.outages_per_month.map_or(1.0, |given| given.0),
            outage_min: raw.outage_min.map_or(span(2.0, 30.0), |given| given.0),
            ipv6: raw.ipv6.map_or(0.0, |given| given.0),
        }
    }
}

/// Groups of one kind in each tenant.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// The persona.
    pub persona: String,
    /// Share of the tenant's devices.
    pub share: f64,
    /// The network.
    pub network: String,
    /// The share is divided among so many groups.
    pub count: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGroup {
    persona: String,
    share: Real<1, 1_000>,
    network: String,
    count: Option<Whole<1, 1_000>>,
}

impl From<&RawGroup> for GroupPlan {
    fn from(raw: &RawGroup) -> Self {
        Self {
            persona: raw.persona.clone(),
            share: raw.share.0,
            network: raw.network.clone(),
            count: raw.count.map_or(1, |given| given.0),
        }
    }
}

/// Kinds of phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// Firmware over a group.
    Rollout,
    /// A group that grows from day to day.
    Season,
    /// Sites without network.
    Outage,
    /// Devices that join later.
    Newcomers,
    /// Single devices that a person sets otherwise.
    Reconfigurations,
}

/// Something that happens to many devices and is honest.
#[derive(Clone, Debug)]
pub struct Phase {
    /// The kind.
    pub kind: PhaseKind,
    /// Share of the groups, of the sites or of the devices.
    pub part: f64,
    /// The day, counted from 0.
    pub day: Span,
    /// Hours.
    pub hours: Span,
    /// Whether an operator announces it.
    pub announced: bool,
    /// Factor on the messages, or of a reconfiguration.
    pub messages: Span,
    /// Factor on the size of messages.
    pub bytes: Span,
    /// Share of the messages that come on other topics.
    pub mix: f64,
    /// Growth in a day.
    pub growth: Span,
    /// Device-days for one reconfiguration.
    pub every_days: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPhase {
    kind: PhaseKind,
    groups: Option<Real<0, 1_000>>,
    sites: Option<Real<0, 1_000>>,
    share: Option<Real<0, 1_000>>,
    day: Option<Between<0, 3_650_000>>,
    hours: Option<Between<10, 720_000>>,
    announced: Option<bool>,
    messages: Option<Between<10, 1_000_000>>,
    factor: Option<Between<10, 1_000_000>>,
    bytes: Option<Between<10, 1_000_000>>,
    mix: Option<Real<0, 1_000>>,
    growth: Option<Between<-500, 1_000>>,
    every_days: Option<Real<1_000, 1_000_000_000>>,
}

impl RawPhase {
    /// The phase, or the words about a key that has no meaning for its kind.
    pub(super) fn phase(&self) -> Result<Phase, String> {
        let given = [
            ("groups", self.groups.is_some()),
            ("sites", self.sites.is_some()),
            ("share", self.share.is_some()),
            ("day", self.day.is_some()),
            ("hours", self.hours.is_some()),
            ("announced", self.announced.is_some()),
            ("messages", self.messages.is_some()),
            ("factor", self.factor.is_some()),
            ("bytes", self.bytes.is_some()),
            ("mix", self.mix.is_some()),
            ("growth", self.growth.is_some()),
            ("every_days", self.every_days.is_some()),
        ];
        let used: &[&str] = match self.kind {
            PhaseKind::Rollout => {
                &["groups", "day", "hours", "announced", "messages", "bytes", "mix"]
            }
            PhaseKind::Season => &["groups", "day", "growth"],
            PhaseKind::Outage => &["sites", "day", "hours"],
            PhaseKind::Newcomers => &["share", "day"],
            PhaseKind::Reconfigurations => &["every_days", "factor"],
        };
        if let Some((key, _)) = given.iter().find(|(key, given)| *given && !used.contains(key)) {
            let used = used.join(", ");
            return Err(format!("`{key}` means nothing for {:?}: use {used}", self.kind));
        }
        let part = [self.groups, self.sites, self.share].into_iter().flatten().next();
        let span = |low, high| Span { low, high };
        Ok(Phase {
            kind: self.kind,
            part: part.map_or(0.05, |given| given.0),
            day: self.day.map_or(span(5.0, 9.0), |given| given.0),
            hours: self.hours.map_or(Span::one(3.0), |given| given.0),
            announced: self.announced.unwrap_or(false),
            messages: match (self.messages, self.factor) {
                (Some(given), _) => given.0,
                (None, Some(given)) => given.0,
                (None, None) => Span::one(1.0),
            },
            bytes: self.bytes.map_or(Span::one(1.0), |given| given.0),
            mix: self.mix.map_or(0.0, |given| given.0),
            growth: self.growth.map_or(Span::one(0.03), |given| given.0),
            every_days: self.every_days.map_or(2_000.0, |given| given.0),
        })
    }
}
