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
    counted: u64,
}

impl Attempts {
    /// Whether this attempt of the account gets an entry of its own; else it is counted. `now` is monotonic, here and below.
    pub(crate) fn is_told(&self, account: &str, now: Duration) -> bool {
        let mut windows = self.0.lock();
        let fresh = Window { began: now, told: 0, counted: 0 };
        let window = windows.entry(account.to_owned()).or_insert(fresh);
        let is_over = now.saturating_sub(window.began) >= ATTEMPTS_WINDOW;
        if is_over && window.counted == 0 {
            (window.began, window.told) = (now, 0);
        }
        match window.told < ATTEMPTS_TOLD {
            true => window.told += 1,
            false => {
                window.counted += 1;
                return false;
            }
        }
        true
    }

    /// The accounts whose minute is over, with the attempts that were only counted.
    pub(crate) fn due(&self, now: Duration) -> Vec<(String, u64)> {
        let mut windows = self.0.lock();
        let mut due = Vec::new();
        windows.retain(|account, window| {
            let is_over = now.saturating_sub(window.began) >= ATTEMPTS_WINDOW;
            if is_over && window.counted > 0 {
                due.push((account.clone(), window.counted));
            }
            !is_over
        });
        due
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
            (0..count).filter(|_| attempts.is_told(account, at(now))).count() as u64
        };
        assert_eq!(told("a", 1_000, 0), ATTEMPTS_TOLD);
        assert_eq!(told("b", 1, 1), 1);
        assert_eq!(attempts.due(at(59)), []);
        // Until its sum is told, nothing more of the account is told alone.
        assert_eq!(told("a", 10, 60), 0);
        assert_eq!(attempts.due(at(60)), [("a".to_owned(), 1_010 - ATTEMPTS_TOLD)]);
        assert_eq!(attempts.due(at(61)), []);
        assert_eq!(told("a", 1, 61), 1);
        assert!(attempts.0.lock().len() <= 2);
        assert_eq!(attempts.due(at(500)), []);
        assert!(attempts.0.lock().is_empty());
    }
}
