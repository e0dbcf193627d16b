//! The JSON of a security profile, as `aws iot describe-security-profile` prints it.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

/// The behaviours of the pages of AWS: size above 1 KiB, more than 50 messages, 5 refusals or 30 connects in a window.
pub const EXAMPLES: &str = include_str!("examples.json");

/// Bytes of a profile.
const FILE_BYTES: usize = 1024 * 1024;
/// Behaviours of a profile: twice what AWS takes.
const BEHAVIORS: usize = 200;

/// Behaviours that a device ought to show.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Those that can be judged.
    pub behaviors: Vec<Behavior>,
    /// Those that cannot be judged by what a broker sees, with the reason.
    pub skipped: Vec<String>,
}

/// One behaviour.
#[derive(Clone, Debug)]
pub struct Behavior {
    /// Its name.
    pub name: String,
    /// The number that is compared.
    pub metric: Metric,
    /// The comparison that holds while the device behaves.
    pub operator: Operator,
    /// The other side of the comparison.
    pub threshold: Threshold,
    /// Seconds over which counts are added.
    pub duration_s: u64,
    /// Datapoints in a row that violate it before there is an alarm.
    pub datapoints: u32,
}

/// Numbers that a broker sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// `aws:message-byte-size`.
    MessageBytes,
    /// `aws:num-messages-sent`.
    Sent,
    /// `aws:num-messages-received`.
    Received,
    /// `aws:num-authorization-failures`.
    AuthorizationFailures,
    /// `aws:num-connection-attempts`.
    ConnectionAttempts,
    /// `aws:num-disconnects`.
    Disconnects,
    /// `aws:source-ip-address`.
    SourceIp,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `less-than`.
    Less,
    /// `less-than-equals`.
    LessOrEqual,
    /// `greater-than`.
    Greater,
    /// `greater-than-equals`.
    GreaterOrEqual,
    /// `in-cidr-set`.
    InCidrSet,
    /// `not-in-cidr-set`.
    NotInCidrSet,
}

impl Operator {
    /// Whether too much violates it.
    pub const fn is_upper(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual)
    }

    /// How far the value is on the wrong side: 1 and more violates.
    pub fn score(self, value: f64, limit: f64) -> f64 {
        // A limit of 0 and a value of 0 are compared too.
        let ratio = (value + 1e-9) / (limit + 1e-9);
        let (ratio, holds) = match self {
            Self::Less => (ratio, value < limit),
            Self::LessOrEqual => (ratio, value <= limit),
            Self::Greater => (1.0 / ratio, value > limit),
            Self::GreaterOrEqual => (1.0 / ratio, value >= limit),
            Self::InCidrSet | Self::NotInCidrSet => return 0.0,
        };
        match holds {
            true => ratio.min(0.999_999),
            false => ratio.clamp(1.0, 1e9),
        }
    }
}

/// The other side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Threshold {
    /// A number.
    Value(f64),
    /// A percentile of all devices, as a share.
    Percentile(f64),
    /// Networks.
    Networks(Vec<Cidr>),
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether an address lies in it.
    pub fn holds(&self, other: IpAddr) -> bool {
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let shift = 32 - u32::from(self.bits.min(32));
                (a.to_bits() ^ b.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let shift = 128 - u32::from(self.bits.min(128));
                (a.to_bits() ^ b.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Why a file is no profile.
#[derive(Debug)]
pub struct ProfileError(String);

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProfileError {}

#[derive(Deserialize)]
struct RawProfile {
    behaviors: Vec<RawBehavior>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBehavior {
    name: String,
    metric: Option<String>,
    criteria: Option<RawCriteria>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCriteria {
    comparison_operator: Option<String>,
    value: Option<RawValue>,
    duration_seconds: Option<u64>,
    consecutive_datapoints_to_alarm: Option<u32>,
    statistical_threshold: Option<RawStatistic>,
}

#[derive(Deserialize)]
struct RawValue {
    count: Option<f64>,
    number: Option<f64>,
    cidrs: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RawStatistic {
    statistic: String,
}

impl Profile {
    /// Reads a profile. Members that are not used are passed over, as AWS prints more than it takes.
    ///
    /// # Errors
    /// The text is no profile, or a behaviour of it can mean nothing.
    pub fn read(text: &str) -> Result<Self, ProfileError> {
        if text.len() > FILE_BYTES {
            return Err(ProfileError(format!("the profile has more than {FILE_BYTES} bytes")));
        }
        let raw: RawProfile = serde_json::from_str(text)
            .map_err(|wrong| ProfileError(format!("this is no security profile: {wrong}")))?;
        if raw.behaviors.len() > BEHAVIORS {
            return Err(ProfileError(format!("more than {BEHAVIORS} behaviors")));
        }
        let (mut behaviors, mut skipped) = (Vec::new(), Vec::new());
        for raw in &raw.behaviors {
            match behavior(raw) {
                Ok(behavior) => behaviors.push(behavior),
                Err(Wrong::Skipped(reason)) => skipped.push(format!("{}: {reason}", raw.name)),
                Err(Wrong::Error(reason)) => {
                    return Err(ProfileError(format!("behavior `{}`: {reason}", raw.name)));
                }
            }
        }
        match behaviors.is_empty() {
            true => {
                let skipped = skipped.join("; ");
                Err(ProfileError(format!("no behavior can be judged here: {skipped}")))
            }
            false => Ok(Self { behaviors, skipped }),
        }
    }

    /// The behaviours of [`EXAMPLES`].
    ///
    /// # Errors
    /// None, as long as a test reads them.
    pub fn examples() -> Result<Self, ProfileError> {
        Self::read(EXAMPLES)
    }
}

enum Wrong {
    Skipped(String),
    Error(String),
}

fn behavior(raw: &RawBehavior) -> Result<Behavior, Wrong> {
    let skip = |reason: String| Err(Wrong::Skipped(reason));
    let wrong = |reason: String| Wrong::Error(reason);
    let metric = match raw.metric.as_deref() {
        Some("aws:message-byte-size") => Metric::MessageBytes,
        Some("aws:num-messages-sent") => Metric::Sent,
        Some("aws:num-messages-received") => Metric::Received,
        Some("aws:num-authorization-failures") => Metric::AuthorizationFailures,
        Some("aws:num-connection-attempts") => Metric::ConnectionAttempts,
        Some("aws:num-disconnects") => Metric::Disconnects,
        Some("aws:source-ip-address") => Metric::SourceIp,
        Some(other) => return skip(format!("a broker does not see {other}")),
        None => return Err(wrong("it has no metric".into())),
    };
    let Some(criteria) = &raw.criteria else { return skip("it has no criteria".into()) };
    let operator = match criteria.comparison_operator.as_deref() {
        Some("less-than") => Operator::Less,
        Some("less-than-equals") => Operator::LessOrEqual,
        Some("greater-than") => Operator::Greater,
        Some("greater-than-equals") => Operator::GreaterOrEqual,
        Some("in-cidr-set") => Operator::InCidrSet,
        Some("not-in-cidr-set") => Operator::NotInCidrSet,
        Some(other) => return skip(format!("the comparison {other} is not known here")),
        None => return skip("it is judged by a model of AWS (no comparisonOperator)".into()),
    };
    let of_networks = matches!(operator, Operator::InCidrSet | Operator::NotInCidrSet);
    if of_networks != (metric == Metric::SourceIp) {
        return Err(wrong("networks are compared with aws:source-ip-address alone".into()));
    }
    let value = criteria.value.as_ref();
    let threshold = match (&criteria.statistical_threshold, value) {
        (Some(of), _) => Threshold::Percentile(
            percentile(&of.statistic)
                .ok_or_else(|| wrong(format!("statistic `{}`: use p0.1 to p100", of.statistic)))?,
        ),
        (None, Some(value)) if of_networks => {
            let cidrs = value.cidrs.iter().flatten();
            let parsed = cidrs.map(|text| {
                Cidr::parse(text).ok_or_else(|| wrong(format!("`{text}` is no network")))
            });
            Threshold::Networks(parsed.collect::<Result<_, _>>()?)
        }
        (None, Some(value)) => {
            let number = value.count.or(value.number).filter(|number| *number >= 0.0);
            Threshold::Value(number.ok_or_else(|| wrong("value has no count".into()))?)
        }
        (None, None) => return Err(wrong("it has neither value nor statisticalThreshold".into())),
    };
    let duration_s = criteria.duration_seconds.unwrap_or(300);
    if ![300, 600, 900, 1_800, 3_600].contains(&duration_s) {
        return Err(wrong(format!(
            "durationSeconds {duration_s}: use 300, 600, 900, 1800 or 3600"
        )));
    }
    let datapoints = criteria.consecutive_datapoints_to_alarm.unwrap_or(1);
    if !(1..=10).contains(&datapoints) {
        return Err(wrong("consecutiveDatapointsToAlarm: use 1 to 10".into()));
    }
    let name = raw.name.clone();
    Ok(Behavior { name, metric, operator, threshold, duration_s, datapoints })
}

fn percentile(text: &str) -> Option<f64> {
    let number: f64 = text.strip_prefix('p')?.parse().ok()?;
    (number > 0.0 && number <= 100.0).then_some(number / 100.0)
}
