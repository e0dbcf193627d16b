//! The half-open sockets that may be closed to make room, oldest first: those of which not a byte has come, and of
//! suspect prefixes all that have no whole CONNECT yet. Entering, leaving and closing take logarithmic time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Prefix;

/// One such socket.
struct Entry {
    prefix: Prefix,
    since: Duration,
    call: Arc<Notify>,
}

/// All of them.
#[derive(Default)]
pub(super) struct HalfOpen {
    /// By age; suspect ones apart.
    by_age: [BTreeMap<u64, Entry>; 2],
    by_prefix: BTreeMap<(Prefix, u64), Kind>,
    next: u64,
}

/// Which of the two lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Unsuspected,
    Suspect,
}

impl HalfOpen {
    pub(super) fn enter(
        &mut self,
        prefix: Prefix,
        kind: Kind,
        since: Duration,
        call: Arc<Notify>,
    ) -> u64 {
        self.next += 1;
        let number = self.next;
        self.by_prefix.insert((prefix, number), kind);
        self.list(kind).insert(number, Entry { prefix, since, call });
        number
    }

    /// True when it was still there.
    pub(super) fn leave(&mut self, prefix: Prefix, kind: Kind, number: u64) -> bool {
        self.by_prefix.remove(&(prefix, number));
        self.list(kind).remove(&number).is_some()
    }

    /// Tells the oldest of this kind to close, if it has waited since `before` or longer.
    pub(super) fn call_oldest(&mut self, kind: Kind, before: Duration) -> Option<Prefix> {
        let number = *self.list(kind).first_key_value()?.0;
        self.call(kind, number, before)
    }

    /// The same for the oldest of one prefix.
    pub(super) fn call_oldest_of(&mut self, prefix: Prefix, before: Duration) -> Option<Kind> {
        let (&(_, number), &kind) =
            self.by_prefix.range((prefix, 0)..=(prefix, u64::MAX)).next()?;
        self.call(kind, number, before).map(|_| kind)
    }

    fn call(&mut self, kind: Kind, number: u64, before: Duration) -> Option<Prefix> {
        let list = self.list(kind);
        if list.get(&number)?.since > before {
            return None;
        }
        let entry = list.remove(&number)?;
        self.by_prefix.remove(&(entry.prefix, number));
        entry.call.notify_one();
        Some(entry.prefix)
    }

    fn list(&mut self, kind: Kind) -> &mut BTreeMap<u64, Entry> {
        let [unsuspected, suspect] = &mut self.by_age;
        match kind {
            Kind::Unsuspected => unsuspected,
            Kind::Suspect => suspect,
        }
    }
}
