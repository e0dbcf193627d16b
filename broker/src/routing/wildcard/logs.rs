//! Names of the router's commit logs, used again and again.
//!
//! rumqttd 0.20 forgets no filter, no topic and no log. So it is given a fixed set of names: each filter in use holds
//! one, and gives it back. `limits::ROUTER_LOGS` bounds all that the router can ever hold.

use crate::limits::{OLD_ROUTERS, ROUTER_LOGS, ROUTER_RECORD};
use crate::shares::{Account, Kind, Part};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tessera_token::topic::TopicFilter;

/// One commit log: both the filter that links subscribe to and the topic that we publish to.
#[derive(Clone, Debug)]
pub(super) struct Log {
    class: usize,
    name: Bytes,
    written: Arc<Mutex<Written>>,
}

/// The messages that the one writer has put into the logs of this name, over all routers. A place counts on from router
/// to router, so that messages lost with one of them are a gap like any other.
#[derive(Default, Debug)]
struct Written {
    /// The router that was written to last, and the place of its first message.
    era: u64,
    base: u64,
    /// The place of the next message.
    next: u64,
    /// Bytes written in this era.
    bytes: u64,
    /// The same of the routers before, the oldest first.
    earlier: Vec<(u64, u64)>,
}

/// Routers that a log remembers: a reader that has not left one of them learns its losses from the place it is at.
const ERAS_REMEMBERED: usize = OLD_ROUTERS;

impl Written {
    fn bases(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.earlier.iter().copied().chain([(self.era, self.base)])
    }
}

impl Log {
    pub(super) fn name(&self) -> &Bytes {
        &self.name
    }

    pub(super) fn text(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or_default()
    }

    /// Notes one more message in the router of this era, whose logs began empty, and returns the place after it. For
    /// the one writer, which holds the fence.
    pub(super) fn note_written(&self, era: u64, bytes: usize) -> u64 {
        let mut written = self.written.lock();
        if written.era != era {
            let before = (written.era, written.base);
            if written.earlier.len() >= ERAS_REMEMBERED {
                written.earlier.remove(0);
            }
            written.earlier.push(before);
            (written.era, written.base, written.bytes) = (era, written.next, 0);
        }
        written.next += 1;
        written.bytes = written.bytes.saturating_add(bytes as u64);
        written.next
    }

    /// All messages handed over later have this place or a higher one.
    pub(super) fn next_place(&self) -> u64 {
        self.written.lock().next
    }

    /// The place of the first message in the router of this era; `None` when that was too long ago.
    pub(super) fn base_of(&self, era: u64) -> Option<u64> {
        let written = self.written.lock();
        if era > written.era {
            return Some(written.next);
        }
        let base = written.bases().find(|(one, _)| *one == era).map(|(_, base)| base);
        base
    }

    /// The place after the last message in the router of this era, which is written to no more.
    pub(super) fn end_of(&self, era: u64) -> u64 {
        let written = self.written.lock();
        let later = written.bases().find(|(one, _)| *one > era).map(|(_, base)| base);
        later.unwrap_or(written.next)
    }

    /// About how many bytes of memory the router of this era spends on what was written.
    fn held(&self, era: u64) -> u64 {
        let written = self.written.lock();
        if written.era != era || written.next == written.base {
            return 0;
        }
        let most = ROUTER_LOGS.get(self.class).map_or(0, |(.., bytes, segments)| bytes * segments);
        let count = written.next - written.base;
        let kept = (most as u64).min(written.bytes);
        let records = count.saturating_mul(kept) / written.bytes.max(1);
        kept + (records + 1) * ROUTER_RECORD
    }
}

/// Bytes that a router's logs hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Residue {
    /// In logs of names that no filter has.
    pub(super) free: u64,
    /// In all logs.
    pub(super) all: u64,
    /// Changes when something is written.
    pub(super) written: u64,
}

#[derive(Default)]
struct Class {
    made: Vec<Log>,
    free: VecDeque<Log>,
}

/// The names that are free.
#[derive(Default)]
pub(super) struct LogPool {
    classes: [Class; ROUTER_LOGS.len()],
}

impl LogPool {
    /// A log for this filter: the largest that is free for one that gathers from a fleet, a middle one for one that
    /// gathers below fixed levels (which a device may do in its own subtree), a small one for others. `None` when all
    /// are in use. Scarce logs are shared out: a device or tenant that has its part of a size gets a smaller one.
    pub(super) fn take(
        &mut self,
        filter: &TopicFilter,
        account: Option<&Arc<Account>>,
    ) -> Option<(Log, Option<Part>)> {
        let first = first_class(filter).min(ROUTER_LOGS.len() - 1);
        self.classes.iter_mut().zip(ROUTER_LOGS).enumerate().skip(first).find_map(
            |(class, (pool, (name, most, ..)))| {
                let part = match (account, SHARED_SIZES.get(class)) {
                    (Some(account), Some(kind)) => Some(account.part_if_left(*kind, 1)?),
                    _ => None,
                };
                if let Some(log) = pool.free.pop_front() {
                    return Some((log, part));
                }
                if pool.made.len() >= most {
                    return None;
                }
                let name = Bytes::from(format!("{name}/{}", pool.made.len() + 1));
                let log = Log { class, name, written: Arc::default() };
                pool.made.push(log.clone());
                Some((log, part))
            },
        )
    }

    pub(super) fn give_back(&mut self, log: Log) {
        if let Some(class) = self.classes.get_mut(log.class) {
            class.free.push_back(log);
        }
    }

    /// Messages that the router of this era holds. Looks at every log that there ever was.
    pub(super) fn residue(&self, era: u64) -> Residue {
        let sum = |logs: &mut dyn Iterator<Item = &Log>| logs.map(|log| log.held(era)).sum();
        let mut residue = Residue::default();
        for class in &self.classes {
            let held: u64 = sum(&mut class.made.iter());
            residue.all += held;
            let free: u64 = sum(&mut class.free.iter());
            residue.free += free;
            residue.written += class.made.iter().map(Log::next_place).sum::<u64>();
        }
        residue
    }
}

/// Sizes in the order of [`ROUTER_LOGS`] of which there are too few for one device to take all.
const SHARED_SIZES: [Kind; 2] = [Kind::LargeLogs, Kind::MiddleLogs];

/// The largest for a wildcard among the first two levels, the next for `+` anywhere else but in the last: many
/// publishers write to it.
fn first_class(filter: &TopicFilter) -> usize {
    let levels = filter.as_str().split('/').count();
    let mut class = 2;
    for (place, level) in filter.as_str().split('/').enumerate() {
        class = match level {
            "#" | "+" if place < 2 => 0,
            "+" if place + 1 < levels => class.min(1),
            _ => class,
        };
    }
    class
}
