//! Attacks: twelve classes in three grades, blind spots, and variants of a scenario file.

use serde::Deserialize;

use super::number::{Real, Whole};

/// Kinds of attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A copied token is shown without its key.
    Theft,
    /// A second holder of token and key.
    Clone,
    /// Recorded proofs are shown again.
    Replay,
    /// Names and passwords are guessed.
    Stuffing,
    /// Topics of others are tried.
    Probe,
    /// More bytes than usual, for a long time.
    ExfilSlow,
    /// Very many bytes at once.
    ExfilFast,
    /// A service commands devices that it never commanded.
    Command,
    /// Many messages at once.
    Flood,
    /// Sessions that are held open and say nothing.
    Slowite,
    /// Connects and losses in a row.
    Flap,
    /// Broken packets.
    Malformed,
    /// Bytes that grow by a share each day.
    Ramp,
    /// Probing that is spread over many devices of a tenant.
    ProbeSpread,
    /// The messages go to another own topic.
    Mix,
    /// More bytes than usual from the first minute on.
    Taught,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 16] = [
        Self::Theft,
        Self::Clone,
        Self::Replay,
        Self::Stuffing,
        Self::Probe,
        Self::ExfilSlow,
        Self::ExfilFast,
        Self::Command,
        Self::Flood,
        Self::Slowite,
        Self::Flap,
        Self::Malformed,
        Self::Ramp,
        Self::ProbeSpread,
        Self::Mix,
        Self::Taught,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Theft => "theft",
            Self::Clone => "clone",
            Self::Replay => "replay",
            Self::Stuffing => "stuffing",
            Self::Probe => "probe",
            Self::ExfilSlow => "exfil_slow",
            Self::ExfilFast => "exfil_fast",
            Self::Command => "command",
            Self::Flood => "flood",
            Self::Slowite => "slowite",
            Self::Flap => "flap",
            Self::Malformed => "malformed",
            Self::Ramp => "ramp",
            Self::ProbeSpread => "probe_spread",
            Self::Mix => "mix",
            Self::Taught => "taught",
        }
    }

    /// Whether it is one against a tenant, and not by or against one device.
    pub const fn is_of_tenant(self) -> bool {
        matches!(self, Self::Stuffing | Self::ProbeSpread)
    }

    /// Whether it makes more of the device's own traffic, or other traffic, for all of its time.
    pub const fn bends(self) -> bool {
        matches!(self, Self::ExfilSlow | Self::Ramp | Self::Mix | Self::Taught)
    }

    /// Whether its acts need a session of the device.
    pub const fn needs_session(self) -> bool {
        matches!(
            self,
            Self::Probe
                | Self::ProbeSpread
                | Self::ExfilFast
                | Self::Command
                | Self::Flood
                | Self::Flap
                | Self::Malformed
        )
    }
}

/// From where the acts come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// Another network.
    Foreign,
    /// The network of the victim.
    Home,
}

/// A class in one grade.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The class.
    pub class: Class,
    /// `loud`, `medium`, `careful`, or a name.
    pub grade: String,
    /// Acts in an hour; a factor, a share, or a number of sessions.
    pub amount: f64,
    /// For how long.
    pub hours: f64,
    /// At least so many deviations of the device's own daily log bytes (slow exfiltration).
    pub sigmas: f64,
    /// From where.
    pub from: From,
    /// Networks from which the acts come (stuffing).
    pub networks: u64,
    /// Whether the clone has the same client software.
    pub same_software: bool,
    /// How many in one run.
    pub count: u64,
}

/// The table of DETECTION: class, grade, amount, hours, deviations, networks (0: from the victim's own).
const PLAN: [(Class, &str, f64, f64, f64, u64); 42] = {
    use Class::*;
    const WEEK: f64 = 168.0;
    [
        (Theft, "loud", 600.0, 1.0, 0.0, 1),
        (Theft, "medium", 1.0, 0.5, 0.0, 1),
        (Theft, "careful", 1.0 / 24.0, WEEK, 0.0, 0),
        (Clone, "loud", 1.0, 24.0, 0.0, 1),
        (Clone, "medium", 4.0 / 24.0, 48.0, 0.0, 1),
        (Clone, "careful", 1.0 / 24.0, 120.0, 0.0, 0),
        (Clone, "same_software", 1.0 / 24.0, 120.0, 0.0, 0),
        (Replay, "loud", 600.0, 1.0, 0.0, 1),
        (Replay, "medium", 6.0, 24.0, 0.0, 1),
        (Replay, "careful", 1.0 / 24.0, WEEK, 0.0, 0),
        (Stuffing, "loud", 108_000.0, 0.17, 0.0, 1),
        (Stuffing, "medium", 360.0, 6.0, 0.0, 50),
        (Stuffing, "careful", 1_000.0 / 24.0, 24.0, 0.0, 200),
        (Probe, "loud", 360.0, 6.0, 0.0, 0),
        (Probe, "medium", 12.0, 24.0, 0.0, 0),
        (Probe, "careful", 1.0, 120.0, 0.0, 0),
        (Probe, "very_careful", 1.0 / 24.0, 240.0, 0.0, 0),
        (ProbeSpread, "spread", 1.0, 72.0, 0.0, 0),
        (ExfilSlow, "loud", 5.0, 24.0, 3.0, 0),
        (ExfilSlow, "medium", 2.0, 48.0, 3.0, 0),
        (ExfilSlow, "careful", 1.5, 120.0, 2.0, 0),
        (ExfilSlow, "plus_25", 1.25, 120.0, 0.0, 0),
        (Ramp, "ramp", 0.1, 200.0, 0.0, 0),
        (ExfilFast, "loud", 50.0, 0.17, 0.0, 0),
        (ExfilFast, "medium", 10.0, 0.17, 0.0, 0),
        (ExfilFast, "careful", 3.0, 0.17, 0.0, 0),
        (Command, "loud", 6_000.0, 0.17, 0.0, 0),
        (Command, "medium", 10.0, 24.0, 0.0, 0),
        (Command, "careful", 1.0, 72.0, 0.0, 0),
        (Flood, "loud", 100.0, 0.0167, 0.0, 0),
        (Flood, "medium", 10.0, 0.0167, 0.0, 0),
        (Flood, "careful", 4.0, 0.167, 0.0, 0),
        (Slowite, "loud", 500.0, 24.0, 0.0, 0),
        (Slowite, "medium", 50.0, 24.0, 0.0, 0),
        (Slowite, "careful", 5.0, 72.0, 0.0, 0),
        (Flap, "loud", 3_600.0, 1.0, 0.0, 0),
        (Flap, "medium", 60.0, 24.0, 0.0, 0),
        (Flap, "careful", 3.0, 120.0, 0.0, 0),
        (Malformed, "loud", 600.0, 1.0, 0.0, 0),
        (Malformed, "medium", 6.0, 24.0, 0.0, 0),
        (Malformed, "careful", 2.0 / 24.0, WEEK, 0.0, 0),
        (Taught, "taught", 5.0, 240.0, 0.0, 0),
    ]
};

/// Own topics that get other shares: no class of the twelve, told beside them.
const MIX: [(&str, f64, f64); 3] =
    [("loud", 0.8, 24.0), ("medium", 0.35, 48.0), ("careful", 0.15, 120.0)];

/// All cells of the table.
pub(super) fn plan(count: u64) -> Vec<Spec> {
    let table = PLAN.iter().map(|(class, grade, amount, hours, sigmas, networks)| Spec {
        class: *class,
        grade: (*grade).to_owned(),
        amount: *amount,
        hours: *hours,
        sigmas: *sigmas,
        from: if *networks == 0 { From::Home } else { From::Foreign },
        networks: (*networks).max(1),
        same_software: *grade == "same_software",
        count,
    });
    let mix = MIX.iter().map(|(grade, amount, hours)| Spec {
        class: Class::Mix,
        grade: (*grade).to_owned(),
        amount: *amount,
        hours: *hours,
        sigmas: 0.0,
        from: From::Home,
        networks: 1,
        same_software: false,
        count,
    });
    table.chain(mix).collect()
}

/// The attacks of a scenario.
#[derive(Clone, Debug)]
pub struct Attacks {
    /// Not before this day.
    pub from_day: f64,
    /// At most this share of a group is hostile at a time.
    pub share: f64,
    /// The cells.
    pub specs: Vec<Spec>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAttacks {
    each: Option<Whole<0, 100_000>>,
    from_day: Option<Real<0, 3_650_000>>,
    share: Option<Real<1, 200>>,
    classes: Option<Vec<Class>>,
    variants: Option<Vec<RawVariant>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVariant {
    class: Class,
    grade: String,
    amount: Real<0, 1_000_000_000>,
    hours: Real<10, 8_760_000>,
    sigmas: Option<Real<0, 100_000>>,
    from: Option<From>,
    networks: Option<Whole<1, 4_000>>,
    same_software: Option<bool>,
    count: Option<Whole<1, 100_000>>,
}

impl RawAttacks {
    pub(super) fn attacks(&self) -> Attacks {
        let each = self.each.map_or(2, |given| given.0);
        let mut specs = plan(each);
        if let Some(classes) = &self.classes {
            specs.retain(|spec| classes.contains(&spec.class));
        }
        for raw in self.variants.iter().flatten() {
            specs.push(Spec {
                class: raw.class,
                grade: raw.grade.clone(),
                amount: raw.amount.0,
                hours: raw.hours.0,
                sigmas: raw.sigmas.map_or(0.0, |given| given.0),
                from: raw.from.unwrap_or(From::Home),
                networks: raw.networks.map_or(1, |given| given.0),
                same_software: raw.same_software.unwrap_or(false),
                count: raw.count.map_or(each, |given| given.0),
            });
        }
        specs.retain(|spec| spec.count > 0);
        Attacks {
            from_day: self.from_day.map_or(8.0, |given| given.0),
            share: self.share.map_or(0.03, |given| given.0),
            specs,
        }
    }
}
