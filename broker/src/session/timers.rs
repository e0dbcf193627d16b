//! All deadlines of all sessions in one ordered set, looked at by one task: an idle session owns no timer of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;

use crate::message::SubscriberId;
use tessera_token::time::UnixSeconds;

/// One look at the clock.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Wall time as the validator has it: it never goes back.
    pub unix: UnixSeconds,
    /// Monotonic time.
    pub monotonic: Duration,
}

/// The deadlines, monotonic.
#[derive(Default)]
pub struct Timers {
    set: Mutex<BTreeSet<(Duration, SubscriberId)>>,
}

impl Timers {
    /// Adds a deadline. Older timers of the same session are ignored when they fire.
    pub fn add(&self, at: Duration, session: SubscriberId) {
        self.set.lock().insert((at, session));
    }

    /// Takes out all that are due.
    pub fn due(&self, now: Duration) -> Vec<(Duration, SubscriberId)> {
        let mut set = self.set.lock();
        let Some((first, _)) = set.first() else { return Vec::new() };
        if *first > now {
            return Vec::new();
        }
        let later = set.split_off(&(now + Duration::from_nanos(1), SubscriberId(0)));
        std::mem::replace(&mut *set, later).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_out_once_and_in_order() {
        let timers = Timers::default();
        let at = Duration::from_secs;
        timers.add(at(3), SubscriberId(1));
        timers.add(at(1), SubscriberId(2));
        timers.add(at(2), SubscriberId(3));
        assert!(timers.due(Duration::from_millis(999)).is_empty());
        assert_eq!(timers.due(at(2)), [(at(1), SubscriberId(2)), (at(2), SubscriberId(3))]);
        assert!(timers.due(at(2)).is_empty());
        assert_eq!(timers.due(at(9)).len(), 1);
    }
}
