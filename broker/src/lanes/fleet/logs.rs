//! Names of the router's commit logs, used again and again.
//!
//! rumqttd 0.20 forgets no filter, no topic and no log. So it is given a fixed set of names: each filter in use holds
//! one, and gives it back. What the router can ever hold is what `limits::FLEET_LOGS` says.

use crate::limits::FLEET_LOGS;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use tessera_token::topic::TopicFilter;

/// One commit log: both the filter that links subscribe to and the topic that we publish to.
#[derive(Clone, Debug)]
pub(super) struct Log {
    class: usize,
    name: Bytes,
    written: Arc<Written>,
}

/// How many messages the one writer has put into the log of one router: the offset of the next.
#[derive(Default, Debug)]
struct Written {
    generation: AtomicU64,
    count: AtomicU64,
}

impl Log {
    pub(super) fn name(&self) -> &Bytes {
        &self.name
    }

    pub(super) fn text(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or_default()
    }

    /// Notes one more message in the router of this generation, whose logs began empty, and gives the offset behind
    /// it. For the one writer.
    pub(super) fn note_written(&self, generation: u64) -> u64 {
        if self.written.generation.swap(generation, Ordering::SeqCst) != generation {
            self.written.count.store(0, Ordering::SeqCst);
        }
        self.written.count.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// All messages handed over later have this offset or a higher one.
    pub(super) fn next_offset(&self) -> u64 {
        self.written.count.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
struct Class {
    made: usize,
    free: VecDeque<Log>,
}

/// The names that are free.
#[derive(Default)]
pub(super) struct LogPool {
    classes: [Class; FLEET_LOGS.len()],
}

impl LogPool {
    /// A log for this filter: the largest that is free for one that gathers from a fleet, a middle one for one that
    /// gathers below fixed levels (which a device may do in its own subtree), a small one for others. `None` when all
    /// are in use.
    pub(super) fn take(&mut self, filter: &TopicFilter) -> Option<Log> {
        let first = first_class(filter).min(FLEET_LOGS.len() - 1);
        self.classes.iter_mut().zip(FLEET_LOGS).enumerate().skip(first).find_map(
            |(class, (pool, (name, most, ..)))| {
                if let Some(log) = pool.free.pop_front() {
                    return Some(log);
                }
                if pool.made >= most {
                    return None;
                }
                pool.made += 1;
                let name = Bytes::from(format!("{name}/{}", pool.made));
                Some(Log { class, name, written: Arc::default() })
            },
        )
    }

    pub(super) fn give_back(&mut self, log: Log) {
        if let Some(class) = self.classes.get_mut(log.class) {
            class.free.push_back(log);
        }
    }
}

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
