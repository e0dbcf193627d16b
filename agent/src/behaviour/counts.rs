//! Messages of one session, counted until the engine asks for them.

use tessera_behaviour::observation::{Event, Messages};

use crate::limits::{SESSION_TOPICS, TOPIC_BYTES};

/// Counts since the engine last asked.
#[derive(Default)]
pub(super) struct Counts {
    topics: Vec<Topic>,
    received: u32,
    received_bytes: u64,
    pings: u32,
    /// Whether the engine has been told that there are counts.
    pub(super) is_told: bool,
}

struct Topic {
    mark: u64,
    text: Box<str>,
    count: u32,
    bytes: u64,
}

impl Counts {
    /// Counts publishes to one topic. Returns whether there was room for the topic.
    pub(super) fn published(&mut self, topic: &str, count: u32, bytes: u64) -> bool {
        let mark = mark(topic);
        if let Some(known) = self.topics.iter_mut().find(|known| known.mark == mark) {
            known.count = known.count.saturating_add(count);
            known.bytes = known.bytes.saturating_add(bytes);
            return true;
        }
        let new = || Topic { mark, text: kept(topic), count, bytes };
        if self.topics.len() < SESSION_TOPICS {
            self.topics.push(new());
            return true;
        }
        let idle = self.topics.iter_mut().find(|known| known.count == 0);
        idle.map(|idle| *idle = new()).is_some()
    }

    pub(super) fn received(&mut self, count: u32, bytes: usize) {
        self.received = self.received.saturating_add(count);
        self.received_bytes = self.received_bytes.saturating_add(bytes as u64);
    }

    pub(super) fn pinged(&mut self) {
        self.pings = self.pings.saturating_add(1);
    }

    /// Gives the counts away as events, and begins anew. Topics stay, so that their next messages cost no memory.
    pub(super) fn take(&mut self, mut each: impl FnMut(Event<'_>)) {
        self.is_told = false;
        for topic in &mut self.topics {
            let (count, bytes) =
                (std::mem::take(&mut topic.count), std::mem::take(&mut topic.bytes));
            if count > 0 {
                each(Event::Published(Messages { topic: &topic.text, count, bytes }));
            }
        }
        let count = std::mem::take(&mut self.received);
        let bytes = std::mem::take(&mut self.received_bytes);
        if count > 0 {
            each(Event::Received(Messages { topic: "", count, bytes }));
        }
        let pings = std::mem::take(&mut self.pings);
        if pings > 0 {
            each(Event::Pinged { count: pings });
        }
    }
}

/// A topic in at most [`TOPIC_BYTES`]. A longer one is cut and ends with a mark of its whole text, so that two topics
/// stay two.
pub(super) fn kept(topic: &str) -> Box<str> {
    if topic.len() <= TOPIC_BYTES {
        return topic.into();
    }
    let mut end = TOPIC_BYTES - 17;
    while !topic.is_char_boundary(end) {
        end -= 1;
    }
    let start = topic.get(..end).unwrap_or("");
    format!("{start}~{:016x}", mark(topic)).into()
}

/// A mark of a text.
fn mark(text: &str) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15 ^ text.len() as u64;
    let mut chunks = text.as_bytes().chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        hash = step(hash, word);
    }
    let tail = chunks.remainder().iter().rev();
    step(hash, tail.fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

fn step(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(23) ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd)
}
