//! Refused attempts of operators: each has an entry of the audit log of its own, up to so many of an account in a minute. The
//! rest is counted, and told as one sum.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::limits::{ATTEMPTS_TOLD, ATTEMPTS_WINDOW};

/// Attempts by account. Only accounts that have shown their token are here, so there are no more than accounts.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<BTreeMap<String, Window>>);

struct Window {
    began: Duration,
    told: u64,
    counted: Counted,
}

/// Attempts that have no entries of their own.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) number: u64,
    /// The tenant of all of them; empty when they are of several.
    pub(crate) tenant: String,
}

impl Counted {
    fn add(&mut self, other: Self) {
        match self.number {
            0 => self.tenant = other.tenant,
            _ if self.tenant != other.tenant => self.tenant.clear(),
            _ => {}
        }
        self.number += other.number;
    }
}

impl Attempts {
    /// Whether this attempt of the account gets an entry of its own, in the log of this tenant; else it is counted. `now` is
    /// monotonic, here and below.
    pub(crate) fn is_told(&self, account: &str, tenant: &str, now: Duration) -> bool {
        let mut windows = self.0.lock();
        let window = windows.entry(account.to_owned()).or_insert_with(|| Window::at(now));
        if window.is_over(now) && window.counted.number == 0 {
            *window = Window::at(now);
        }
        let is_told = window.told < ATTEMPTS_TOLD;
        match is_told {
            true => window.told += 1,
            false => window.counted.add(Counted { number: 1, tenant: tenant.to_owned() }),
        }
        is_told
    }

    /// The accounts whose minute is over, with the attempts that were only counted. The caller tells them, or gives them
    /// back.
    pub(crate) fn due(&self, now: Duration) -> Vec<(String, Counted)> {
        let mut due = Vec::new();
        self.0.lock().retain(|account, window| {
            let is_over = window.is_over(now);
            if is_over && window.counted.number > 0 {
                due.push((account.clone(), std::mem::take(&mut window.counted)));
            }
            !is_over
        });
        due
    }

    /// Takes back what could not be told: it is due again.
    pub(crate) fn give_back(&self, due: Vec<(String, Counted)>) {
        let mut windows = self.0.lock();
        for (account, counted) in due {
            let fresh = || Window { told: ATTEMPTS_TOLD, ..Window::at(Duration::ZERO) };
            windows.entry(account).or_insert_with(fresh).counted.add(counted);
        }
    }
}

impl Window {
    fn at(began: Duration) -> Self {
        Self { began, told: 0, counted: Counted::default() }
    }

    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= ATTEMPTS_WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_entries_and_one_sum() {
        let attempts = Attempts::default();
        let at = Duration::from_secs;
        let told = |account: &str, count: u64, now: u64| {
            (0..count).filter(|_| attempts.is_told(account, "t", at(now))).count() as u64
        };
        let sum = |number, tenant: &str| {
            vec![("a".to_owned(), Counted { number, tenant: tenant.to_owned() })]
        };
        assert_eq!(told("a", 1_000, 0), ATTEMPTS_TOLD);
        assert_eq!(told("b", 1, 1), 1);
        assert_eq!(attempts.due(at(59)), []);
        // Until its sum is told, nothing more of the account is told alone.
        assert_eq!(told("a", 10, 60), 0);
        let due = attempts.due(at(60));
        assert_eq!(due, sum(1_010 - ATTEMPTS_TOLD, "t"));
        assert_eq!(attempts.due(at(61)), []);
        // The database did not take it.
        attempts.give_back(due);
        assert_eq!(told("a", 1, 61), 0);
        assert_eq!(attempts.due(at(61)), sum(1_011 - ATTEMPTS_TOLD, "t"));
        assert_eq!(told("a", 1, 61), 1);
        assert!(attempts.0.lock().len() <= 2);
        assert_eq!(attempts.due(at(500)), []);
        assert!(attempts.0.lock().is_empty());
        // A sum of several tenants is of none.
        assert_eq!(told("a", ATTEMPTS_TOLD, 600), ATTEMPTS_TOLD);
        assert!(!attempts.is_told("a", "t", at(600)) && !attempts.is_told("a", "u", at(600)));
        assert_eq!(attempts.due(at(660)), sum(2, ""));
    }
}
