//! All profiles, and the synchronous step: observations in, alerts out. No clock, no queue, no store.

use hashbrown::{Equivalent, HashMap, HashSet};
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::time::UnixSeconds;

use super::alert::{Alert, Signal};
use super::config::BehaviourConfig;
use super::observation::text_hash;
use super::observer::Entry;
use super::profile::histogram::Histogram;
use super::profile::{seconds, topics, Profile, RecordCut, RecordTake, Slot};
use super::signals::{self, View};
use crate::limits;

/// Slots and devices after which a group has a baseline.
const GROUP_SLOTS: u32 = 100;
const GROUP_DEVICES: u32 = 5;
/// Least weight of a signal that is reported alone.
const STRONG: u32 = 30;

/// Milliseconds by which time may go back unnoticed.
const WENT_BACK_MS: u64 = 60_000;

/// The names of a device.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Name {
    pub(super) tenant: TenantId,
    pub(super) device: DeviceId,
}

#[derive(Hash)]
struct NameRef<'a>(&'a str, &'a str);

impl Equivalent<Name> for NameRef<'_> {
    fn equivalent(&self, key: &Name) -> bool {
        self.1 == key.device.as_str() && self.0 == key.tenant.as_str()
    }
}

/// Usual values of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    publishes: Histogram,
    devices: u64,
    /// Whether the store has an older version.
    changed: bool,
}

impl Group {
    fn usual(&self) -> Option<u64> {
        let learned = self.publishes.count() >= GROUP_SLOTS
            && topics::distinct(self.devices) >= GROUP_DEVICES;
        learned.then(|| self.publishes.percentile(99))
    }

    pub(super) fn to_record(&self) -> Vec<u8> {
        let mut out = self.devices.to_le_bytes().to_vec();
        self.publishes.write(&mut out);
        out
    }

    pub(super) fn from_record(record: &[u8]) -> Result<Self, RecordCut> {
        let mut from = RecordTake(record);
        let devices = from.u64()?;
        let publishes = Histogram::read(&mut from)?;
        from.end()?;
        Ok(Self { publishes, devices, changed: false })
    }
}

pub(super) struct Tracked {
    pub(super) profile: Profile,
    /// Whether the store has an older version.
    pub(super) changed: bool,
}

/// Every device's profile, bounded.
pub(super) struct Tracker {
    config: BehaviourConfig,
    devices: HashMap<Name, Box<Tracked>>,
    groups: HashMap<(TenantId, u64), Group>,
    now_ms: u64,
    /// At most [`limits::PROFILES_EVICTED`]; further ones are counted in `rows_left_total`.
    evicted: Vec<Name>,
    evicted_total: u64,
    rows_left_total: u64,
    /// Devices of which an alert was told since a round of writing last asked: of those in the table alone.
    alerted: HashSet<Name>,
}

/// Which profiles one round of writing takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// All that changed.
    All,
    /// This part of those that changed, and all of which an alert was told.
    Part(u32),
}

impl Turn {
    fn is_of(self, name: &str) -> bool {
        let most = u64::from(limits::PROFILE_PARTS);
        match self {
            Self::All => true,
            Self::Part(part) => text_hash(name) % most == u64::from(part) % most,
        }
    }
}

impl Tracker {
    pub(super) fn new(config: BehaviourConfig) -> Self {
        Self {
            config,
            devices: HashMap::new(),
            groups: HashMap::new(),
            now_ms: 0,
            evicted: Vec::new(),
            evicted_total: 0,
            rows_left_total: 0,
            alerted: HashSet::new(),
        }
    }

    /// Begins at this time, before profiles are put back.
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Takes one observation in. Time does not go back; when it did all the same, what lies ahead of it is taken back,
    /// so that no window stays open and no episode lasts until that time has come.
    pub(super) fn step(&mut self, entry: &Entry, now_ms: u64) -> Option<Alert> {
        if now_ms.saturating_add(WENT_BACK_MS) < self.now_ms {
            self.now_ms = now_ms;
            self.devices.values_mut().for_each(|tracked| tracked.profile.heal(now_ms));
        }
        self.now_ms = self.now_ms.max(now_ms);
        let now_ms = self.now_ms;
        let session = entry.device.session();
        let activity = session.take();
        let name = NameRef(session.tenant.as_str(), session.device.as_str());
        if !self.devices.contains_key(&name) {
            self.make_room();
            let name = Name { tenant: session.tenant.clone(), device: session.device.clone() };
            let profile = Profile::new(now_ms);
            let changed = true;
            self.devices.insert(name, Box::new(Tracked { profile, changed }));
        }
        let tracked = self.devices.get_mut(&name)?;
        tracked.changed = true;
        let profile = &mut tracked.profile;
        let slot = profile.take(&entry.what, session.id, activity, &self.config, now_ms);
        let group = profile.group;
        let view = View {
            profile,
            group_usual: self.groups.get(&(session.tenant.clone(), group)).and_then(Group::usual),
            config: &self.config,
            now: seconds(now_ms),
        };
        let signals = signals::all(&view);
        let alert = judge(profile, signals, &self.config, seconds(now_ms));
        if let Some(slot) = slot {
            self.learn_group(&session.tenant, group, &session.device, slot);
        }
        if let Some((name, _)) = alert.as_ref().and(self.devices.get_key_value(&name)) {
            self.alerted.insert(name.clone());
        }
        alert.map(|(score, signals)| Alert {
            tenant: session.tenant.clone(),
            device: session.device.clone(),
            score,
            signals,
            at: UnixSeconds::new(now_ms / 1000),
        })
    }

    /// Puts a stored profile back. One that was written by a clock that was ahead is taken back to now; one that finds no
    /// room is let go.
    pub(super) fn restore(&mut self, name: Name, mut profile: Profile) {
        if self.now_ms > 0 {
            profile.heal(self.now_ms);
        }
        if self.devices.len() < self.config.most_devices {
            let changed = false;
            self.devices.insert(name, Box::new(Tracked { profile, changed }));
        } else {
            self.remove_rows([name]);
        }
    }

    pub(super) fn restore_group(&mut self, tenant: TenantId, number: u64, group: Group) {
        if self.groups.len() < limits::BEHAVIOUR_GROUPS {
            self.groups.insert((tenant, number), group);
        }
    }

    /// The devices of this turn whose profiles changed since they were last written.
    pub(super) fn changed(&mut self, turn: Turn) -> Vec<Name> {
        let alerted = std::mem::take(&mut self.alerted);
        let changed = self.devices.iter().filter(|(_, tracked)| tracked.changed);
        let now =
            changed.filter(|(name, _)| turn.is_of(name.device.as_str()) || alerted.contains(*name));
        now.map(|(name, _)| name.clone()).collect()
    }

    /// A profile to be written now, when it changed.
    pub(super) fn record(&mut self, name: &Name) -> Option<Vec<u8>> {
        let tracked = self.devices.get_mut(name).filter(|tracked| tracked.changed)?;
        tracked.changed = false;
        Some(tracked.profile.to_record())
    }

    /// These were not written after all.
    pub(super) fn not_written(&mut self, names: &[Name]) {
        for name in names {
            if let Some(tracked) = self.devices.get_mut(name) {
                tracked.changed = true;
            }
        }
    }

    /// The groups of this turn that changed since they were last written.
    pub(super) fn changed_groups(&mut self, turn: Turn) -> Vec<(TenantId, u64, Vec<u8>)> {
        let groups = self
            .groups
            .iter_mut()
            .filter(|((_, number), group)| group.changed && turn.is_of(&number.to_string()));
        let written = groups.map(|((tenant, number), group)| {
            group.changed = false;
            (tenant.clone(), *number, group.to_record())
        });
        written.collect()
    }

    /// These groups were not written after all.
    pub(super) fn groups_not_written(&mut self, groups: Vec<(TenantId, u64, Vec<u8>)>) {
        for (tenant, number, _) in groups {
            if let Some(group) = self.groups.get_mut(&(tenant, number)) {
                group.changed = true;
            }
        }
    }

    /// Devices whose rows could not be removed.
    pub(super) fn not_removed(&mut self, names: Vec<Name>) {
        self.remove_rows(names);
    }

    /// How many rows of devices that were let go stay in the store, since too many wait to be removed.
    pub(super) fn rows_left_total(&self) -> u64 {
        self.rows_left_total
    }

    /// While the store does not write, more and more wait. A row that is left is found again at the next start.
    fn remove_rows(&mut self, names: impl IntoIterator<Item = Name>) {
        for name in names {
            match self.evicted.len() < limits::PROFILES_EVICTED {
                true => self.evicted.push(name),
                false => self.rows_left_total += 1,
            }
        }
    }

    /// Devices that were let go since they were last asked for.
    pub(super) fn take_evicted(&mut self) -> Vec<Name> {
        std::mem::take(&mut self.evicted)
    }

    pub(super) fn evicted_total(&self) -> u64 {
        self.evicted_total
    }

    pub(super) fn len(&self) -> usize {
        self.devices.len()
    }

    fn learn_group(&mut self, tenant: &TenantId, number: u64, device: &DeviceId, slot: Slot) {
        let key = (tenant.clone(), number);
        if self.groups.len() >= limits::BEHAVIOUR_GROUPS && !self.groups.contains_key(&key) {
            return;
        }
        let group = self.groups.entry(key).or_default();
        let most = group.usual().map_or(u64::MAX, |usual| usual * 4);
        group.publishes.add(slot.publishes.min(most));
        topics::mark(&mut group.devices, text_hash(device.as_str()));
        group.changed = true;
    }

    /// Lets the longest idle go, those with open sessions last.
    fn make_room(&mut self) {
        if self.devices.len() < self.config.most_devices {
            return;
        }
        let mut idle: Vec<(bool, u32, &Name)> = self
            .devices
            .iter()
            .map(|(name, tracked)| (tracked.profile.is_live(), tracked.profile.last_seen, name))
            .collect();
        let part = (self.config.most_devices / limits::PROFILE_EVICT_PART).max(1);
        let part = part.min(idle.len()).saturating_sub(1);
        if idle.is_empty() {
            return;
        }
        idle.select_nth_unstable_by_key(part, |(live, seen, _)| (*live, *seen));
        let gone: Vec<Name> =
            idle.iter().take(part + 1).map(|(_, _, name)| (*name).clone()).collect();
        for name in &gone {
            self.devices.remove(name);
            self.alerted.remove(name);
        }
        self.evicted_total += gone.len() as u64;
        self.remove_rows(gone);
    }
}

/// The score, when it is to be told: at the start of an episode, and when a further strong signal joins it.
fn judge(
    profile: &mut Profile,
    mut signals: Vec<Signal>,
    config: &BehaviourConfig,
    now: u32,
) -> Option<(u32, Vec<Signal>)> {
    if signals.is_empty() {
        return None;
    }
    let score: u32 = signals.iter().map(|signal| signal.weight).sum::<u32>().min(100);
    if score < config.alert_score {
        return None;
    }
    let episode = &mut profile.episode;
    if now.saturating_sub(episode.last) > config.cool_down_seconds {
        episode.told = 0;
    }
    episode.last = now;
    let speaking = signals.iter().fold(0, |bits, signal| bits | signal.name.bit());
    let strong = signals
        .iter()
        .filter(|signal| signal.weight >= STRONG)
        .fold(0, |bits, signal| bits | signal.name.bit());
    let news = if episode.told == 0 { speaking } else { strong & !episode.told };
    if news == 0 {
        return None;
    }
    episode.told |= speaking;
    profile.totals.alerts = profile.totals.alerts.saturating_add(1);
    signals.sort_by_key(|signal| std::cmp::Reverse(signal.weight));
    Some((score, signals))
}
