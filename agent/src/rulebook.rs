//! The rules of one tenant, as the trust data have them: compiled, with their counts.

use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};

use tessera_rules::attributes::Attributes;
use tessera_rules::rule::wire::WireError;
use tessera_rules::rule::Rule;
use tessera_rules::set::{Counters, Picked, RuleSet, Verdicts};
use tessera_token::ids::TenantId;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::RuleEntry;

/// The rules of one tenant. A change makes another one, which goes on with the counts.
pub struct Rulebook {
    set: RuleSet,
    counters: Counters,
    entries: BTreeMap<String, Entry>,
    /// Rules that found no place in the set, and why.
    left_out: Vec<(String, &'static str)>,
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
        entries: BTreeMap<String, Entry>,
        before: Option<&Self>,
        floor: UnixSeconds,
    ) -> Option<Self> {
        if entries.is_empty() {
            return None;
        }
        let read = |entry: &Entry| match entry {
            Entry::Read(rule) => Some((**rule).clone()),
            Entry::Unread(_) => None,
        };
        let rules = entries.values().filter_map(read).collect();
        let floor = before.map_or(floor, |before| before.set.seen().max(floor));
        let (set, left_out) = RuleSet::fill(tenant, rules, floor);
        for (rule, why) in &left_out {
            tracing::error!(rule, %why, "a rule is not applied here");
        }
        let left_out = left_out.into_iter().map(|(id, why)| (id, why.code())).collect();
        let counters = match before {
            Some(before) => Counters::after(&set, &before.set, &before.counters),
            None => Counters::new(&set),
        };
        Some(Self { set, counters, entries, left_out })
    }

    /// The compiled rules.
    pub fn set(&self) -> &RuleSet {
        &self.set
    }

    /// Judges an event, and counts it. Should the evaluation break, each rule that picks the event counts as one that
    /// holds, and no other does.
    pub fn judge(&self, picked: &mut Picked, event: &Attributes<'_>) -> Verdicts<'_> {
        let evaluate = AssertUnwindSafe(|| self.set.evaluate(picked, event));
        let judged = catch_unwind(evaluate);
        let verdicts = judged.unwrap_or_else(|_| self.set.closed(picked, event));
        if !verdicts.is_empty() {
            self.counters.add(&verdicts, event.moment.now, |rule| {
                tracing::error!(
                    tenant = event.session.tenant,
                    rule = rule.draft().id,
                    "a rule broke again and again and is suspended here: remove it and put it anew"
                );
            });
        }
        verdicts
    }

    /// Their counts since they came.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether there is a rule of this name.
    pub fn has(&self, id: &str) -> bool {
        self.entries.contains_key(id)
    }

    /// Names of rules that are not applied here, and the codes that say why.
    pub fn unread(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let unread = self.entries.iter().filter_map(|(id, entry)| match entry {
            Entry::Unread(code) => Some((id.as_str(), *code)),
            Entry::Read(_) => None,
        });
        unread.chain(self.left_out.iter().map(|(id, code)| (id.as_str(), *code)))
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

#[cfg(test)]
mod tests {
    use tessera_rules::attributes::{Event, Moment, On, Publish, Session};
    use tessera_rules::limits::RULES;
    use tessera_rules::rule::{Action, Draft, Mode, Selector};

    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn draft(id: &str, version: u64) -> Draft {
        Draft {
            id: id.into(),
            version,
            on: On::Publish,
            selector: Selector {
                tenant: "acme".into(),
                devices: vec!["d-1".into()],
                ..Selector::default()
            },
            text: "bytes > 10".into(),
            action: Action::Deny,
            mode: Mode::Enforce,
            not_before: NOW,
            expires: NOW.plus(60),
            author: "maria".into(),
            reason: "a test".into(),
        }
    }

    fn entry(id: &str, rule: Vec<u8>) -> RuleEntry {
        RuleEntry { tenant: TenantId::parse("acme").unwrap(), id: id.into(), rule }
    }

    fn put(book: Option<&Rulebook>, draft: Draft) -> Option<Rulebook> {
        let (id, rule) = (draft.id.clone(), Rule::new(draft).unwrap().to_cbor());
        Rulebook::after(book, &entry(&id, rule), NOW)
    }

    fn denies(book: &Rulebook, at: UnixSeconds) -> bool {
        let session = Session { tenant: "acme", device: "d-1", ..Session::default() };
        let moment = Moment { now: at, ..Moment::default() };
        let event = Event::Publish(Publish { topic: "d/d-1", bytes: 11, ..Publish::default() });
        let attributes = Attributes { session: &session, moment, event };
        book.judge(&mut Picked::default(), &attributes).strongest().is_some()
    }

    fn held(book: &Rulebook) -> Vec<u64> {
        book.counters().read(book.set()).map(|counts| counts.held).collect()
    }

    #[test]
    fn a_rule_goes_on_with_its_counts_when_another_one_comes() {
        let book = put(None, draft("a", 1)).unwrap();
        assert!(denies(&book, NOW) && denies(&book, NOW));
        let book = put(Some(&book), draft("b", 1)).unwrap();
        assert_eq!(held(&book), [2, 0]);
        // Another version is another rule.
        let book = put(Some(&book), draft("a", 2)).unwrap();
        assert_eq!(held(&book), [0, 0]);
        let book = Rulebook::after(Some(&book), &entry("a", Vec::new()), NOW).unwrap();
        assert!(Rulebook::after(Some(&book), &entry("b", Vec::new()), NOW).is_none());
    }

    #[test]
    fn a_rule_that_cannot_be_read_takes_no_other_with_it() {
        let book = put(None, draft("a", 1)).unwrap();
        let book = Rulebook::after(Some(&book), &entry("b", vec![0x80]), NOW).unwrap();
        // The bytes of another rule under this name.
        let other = Rule::new(draft("a", 1)).unwrap().to_cbor();
        let book = Rulebook::after(Some(&book), &entry("c", other), NOW).unwrap();
        let unread: Vec<_> = book.unread().collect();
        assert_eq!(unread, [("b", "rule_form"), ("c", "rule_form")]);
        assert!(denies(&book, NOW) && book.len() == 3);
    }

    #[test]
    fn rules_beyond_the_bound_are_named_and_come_in_when_there_is_room() {
        let mut book = None;
        for number in 0..=RULES {
            book = put(book.as_ref(), draft(&format!("r-{number:02}"), 1));
        }
        let book = book.unwrap();
        let unread: Vec<_> = book.unread().collect();
        assert_eq!(unread, [("r-64", "rule_set_full")]);
        let book = Rulebook::after(Some(&book), &entry("r-00", Vec::new()), NOW).unwrap();
        assert_eq!((book.unread().count(), book.set().rules().count()), (0, RULES));
    }

    #[test]
    fn a_rule_that_ended_does_not_come_back_with_a_clock_that_is_set_back() {
        let book = put(None, draft("a", 1)).unwrap();
        assert!(denies(&book, NOW.plus(59)) && !denies(&book, NOW.plus(60)));
        assert!(!denies(&book, NOW));
        let book = put(Some(&book), draft("b", 1)).unwrap();
        assert!(!denies(&book, NOW), "nor with a set that is made anew");
        assert!(book.has_ended(NOW.plus(61)));
        let acme = TenantId::parse("acme").unwrap();
        assert!(book.alive_at(&acme, NOW.plus(61)).is_none());
    }
}
