//! The rules of one tenant, compiled: an event is judged in some nanoseconds, without an allocation and without an error.
//!
//! Selectors are bit sets. The bits of a session are made once ([`Picked`]); an event of a session that no rule picks costs
//! one comparison. Time only goes forward: a rule that has ended does not come back when a clock is set back.
//!
//! The failure rule: a checked rule cannot fail. Should its evaluation break all the same, the caller asks for
//! [`RuleSet::closed`], where each rule that the selector picks counts as one that holds, and no other does. A rule that
//! breaks again and again is suspended ([`Counters::add`]).

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use tessera_token::hash::sha256;
use tessera_token::ids::TenantId;
use tessera_token::time::UnixSeconds;

use crate::attributes::{Attributes, On, Session};
use crate::limits;
use crate::rule::{reaches, Mode, Rule};

mod counters;
#[cfg(test)]
mod tests;
mod verdict;

pub use counters::{Counters, Counts};
pub use verdict::Verdicts;

/// The rules of one tenant.
#[derive(Debug)]
pub struct RuleSet {
    tenant: TenantId,
    /// A mark of the contents, never 0.
    mark: u64,
    lanes: [Lane; 3],
    /// The highest time that was seen, in seconds.
    seen: AtomicU64,
}

/// The rules of one event. The strongest action is first, so the lowest bit is the strongest rule.
#[derive(Debug)]
struct Lane {
    rules: Box<[Rule]>,
    /// Rules in the mode `enforce`.
    enforced: u64,
    /// Rules with a topic prefix.
    prefixed: u64,
    /// Rules that were suspended since the set was built.
    suspended: AtomicU64,
    roles: Keys,
    groups: Keys,
    devices: Keys,
}

/// The rules that pick a name.
#[derive(Debug, Default)]
struct Keys {
    /// Those that pick every name.
    every: u64,
    of: HashMap<Box<str>, u64>,
}

impl Keys {
    fn of(rules: &[Rule], list: impl Fn(&Rule) -> &[String]) -> Self {
        let mut keys = Self::default();
        for (at, rule) in rules.iter().enumerate() {
            let names = list(rule);
            if names.is_empty() {
                keys.every |= 1 << at;
            }
            for name in names {
                *keys.of.entry(name.as_str().into()).or_default() |= 1 << at;
            }
        }
        keys
    }

    fn pick(&self, name: &str) -> u64 {
        match self.of.is_empty() {
            true => self.every,
            false => self.every | self.of.get(name).copied().unwrap_or(0),
        }
    }
}

/// The rules that pick a session, by event. It belongs to one session, which keeps it from event to event: a value that was
/// made by another set is made anew, and the caller puts the default in its place when role or group change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Picked {
    mark: u64,
    bits: [u64; 3],
}

impl Picked {
    /// Whether a rule for this event picks the session.
    #[inline]
    pub fn has(&self, on: On) -> bool {
        self.bits.get(place(on)).is_some_and(|bits| *bits != 0)
    }

    /// Whether no rule picks the session.
    pub fn is_empty(&self) -> bool {
        self.bits == [0; 3]
    }
}

/// Why a rule is not in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// A rule of another tenant.
    Tenant {
        /// The rule.
        id: String,
        /// Its tenant.
        tenant: String,
    },
    /// Two rules of one name.
    Twice(String),
    /// More than [`limits::RULES`] for one event.
    TooMany(On),
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant { id, tenant } => {
                write!(f, "the rule {id} belongs to the tenant {tenant}, not to this set")
            }
            Self::Twice(id) => write!(f, "the rule {id} is there twice: take the newer version"),
            Self::TooMany(on) => write!(
                f,
                "a tenant has at most {} rules for {on}: remove those that have ended",
                limits::RULES
            ),
        }
    }
}

impl std::error::Error for SetError {}

impl SetError {
    /// The stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Tenant { .. } => "rule_tenant",
            Self::Twice(_) => "rule_twice",
            Self::TooMany(_) => "rule_set_full",
        }
    }
}

impl Lane {
    fn new(mut rules: Vec<Rule>) -> Self {
        rules.sort_by(|a, b| {
            (b.draft().action, &a.draft().id).cmp(&(a.draft().action, &b.draft().id))
        });
        let bits = |is_in: &dyn Fn(&Rule) -> bool| {
            rules
                .iter()
                .enumerate()
                .filter(|(_, rule)| is_in(rule))
                .fold(0, |b, (at, _)| b | 1 << at)
        };
        Self {
            enforced: bits(&|rule| rule.draft().mode == Mode::Enforce),
            prefixed: bits(&|rule| !rule.draft().selector.topic_prefix.is_empty()),
            suspended: AtomicU64::new(0),
            roles: Keys::of(&rules, |rule| &rule.draft().selector.roles),
            groups: Keys::of(&rules, |rule| &rule.draft().selector.groups),
            devices: Keys::of(&rules, |rule| &rule.draft().selector.devices),
            rules: rules.into(),
        }
    }

    fn pick(&self, session: &Session<'_>) -> u64 {
        if self.rules.is_empty() {
            return 0;
        }
        self.roles.pick(session.role)
            & self.groups.pick(session.group)
            & self.devices.pick(session.device)
    }
}

/// The place of an event in arrays.
const fn place(on: On) -> usize {
    match on {
        On::Connect => 0,
        On::Publish => 1,
        On::Subscribe => 2,
    }
}

impl RuleSet {
    /// The set of the rules of a tenant. `floor` is the highest time that the caller has stored.
    ///
    /// # Errors
    /// [`SetError`].
    pub fn new(tenant: TenantId, rules: Vec<Rule>, floor: UnixSeconds) -> Result<Self, SetError> {
        let (set, left_out) = Self::fill(tenant, rules, floor);
        left_out.into_iter().next().map_or(Ok(set), |(_, error)| Err(error))
    }

    /// The same of the rules that can be in it. The others are named: one that is wrong takes no other with it.
    pub fn fill(
        tenant: TenantId,
        rules: Vec<Rule>,
        floor: UnixSeconds,
    ) -> (Self, Vec<(String, SetError)>) {
        let mut left_out = Vec::new();
        let mut ids = BTreeSet::new();
        let mut lanes = [const { Vec::new() }; 3];
        let mut bytes = tenant.as_str().as_bytes().to_vec();
        for rule in rules {
            let draft = rule.draft();
            if draft.selector.tenant != tenant.as_str() {
                let (id, tenant) = (draft.id.clone(), draft.selector.tenant.clone());
                left_out.push((id.clone(), SetError::Tenant { id, tenant }));
                continue;
            }
            if !ids.insert(draft.id.clone()) {
                left_out.push((draft.id.clone(), SetError::Twice(draft.id.clone())));
                continue;
            }
            let lane: Option<&mut Vec<Rule>> = lanes.get_mut(place(draft.on));
            match lane.filter(|lane| lane.len() < limits::RULES) {
                Some(lane) => {
                    bytes.extend(rule.to_cbor());
                    lane.push(rule);
                }
                None => left_out.push((draft.id.clone(), SetError::TooMany(draft.on))),
            }
        }
        let [a, b, c, d, e, f, g, h, ..] = sha256(&bytes);
        let set = Self {
            tenant,
            mark: u64::from_be_bytes([a, b, c, d, e, f, g, h]) | 1,
            lanes: lanes.map(Lane::new),
            seen: AtomicU64::new(floor.get()),
        };
        (set, left_out)
    }

    /// Every rule: those of connects, of publishes, of subscribes; the strongest action of each first.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.lanes.iter().flat_map(|lane| lane.rules.iter())
    }

    /// The highest time that was seen, for the caller to store.
    pub fn seen(&self) -> UnixSeconds {
        UnixSeconds::new(self.seen.load(Ordering::Relaxed))
    }

    /// The rules that pick a session.
    pub fn pick(&self, session: &Session<'_>) -> Picked {
        let is_ours = session.tenant == self.tenant.as_str();
        let bits = match is_ours {
            true => self.lanes.each_ref().map(|lane| lane.pick(session)),
            false => [0; 3],
        };
        Picked { mark: self.mark, bits }
    }

    /// The verdicts of the rules about an event.
    #[inline]
    pub fn evaluate(&self, picked: &mut Picked, attributes: &Attributes<'_>) -> Verdicts<'_> {
        self.judge(picked, attributes, false)
    }

    /// The verdicts when an evaluation broke: each rule that picks the event counts as one that holds. No other does, so
    /// an error never reaches beyond the selector.
    pub fn closed(&self, picked: &mut Picked, attributes: &Attributes<'_>) -> Verdicts<'_> {
        self.judge(picked, attributes, true)
    }

    #[inline]
    fn judge(&self, picked: &mut Picked, attributes: &Attributes<'_>, broke: bool) -> Verdicts<'_> {
        if picked.mark != self.mark {
            *picked = self.pick(attributes.session);
        }
        let on = attributes.event.on();
        let [connect, publish, subscribe] = &self.lanes;
        let [of_connect, of_publish, of_subscribe] = picked.bits;
        let (lane, bits) = match on {
            On::Connect => (connect, of_connect),
            On::Publish => (publish, of_publish),
            On::Subscribe => (subscribe, of_subscribe),
        };
        let mut verdicts = Verdicts::none(lane, on, broke);
        if bits != 0 {
            self.each(lane, bits, attributes, &mut verdicts);
        }
        verdicts
    }

    #[inline]
    fn each(&self, lane: &Lane, bits: u64, event: &Attributes<'_>, verdicts: &mut Verdicts<'_>) {
        let now = self.forward(event.moment.now);
        let mut rest = bits & !lane.suspended.load(Ordering::Relaxed);
        while rest != 0 {
            let at = rest.trailing_zeros();
            let bit = 1_u64 << at;
            rest ^= bit;
            let Some(rule) = lane.rules.get(at as usize) else { continue };
            let is_picked = rule.lives_at(now)
                && (lane.prefixed & bit == 0
                    || reaches(&rule.draft().selector.topic_prefix, event));
            if is_picked {
                verdicts.evaluated |= bit;
                if verdicts.broke || rule.program().holds(event) {
                    verdicts.held |= bit;
                }
            }
        }
    }

    /// The time, never below one that was seen.
    #[inline]
    fn forward(&self, now: UnixSeconds) -> UnixSeconds {
        let seen = self.seen.load(Ordering::Relaxed);
        if now.get() > seen {
            // Once a second: others read it alone.
            self.seen.fetch_max(now.get(), Ordering::Relaxed);
        }
        UnixSeconds::new(now.get().max(seen))
    }
}
