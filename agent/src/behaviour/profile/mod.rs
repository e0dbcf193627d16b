//! Profile of one device, in bounded memory: only histograms and topics that were used own something on the heap.

use tessera_token::refusal::RefusalCode;

use super::config::BehaviourConfig;
use super::observation::SubjectKind;
use super::observer::What;
use histogram::Histogram;
use live::Live;
use networks::Networks;
use rate::Rate;
use record::{Cut, Take};
use topics::Topics;
use window::{count, Counts, Window};

pub(crate) mod histogram;
mod live;
mod networks;
mod rate;
mod record;
#[cfg(test)]
mod tests;
pub(crate) mod topics;
mod window;

pub(crate) use rate::Slot;
pub(super) use record::{Cut as RecordCut, Take as RecordTake};

const VERSION: u8 = 1;
/// Seconds of life after which habits count as learned.
const LEARNED_SECONDS: u32 = 600;

/// One device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(super) first_seen: u32,
    pub(super) last_seen: u32,
    pub(super) kind: SubjectKind,
    pub(super) group: u64,
    pub(super) rate: Rate,
    topics: Topics,
    pub(super) networks: Networks,
    live: Live,
    window: Window,
    pub(super) connects_an_hour: Histogram,
    connect_hour: u32,
    connects_this_hour: u16,
    gaps: Histogram,
    /// Hours of the day (UTC) with activity, and the days on which there was any.
    hours: u32,
    days: u16,
    last_day: u32,
    /// Set while activity lies in an hour that was never used.
    pub(super) odd_hour: bool,
    pub(super) totals: Totals,
    pub(super) episode: Episode,
}

/// Counts over the device's whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) published: u64,
    pub(crate) bytes: u64,
    pub(crate) connects: u32,
    pub(crate) subscribes: u32,
    pub(crate) alerts: u16,
    /// By [`RefusalGroup`].
    pub(crate) refusals: [u16; RefusalGroup::COUNT],
}

/// Reported part of the present trouble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Episode {
    /// The signals that were told, as bits.
    pub(crate) told: u32,
    /// When one of them last spoke.
    pub(crate) last: u32,
}

/// Refusal codes as far as behaviour tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalGroup {
    Scope,
    Forged,
    Unproved,
    Replayed,
    Clock,
    Impersonated,
    Revoked,
    Limit,
    Other,
}

impl RefusalGroup {
    const COUNT: usize = 9;

    fn of(code: RefusalCode) -> Self {
        match code {
            RefusalCode::PublishNotAuthorised
            | RefusalCode::SubscribeNotAuthorised
            | RefusalCode::WillNotAuthorised => Self::Scope,
            RefusalCode::ProofInvalid | RefusalCode::ProofMalformed => Self::Forged,
            RefusalCode::ProofMissing => Self::Unproved,
            RefusalCode::ProofReplayed => Self::Replayed,
            RefusalCode::ProofNotFresh => Self::Clock,
            RefusalCode::ClientIdMismatch => Self::Impersonated,
            RefusalCode::TokenRevoked | RefusalCode::DeviceEpoch => Self::Revoked,
            RefusalCode::LimitReached | RefusalCode::ShareUsedUp | RefusalCode::RateLimited => {
                Self::Limit
            }
            _ => Self::Other,
        }
    }
}

impl Profile {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { first_seen: seconds(now_ms), last_seen: seconds(now_ms), ..Self::default() }
    }

    /// Whether its habits can be judged by themselves.
    pub(super) fn is_learned(&self) -> bool {
        self.last_seen.saturating_sub(self.first_seen) >= LEARNED_SECONDS
    }

    pub(super) fn is_live(&self) -> bool {
        self.live.is_any()
    }

    pub(super) fn counts(&self) -> Counts {
        self.window.counts()
    }

    /// The proof counter's usual steps.
    pub(super) fn usual_gap(&self) -> Option<u64> {
        (self.gaps.count() >= 20).then(|| self.gaps.percentile(99))
    }

    /// Takes in what a session saw. Returns a slot of publishes that was completed, for the group's baseline.
    pub(super) fn take(
        &mut self,
        what: &What,
        session: u32,
        activity: (u32, u64),
        config: &BehaviourConfig,
        now_ms: u64,
    ) -> Option<Slot> {
        let now = seconds(now_ms);
        match *what {
            What::Activity => {}
            What::Topic(topic) => self.topic(topic, now_ms),
            What::Connected { network, key, group, kind } => {
                (self.group, self.kind) = (group, kind);
                self.connected(session, network, key, now_ms);
            }
            What::Disconnected { clean } => {
                self.live.closed(session);
                let counts = self.window.at(now_ms);
                counts.lost = counts.lost.saturating_add(u16::from(!clean));
            }
            What::Subscribed => self.totals.subscribes = self.totals.subscribes.saturating_add(1),
            What::Refused { code, topic } => self.refused(code, topic, now_ms),
            What::RequestRefused { code } => {
                self.total(code);
                count(&mut self.window.at(now_ms).requests);
            }
            What::Outside { code, network } => self.outside(code, network, now_ms),
            What::Gap(gap) => self.gap(gap, now_ms),
        }
        if !matches!(what, What::Outside { .. } | What::Gap(_)) {
            self.active_at(now);
        }
        self.last_seen = now.max(self.last_seen);
        let (published, bytes) = activity;
        if published == 0 {
            return None;
        }
        if self.live.worked(session, now_ms) {
            count(&mut self.window.at(now_ms).switches);
        }
        self.totals.published += u64::from(published);
        self.totals.bytes += bytes;
        self.rate.add(published, bytes, self.ceilings(config), now_ms)
    }

    /// Publishes and bytes that a device without a baseline may reach in a slot.
    pub(super) fn ceilings(&self, config: &BehaviourConfig) -> (u64, u64) {
        let factor = match self.kind {
            SubjectKind::Device => 1,
            SubjectKind::Service => u64::from(config.service_factor),
        };
        let of = |a_second: u32| u64::from(a_second) * rate::SLOT_SECONDS * factor;
        (of(config.ceiling_publishes), of(config.ceiling_bytes))
    }

    fn topic(&mut self, topic: u64, now_ms: u64) {
        if self.topics.add(topic) && self.is_learned() {
            count(&mut self.window.at(now_ms).new_topics);
        }
    }

    fn connected(&mut self, session: u32, network: u32, key: u32, now_ms: u64) {
        let now = seconds(now_ms);
        if now / 3600 > self.connect_hour {
            if self.connect_hour != 0 {
                self.connects_an_hour.add(u64::from(self.connects_this_hour));
            }
            (self.connect_hour, self.connects_this_hour) = (now / 3600, 0);
        }
        count(&mut self.connects_this_hour);
        self.totals.connects = self.totals.connects.saturating_add(1);
        let switched = self.live.opened(session, network, key, now_ms);
        self.networks.add(network, now);
        let counts = self.window.at(now_ms);
        count(&mut counts.connects);
        counts.switches = counts.switches.saturating_add(u16::from(switched));
    }

    fn refused(&mut self, code: RefusalCode, topic: u64, now_ms: u64) {
        let group = self.total(code);
        let counts = self.window.at(now_ms);
        match group {
            RefusalGroup::Scope => {
                count(&mut counts.refused);
                topics::mark(&mut counts.refused_topics, topic);
            }
            _ => count(&mut counts.other_refusals),
        }
    }

    fn outside(&mut self, code: RefusalCode, network: u32, now_ms: u64) {
        let group = self.total(code);
        let foreign = self.networks.any() && !self.networks.knows(network);
        let counts = self.window.at(now_ms);
        let counter = match group {
            RefusalGroup::Forged => &mut counts.forged,
            RefusalGroup::Unproved => &mut counts.unproved,
            RefusalGroup::Replayed => &mut counts.replayed,
            RefusalGroup::Impersonated => &mut counts.impersonated,
            RefusalGroup::Clock => &mut counts.wrong_clock,
            RefusalGroup::Scope => &mut counts.refused,
            _ => &mut counts.other_refusals,
        };
        count(counter);
        let stolen =
            matches!(group, RefusalGroup::Forged | RefusalGroup::Unproved | RefusalGroup::Replayed);
        counts.foreign = counts.foreign.saturating_add(u16::from(foreign && stolen));
    }

    fn total(&mut self, code: RefusalCode) -> RefusalGroup {
        let group = RefusalGroup::of(code);
        if let Some(total) = self.totals.refusals.get_mut(group as usize) {
            count(total);
        }
        group
    }

    fn gap(&mut self, gap: u32, now_ms: u64) {
        let counts = self.window.at(now_ms);
        counts.largest_gap = counts.largest_gap.max(gap);
        self.gaps.add(u64::from(gap));
    }

    fn active_at(&mut self, now: u32) {
        let hour = 1 << (now / 3600 % 24);
        self.odd_hour = self.days >= 14 && (self.odd_hour || self.hours & hour == 0);
        if now / 86_400 > self.last_day {
            self.last_day = now / 86_400;
            self.days = self.days.saturating_add(1);
            self.odd_hour = self.days >= 14 && self.hours & hour == 0;
        }
        self.hours |= hour;
    }

    /// Takes back to `now_ms` what lies ahead of it: it was noted while a clock was ahead.
    pub(super) fn heal(&mut self, now_ms: u64) {
        let now = seconds(now_ms);
        self.first_seen = self.first_seen.min(now);
        self.last_seen = self.last_seen.min(now);
        self.last_day = self.last_day.min(now / 86_400);
        self.connect_hour = self.connect_hour.min(now / 3600);
        self.rate.heal(now_ms);
        self.networks.heal(now);
        self.live.heal(now_ms);
        self.window.heal(now_ms);
        if self.episode.last > now {
            self.episode = Episode::default();
        }
    }

    /// The learned part, for the store. Sessions and the present window are not in it.
    pub(super) fn to_record(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.kind == SubjectKind::Service)];
        out.extend(self.first_seen.to_le_bytes());
        out.extend(self.last_seen.to_le_bytes());
        out.extend(self.group.to_le_bytes());
        self.rate.write(&mut out);
        self.topics.write(&mut out);
        self.networks.write(&mut out);
        self.connects_an_hour.write(&mut out);
        self.gaps.write(&mut out);
        out.extend(self.hours.to_le_bytes());
        out.extend(self.days.to_le_bytes());
        out.extend(self.last_day.to_le_bytes());
        let totals = &self.totals;
        out.extend(totals.published.to_le_bytes());
        out.extend(totals.bytes.to_le_bytes());
        out.extend(totals.connects.to_le_bytes());
        out.extend(totals.subscribes.to_le_bytes());
        out.extend(totals.alerts.to_le_bytes());
        totals.refusals.iter().for_each(|count| out.extend(count.to_le_bytes()));
        out.extend(self.episode.told.to_le_bytes());
        out.extend(self.episode.last.to_le_bytes());
        out
    }

    /// Reads the bytes that [`Profile::to_record`] wrote.
    pub(super) fn from_record(record: &[u8]) -> Result<Self, Cut> {
        let mut from = Take(record);
        if from.u8()? != VERSION {
            return Err(Cut);
        }
        let kind = match from.u8()? {
            0 => SubjectKind::Device,
            _ => SubjectKind::Service,
        };
        let mut profile = Self {
            kind,
            first_seen: from.u32()?,
            last_seen: from.u32()?,
            group: from.u64()?,
            rate: Rate::read(&mut from)?,
            topics: Topics::read(&mut from)?,
            networks: Networks::read(&mut from)?,
            connects_an_hour: Histogram::read(&mut from)?,
            gaps: Histogram::read(&mut from)?,
            hours: from.u32()?,
            days: from.u16()?,
            last_day: from.u32()?,
            ..Self::default()
        };
        profile.totals = Totals {
            published: from.u64()?,
            bytes: from.u64()?,
            connects: from.u32()?,
            subscribes: from.u32()?,
            alerts: from.u16()?,
            refusals: [0; RefusalGroup::COUNT],
        };
        for count in &mut profile.totals.refusals {
            *count = from.u16()?;
        }
        profile.episode = Episode { told: from.u32()?, last: from.u32()? };
        from.end()?;
        Ok(profile)
    }
}

pub(super) fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
}
