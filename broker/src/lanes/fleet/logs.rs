//! Names of the router's commit logs, used again and again.
//!
//! rumqttd 0.20 forgets no filter, no topic and no log. So it is given a fixed set of names: each filter in use holds
//! one, and gives it back. What the router can ever hold is what `limits::FLEET_LOGS` says.

use crate::limits::FLEET_LOGS;
use bytes::Bytes;
use std::collections::VecDeque;
use tessera_token::topic::TopicFilter;

/// One commit log: both the filter that links subscribe to and the topic that we publish to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Log {
    class: usize,
    name: Bytes,
}

impl Log {
    pub(super) fn name(&self) -> &Bytes {
        &self.name
    }

    pub(super) fn text(&self) -> &str {
        core::str::from_utf8(&self.name).unwrap_or_default()
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
    /// A log for this filter: the largest that is free for one that gathers from many devices, a small one for a
    /// filter below fixed levels (a device's own subtree). `None` when all are in use.
    pub(super) fn take(&mut self, filter: &TopicFilter) -> Option<Log> {
        let first = if gathers(filter) { 0 } else { FLEET_LOGS.len() - 1 };
        self.classes.iter_mut().zip(FLEET_LOGS).enumerate().skip(first).find_map(
            |(class, (pool, (name, most, ..)))| {
                if let Some(log) = pool.free.pop_front() {
                    return Some(log);
                }
                if pool.made >= most {
                    return None;
                }
                pool.made += 1;
                Some(Log { class, name: Bytes::from(format!("{name}/{}", pool.made)) })
            },
        )
    }

    pub(super) fn give_back(&mut self, log: Log) {
        if let Some(class) = self.classes.get_mut(log.class) {
            class.free.push_back(log);
        }
    }
}

/// A wildcard among the first two levels, or `+` anywhere but in the last: many publishers write to it.
fn gathers(filter: &TopicFilter) -> bool {
    let levels: Vec<&str> = filter.as_str().split('/').collect();
    let last = levels.len().saturating_sub(1);
    levels.iter().enumerate().any(|(place, level)| match *level {
        "#" => place < 2,
        "+" => place < 2 || place < last,
        _ => false,
    })
}
