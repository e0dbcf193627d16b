//! The rules of one tenant, as the trust data have them: compiled, with their counts.

use std::collections::BTreeMap;

use tessera_rules::attributes::On;
use tessera_rules::limits;
use tessera_rules::rule::wire::WireError;
use tessera_rules::rule::Rule;
use tessera_rules::set::{Counters, RuleSet};
use tessera_token::ids::TenantId;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::RuleEntry;

/// The rules of one tenant. A change makes another one, which goes on with the counts.
pub struct Rulebook {
    set: RuleSet,
    counters: Counters,
    entries: BTreeMap<String, Entry>,
}

/// A rule, or why it is not applied here.
#[derive(Clone)]
enum Entry {
    Read(Box<Rule>),
    Unread(&'static str),
}

impl Rulebook {
    /// The rules after a change; `None` when there are none. `floor` is the highest time that is stored.
    pub fn after(before: Option<&Self>, change: &RuleEntry, floor: UnixSeconds) -> Option<Self> {
        let mut entries = before.map(|before| before.entries.clone()).unwrap_or_default();
        match change.rule.is_empty() {
            true => drop(entries.remove(&change.id)),
            false => drop(entries.insert(change.id.clone(), Entry::of(change))),
        }
        Self::of(change.tenant.clone(), entries, before, floor)
    }

    /// The rules that do not end before `at`; `None` when there are none.
    pub fn alive_at(&self, tenant: &TenantId, at: UnixSeconds) -> Option<Self> {
        let mut entries = self.entries.clone();
        entries.retain(|_, entry| !entry.is_over(at));
        Self::of(tenant.clone(), entries, Some(self), at)
    }

    /// Whether a rule ended before `at`.
    pub fn has_ended(&self, at: UnixSeconds) -> bool {
        self.entries.values().any(|entry| entry.is_over(at))
    }

    fn of(
        tenant: TenantId,
        mut entries: BTreeMap<String, Entry>,
        before: Option<&Self>,
        floor: UnixSeconds,
    ) -> Option<Self> {
        if entries.is_empty() {
            return None;
        }
        let mut lanes = [0; 3];
        for entry in entries.values_mut() {
            let Entry::Read(rule) = entry else { continue };
            let lane = lanes.get_mut(lane(rule.draft().on))?;
            *lane += 1;
            if *lane > limits::RULES {
                *entry = Entry::Unread("rule_set_full");
            }
        }
        let read = |entry: &Entry| match entry {
            Entry::Read(rule) => Some((**rule).clone()),
            Entry::Unread(_) => None,
        };
        let rules = entries.values().filter_map(read).collect();
        let floor = before.map_or(floor, |before| before.set.seen().max(floor));
        // Tenant, names and numbers of rules were looked at above.
        let set = RuleSet::new(tenant, rules, floor).ok()?;
        let counters = match before {
            Some(before) => Counters::after(&set, &before.set, &before.counters),
            None => Counters::new(&set),
        };
        Some(Self { set, counters, entries })
    }

    /// The compiled rules.
    pub fn set(&self) -> &RuleSet {
        &self.set
    }

    /// Their counts since they came.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Names of rules that are not applied here, and the codes that say why.
    pub fn unread(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.entries.iter().filter_map(|(id, entry)| match entry {
            Entry::Unread(code) => Some((id.as_str(), *code)),
            Entry::Read(_) => None,
        })
    }

    /// How many there are, with those that are not applied.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    fn of(entry: &RuleEntry) -> Self {
        let code = match Rule::from_cbor(&entry.rule) {
            Ok(rule) => {
                let draft = rule.draft();
                if draft.id == entry.id && draft.selector.tenant == entry.tenant.as_str() {
                    return Self::Read(Box::new(rule));
                }
                WireError::Form.code()
            }
            Err(error) => error.code(),
        };
        tracing::error!(
            tenant = %entry.tenant,
            rule = %entry.id,
            code,
            "a rule is not applied here: update this program when the code is rule_unsupported, else put the rule anew"
        );
        Self::Unread(code)
    }

    fn is_over(&self, at: UnixSeconds) -> bool {
        matches!(self, Self::Read(rule) if rule.draft().expires < at)
    }
}

const fn lane(on: On) -> usize {
    match on {
        On::Connect => 0,
        On::Publish => 1,
        On::Subscribe => 2,
    }
}
