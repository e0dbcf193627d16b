//! Ground truth, arranged so that alerts can be judged by it.

use std::collections::{BTreeMap, HashMap, HashSet};

use tessera_behaviour::observation::UnixMillis;
use tessera_behaviour::truth::Truth;

use super::verdicts::{About, Told, Verdicts};
use super::{Cell, Sheet, Wrong};

const DAY: UnixMillis = 24 * 3_600_000;
/// For so long after its end an attack can still be found.
const AFTER: UnixMillis = DAY;
/// Probing that is spread over a tenant: one act does not make the device a victim.
const SPREAD: &str = "probe_spread";

#[derive(Debug, Default)]
struct Subject {
    persona: String,
    group: u64,
    begin: UnixMillis,
    end: UnixMillis,
    /// Begin, end and number of each attack.
    attacks: Vec<(UnixMillis, UnixMillis, u64)>,
    /// The first attack that is not spread.
    cut: Option<UnixMillis>,
    /// Begin, end and place of each cause.
    causes: Vec<(UnixMillis, UnixMillis, usize)>,
}

#[derive(Debug)]
struct Instance {
    class: String,
    grade: String,
    tenant: String,
    persona: String,
    begin: UnixMillis,
    end: UnixMillis,
    has_devices: bool,
    is_of_tenant: bool,
}

/// Ground truth of one run.
#[derive(Debug, Default)]
pub struct Judge {
    devices: BTreeMap<(String, String), Subject>,
    instances: BTreeMap<u64, Instance>,
    /// Names of causes, those that explain most first.
    causes: Vec<String>,
}

/// The order in which causes explain a wrong alert.
fn rank(cause: &str) -> usize {
    const ORDER: [&str; 8] = [
        "rollout",
        "rollout announced",
        "outage",
        "reconfiguration",
        "battery",
        "renamed",
        "newcomer",
        "season",
    ];
    ORDER.iter().position(|name| *name == cause).unwrap_or(ORDER.len())
}

impl Judge {
    /// Arranges the ground truth of one run.
    pub fn of(truth: &[Truth]) -> Self {
        let mut judge = Self::default();
        for line in truth {
            if let Truth::Device { tenant, device, persona, group, begin, end } = line {
                let subject = Subject {
                    persona: persona.clone(),
                    group: *group,
                    begin: *begin,
                    end: *end,
                    ..Subject::default()
                };
                judge.devices.insert((tenant.clone(), device.clone()), subject);
            }
        }
        let mut causes: Vec<String> = truth.iter().filter_map(name_of).collect();
        causes.sort_by_key(|cause| (rank(cause), cause.clone()));
        causes.dedup();
        judge.causes = causes;
        for line in truth {
            match line {
                Truth::Device { .. } => {}
                Truth::Attack { .. } => judge.attack(line),
                Truth::Cause { tenant, devices, begin, end, .. } => {
                    let name = name_of(line);
                    let place = judge.causes.iter().position(|cause| Some(cause) == name.as_ref());
                    for device in devices {
                        let subject = judge.devices.get_mut(&(tenant.clone(), device.clone()));
                        if let (Some(subject), Some(place)) = (subject, place) {
                            subject.causes.push((*begin, *end, place));
                        }
                    }
                }
            }
        }
        judge
    }

    fn attack(&mut self, line: &Truth) {
        let Truth::Attack { tenant, device, class, grade, begin, end, instance } = line else {
            return;
        };
        let subject = self.devices.get_mut(&(tenant.clone(), device.clone()));
        let persona = subject.as_ref().map_or(String::new(), |subject| subject.persona.clone());
        let of = self.instances.entry(*instance).or_insert_with(|| Instance {
            class: class.clone(),
            grade: grade.clone(),
            tenant: tenant.clone(),
            persona,
            begin: *begin,
            end: *end,
            has_devices: false,
            is_of_tenant: false,
        });
        of.begin = of.begin.min(*begin);
        of.end = of.end.max(*end);
        of.has_devices |= !device.is_empty();
        of.is_of_tenant |= device.is_empty();
        if let Some(subject) = subject {
            subject.attacks.push((*begin, *end, *instance));
            if class != SPREAD {
                subject.cut = Some(subject.cut.map_or(*begin, |cut| cut.min(*begin)));
            }
        }
    }

    /// Judges alerts, those below the threshold left out.
    pub fn score(&self, verdicts: &Verdicts, threshold: f32) -> Sheet {
        let judged = self.judged(verdicts, threshold);
        let mut sheet = Sheet { name: verdicts.name.clone(), runs: 1, ..Sheet::default() };
        self.days(&mut sheet);
        sheet.messages = judged.wrong.len() as u64;
        sheet.echoes = judged.echoes;
        let mut seen = HashSet::new();
        let mut of_tenants = 0_u64;
        for wrong in &judged.wrong {
            if seen.insert(wrong.key) {
                sheet.wrong += 1;
                of_tenants += u64::from(wrong.is_campaign);
                let cause = wrong.cause.and_then(|place| self.causes.get(place));
                let cause = cause.map_or("none", String::as_str);
                sheet.causes.entry(cause.to_owned()).or_default().days += 1;
            }
        }
        let tenants: HashSet<&String> = self.devices.keys().map(|(tenant, _)| tenant).collect();
        let span = self.devices.values().map(|s| s.end.saturating_sub(s.begin)).max().unwrap_or(0);
        let tenant_days = tenants.len() as f64 * span as f64 / DAY as f64;
        let of_device = (sheet.wrong - of_tenants) as f64 / sheet.device_days.max(1.0);
        let of_tenant = of_tenants as f64 / tenant_days.max(1.0);
        for (number, instance) in &self.instances {
            let key = (instance.class.clone(), instance.grade.clone());
            let cell: &mut Cell = sheet.cells.entry(key).or_default();
            cell.attacks += 1;
            let days = (instance.end + AFTER - instance.begin) as f64 / DAY as f64;
            let rate = if instance.is_of_tenant { of_tenant } else { of_device };
            cell.luck += 1.0 - (1.0 - rate.min(1.0)).powf(days);
            let first = judged.found.get(number);
            if let Some(first) = first {
                cell.found += 1;
                cell.minutes.push(first.saturating_sub(instance.begin) as f64 / 60_000.0);
            }
            if instance.grade == "careful" && !instance.persona.is_empty() {
                let of = sheet.personas.entry(instance.persona.clone()).or_default();
                of.0 += u64::from(first.is_some());
                of.1 += 1;
            }
        }
        sheet
    }

    /// The lowest threshold at which no more than so many of 1,000 honest device-days have a wrong alert.
    pub fn threshold_for(&self, verdicts: &Verdicts, budget: f64) -> f32 {
        let mut best: HashMap<Key, f32> = HashMap::new();
        for wrong in &self.judged(verdicts, f32::MIN).wrong {
            let score = best.entry(wrong.key).or_insert(f32::MIN);
            *score = score.max(wrong.score);
        }
        let mut sheet = Sheet::default();
        self.days(&mut sheet);
        let allowed = (budget / 1_000.0 * sheet.device_days).floor() as usize;
        let mut scores: Vec<f32> = best.into_values().collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        // Just above the first one that is too much.
        scores.get(allowed).map_or(f32::MIN, |score| score.next_up())
    }

    /// Honest device-days, of all and under each cause.
    fn days(&self, sheet: &mut Sheet) {
        for subject in self.devices.values() {
            let until = subject.cut.unwrap_or(subject.end);
            let within = |begin: UnixMillis, end: UnixMillis| {
                let (begin, end) = (begin.max(subject.begin), end.min(until));
                end.saturating_sub(begin) as f64 / DAY as f64
            };
            sheet.device_days += within(0, UnixMillis::MAX);
            for (begin, end, place) in &subject.causes {
                if let Some(cause) = self.causes.get(*place) {
                    let wrong: &mut Wrong = sheet.causes.entry(cause.clone()).or_default();
                    wrong.of += within(*begin, *end);
                }
            }
        }
    }

    fn judged(&self, verdicts: &Verdicts, threshold: f32) -> Judged {
        let mut judged = Judged::default();
        // Each name is looked up once.
        let tenants = &verdicts.names;
        let mut found: HashMap<(u32, u32), Option<&Subject>> = HashMap::new();
        let mut subject = |tenant: u32, device: u32| {
            *found.entry((tenant, device)).or_insert_with(|| {
                let name = |place: u32| tenants.get(place as usize).cloned().unwrap_or_default();
                self.devices.get(&(name(tenant), name(device)))
            })
        };
        for told in verdicts.told.iter().filter(|told| told.score >= threshold) {
            match told.about {
                About::Device(device) => {
                    let of = subject(told.tenant, device);
                    self.of_device(told, device, of, &mut judged);
                }
                About::Group(_) | About::Campaign(_) => {
                    let listed: Vec<_> =
                        told.devices.iter().map(|device| subject(told.tenant, *device)).collect();
                    let tenant = verdicts.names.get(told.tenant as usize);
                    self.of_many(told, tenant.map_or("", String::as_str), &listed, &mut judged);
                }
            }
        }
        judged
    }

    fn of_device(&self, told: &Told, device: u32, of: Option<&Subject>, judged: &mut Judged) {
        let attacks = of.map(|subject| subject.attacks.as_slice()).unwrap_or_default();
        let mut is_right = false;
        for (begin, end, number) in attacks {
            if (*begin..=end + AFTER).contains(&told.at) {
                judged.found(*number, told.at);
                is_right = true;
            }
        }
        let cut = of.and_then(|subject| subject.cut);
        if is_right {
            return;
        }
        if cut.is_some_and(|cut| told.at > cut) {
            judged.echoes += 1;
            return;
        }
        judged.wrong.push(WrongAlert {
            key: (0, u64::from(told.tenant) << 32 | u64::from(device), told.at / DAY),
            score: told.score,
            cause: of.and_then(|subject| cause_at(subject, told.at)),
            is_campaign: false,
        });
    }

    fn of_many(&self, told: &Told, tenant: &str, listed: &[Option<&Subject>], judged: &mut Judged) {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for subject in listed.iter().flatten() {
            let attacks = subject.attacks.iter();
            let now: HashSet<u64> = attacks
                .filter(|(begin, end, _)| (*begin..=end + AFTER).contains(&told.at))
                .map(|(.., number)| *number)
                .collect();
            for number in now {
                *counts.entry(number).or_default() += 1;
            }
        }
        let mut is_right = false;
        for (number, count) in counts {
            if count * 2 >= listed.len() {
                judged.found(number, told.at);
                is_right = true;
            }
        }
        if listed.is_empty() && matches!(told.about, About::Campaign(_)) {
            let of_tenant = self.instances.iter().filter(|(_, instance)| {
                let is_now = (instance.begin..=instance.end + AFTER).contains(&told.at);
                instance.tenant == tenant && !instance.has_devices && is_now
            });
            for (number, _) in of_tenant {
                judged.found(*number, told.at);
                is_right = true;
            }
        }
        if is_right {
            return;
        }
        let (kind, number) = match told.about {
            About::Group(number) => (1, number),
            About::Campaign(place) => (2, u64::from(told.tenant) << 32 | u64::from(place)),
            About::Device(device) => (0, u64::from(device)),
        };
        let of_group = |number| self.devices.values().find(|subject| subject.group == number);
        let one = match told.about {
            About::Group(number) => {
                listed.iter().flatten().next().copied().or_else(|| of_group(number))
            }
            _ => listed.iter().flatten().next().copied(),
        };
        judged.wrong.push(WrongAlert {
            key: (kind, number, told.at / DAY),
            score: told.score,
            cause: one.and_then(|subject| cause_at(subject, told.at)),
            is_campaign: kind == 2,
        });
    }
}

type Key = (u8, u64, u64);

#[derive(Debug)]
struct WrongAlert {
    key: Key,
    score: f32,
    cause: Option<usize>,
    is_campaign: bool,
}

#[derive(Debug, Default)]
struct Judged {
    found: HashMap<u64, UnixMillis>,
    wrong: Vec<WrongAlert>,
    echoes: u64,
}

impl Judged {
    fn found(&mut self, number: u64, at: UnixMillis) {
        let first = self.found.entry(number).or_insert(at);
        *first = (*first).min(at);
    }
}

/// The cause that explains most, of those at a time.
fn cause_at(subject: &Subject, at: UnixMillis) -> Option<usize> {
    let causes = subject.causes.iter();
    causes.filter(|(begin, end, _)| (*begin..=*end).contains(&at)).map(|(.., place)| *place).min()
}

/// The name of a cause, with announced roll-outs apart.
fn name_of(line: &Truth) -> Option<String> {
    match line {
        Truth::Cause { cause, announced: true, .. } => Some(format!("{cause} announced")),
        Truth::Cause { cause, .. } => Some(cause.clone()),
        _ => None,
    }
}
