//! The work of one device while it is connected, and the counts that all share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::clock::SharedClock;

use super::plan::{Headers, Publishing, Subscribing};
use crate::device::Duty;
use crate::mqtt::{Link, Outgoing, Qos};
use crate::report::Tally;

/// State that all devices of a run share.
pub(super) struct Shared {
    clock: SharedClock,
    /// Whether publishers may publish.
    open: AtomicBool,
    /// Messages that may still be published.
    budget: AtomicU64,
    /// First and last publish.
    pub(super) published: Span,
    /// First and last message that came.
    pub(super) received: Span,
}

/// The time from the first to the last of some events, in microseconds of the process.
pub(super) struct Span {
    first: AtomicU64,
    last: AtomicU64,
}

impl Span {
    fn new() -> Self {
        Self { first: AtomicU64::new(u64::MAX), last: AtomicU64::new(0) }
    }

    fn touch(&self, now: u64) {
        self.first.fetch_min(now, Ordering::Relaxed);
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    /// Events a second, of so many; `None` for fewer than two.
    pub(super) fn rate(&self, count: u64) -> Option<f64> {
        let (first, last) = (self.first.load(Ordering::Relaxed), self.last.load(Ordering::Relaxed));
        let took = last.checked_sub(first).filter(|took| *took > 0)?;
        (count > 1).then(|| (count - 1) as f64 * 1e6 / took as f64)
    }
}

impl Shared {
    pub(super) fn new(clock: SharedClock, open: bool, limit: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            open: AtomicBool::new(open),
            budget: AtomicU64::new(limit.unwrap_or(u64::MAX)),
            published: Span::new(),
            received: Span::new(),
        })
    }

    /// Lets publishers publish, or not.
    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    /// Whether all messages of the limit are published.
    pub(super) fn is_spent(&self) -> bool {
        self.budget.load(Ordering::Relaxed) == 0
    }

    fn take_one(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.open.load(Ordering::Relaxed)
            && self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self) {
        self.budget.fetch_add(1, Ordering::Relaxed);
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A device that stays.
pub(super) struct Stay;

impl Duty for Stay {
    fn filters(&self) -> Vec<String> {
        Vec::new()
    }

    fn message(&mut self, _: &str, _: &[u8], _: &Tally) {}

    fn tick(&mut self, _: &Link, _: &Tally) {}

    fn subscribed(&mut self, _: &Tally) {}

    fn acknowledged(&mut self, _: &Tally) {}
}

/// A device that publishes.
pub(super) struct Publisher {
    topics: Vec<String>,
    work: Publishing,
    /// Whether the time in a payload is that of the process, in microseconds: its readers are in this process.
    by_process: bool,
    shared: Arc<Shared>,
    sequence: u64,
    /// When each message without an acknowledgement was queued; none for one that has a token.
    waiting: VecDeque<Option<Duration>>,
    completing: VecDeque<Duration>,
}

impl Publisher {
    pub(super) fn new(
        topics: Vec<String>,
        work: &Publishing,
        by_process: bool,
        shared: &Arc<Shared>,
    ) -> Self {
        let (work, shared) = (work.clone(), Arc::clone(shared));
        let (waiting, completing) = (VecDeque::new(), VecDeque::new());
        Self { topics, work, by_process, shared, sequence: 0, waiting, completing }
    }

    fn payload(&self) -> Vec<u8> {
        let Headers { counter, time } = self.work.headers;
        let mut payload = Vec::with_capacity(self.work.size);
        if counter {
            payload.extend_from_slice(&self.sequence.to_be_bytes());
        }
        if time {
            let now = if self.by_process {
                self.shared.micros()
            } else {
                self.shared.clock.unix_millis()
            };
            payload.extend_from_slice(&now.to_be_bytes());
        }
        match &self.work.message {
            Some(message) => payload.extend_from_slice(message.as_bytes()),
            None => payload.resize(payload.len().max(self.work.size), b'a'),
        }
        payload
    }

    fn observe(&self, sent: Option<Duration>, tally: &Tally) {
        if let Some(sent) = sent {
            tally.acknowledged.one();
            tally.publish_latency.observe(self.shared.clock.monotonic().saturating_sub(sent));
        }
    }
}

impl Duty for Publisher {
    fn filters(&self) -> Vec<String> {
        Vec::new()
    }

    fn message(&mut self, _: &str, _: &[u8], _: &Tally) {}

    fn subscribed(&mut self, _: &Tally) {}

    fn tick(&mut self, link: &Link, tally: &Tally) {
        let at = usize::try_from(self.sequence).unwrap_or_default() % self.topics.len().max(1);
        let Some(topic) = self.topics.get(at).cloned() else { return };
        if !self.shared.take_one() {
            return;
        }
        let Publishing { qos, retain, .. } = self.work;
        let now = self.shared.clock.monotonic();
        match link.send(Outgoing { topic, qos, retain, payload: self.payload() }) {
            Ok(()) => {
                self.sequence += 1;
                self.shared.published.touch(self.shared.micros());
                tally.published.one();
                match qos {
                    Qos::Zero => {}
                    Qos::One => self.waiting.push_back(Some(now)),
                    Qos::Two => self.completing.push_back(now),
                }
            }
            Err(_) => {
                self.shared.give_back();
                tally.failure("queue_full");
            }
        }
    }

    fn acknowledged(&mut self, tally: &Tally) {
        let sent = self.waiting.pop_front().flatten();
        self.observe(sent, tally);
    }

    fn completed(&mut self, tally: &Tally) {
        let sent = self.completing.pop_front();
        self.observe(sent, tally);
    }

    fn refused(&mut self, why: &str, tally: &Tally) {
        match self.work.qos {
            Qos::Two if self.waiting.is_empty() => drop(self.completing.pop_front()),
            _ => drop(self.waiting.pop_front()),
        }
        tally.failure(&format!("publish:{why}"));
    }

    fn asked(&mut self) {
        self.waiting.push_back(None);
    }

    fn disconnected(&mut self) {
        self.waiting.clear();
        self.completing.clear();
    }
}

/// A device that subscribes.
pub(super) struct Subscriber {
    filters: Vec<String>,
    work: Subscribing,
    by_process: bool,
    shared: Arc<Shared>,
    /// Subscriptions of this connection that are granted, and whether they were counted before.
    granted: usize,
    counted: usize,
}

impl Subscriber {
    pub(super) fn new(
        filters: Vec<String>,
        work: &Subscribing,
        by_process: bool,
        shared: &Arc<Shared>,
    ) -> Self {
        let (work, shared) = (work.clone(), Arc::clone(shared));
        Self { filters, work, by_process, shared, granted: 0, counted: 0 }
    }

    /// How long a message was under way.
    fn took(&self, payload: &[u8]) -> Option<Duration> {
        let Headers { counter, time } = self.work.headers;
        let at = if counter { 8 } else { 0 };
        let stamp = payload.get(at..at + 8).filter(|_| time)?;
        let sent = u64::from_be_bytes(stamp.try_into().ok()?);
        Some(match self.by_process {
            true => Duration::from_micros(self.shared.micros().saturating_sub(sent)),
            false => Duration::from_millis(self.shared.clock.unix_millis().saturating_sub(sent)),
        })
    }
}

impl Duty for Subscriber {
    fn filters(&self) -> Vec<String> {
        self.filters.clone()
    }

    fn qos(&self) -> Qos {
        self.work.qos
    }

    fn message(&mut self, _: &str, payload: &[u8], tally: &Tally) {
        tally.delivered.one();
        self.shared.received.touch(self.shared.micros());
        if let Some(took) = self.took(payload) {
            tally.delivery_latency.observe(took);
        }
    }

    fn tick(&mut self, _: &Link, _: &Tally) {}

    fn acknowledged(&mut self, _: &Tally) {}

    fn subscribed(&mut self, tally: &Tally) {
        self.granted += 1;
        if self.granted <= self.filters.len() && self.granted > self.counted {
            self.counted = self.granted;
            tally.subscribed.one();
        }
    }

    fn disconnected(&mut self) {
        self.granted = 0;
    }
}

#[cfg(test)]
mod tests {
    use tessera_runtime::clock::SystemClock;

    use super::*;
    use crate::load::plan::Pattern;

    fn publisher(shared: &Arc<Shared>, headers: Headers) -> Publisher {
        let work = Publishing {
            topics: vec![Pattern::new("a")],
            size: 20,
            message: None,
            qos: Qos::One,
            retain: false,
            every: Duration::from_secs(1),
            limit: None,
            wait: false,
            headers,
        };
        Publisher::new(vec!["a".to_owned()], &work, true, shared)
    }

    #[test]
    fn acknowledgements_of_tokens_are_no_messages() {
        let (shared, tally) = (Shared::new(SystemClock::shared(), true, None), Tally::default());
        let mut one = publisher(&shared, Headers::default());
        one.waiting.push_back(Some(Duration::ZERO));
        one.asked();
        one.waiting.push_back(Some(Duration::ZERO));
        (0..3).for_each(|_| one.acknowledged(&tally));
        assert_eq!(tally.acknowledged.get(), 2);
        assert_eq!(tally.publish_latency.micros().unwrap().count, 2);
        // More acknowledgements than publishes count nothing.
        one.acknowledged(&tally);
        assert_eq!(tally.acknowledged.get(), 2);
    }

    #[test]
    fn a_limit_holds_for_all_publishers_together_and_a_shut_gate_for_each() {
        let shared = Shared::new(SystemClock::shared(), false, Some(3));
        assert!(!shared.take_one());
        shared.set_open(true);
        assert_eq!((0..9).filter(|_| shared.take_one()).count(), 3);
        assert!(shared.is_spent());
        shared.give_back();
        assert!(!shared.is_spent() && shared.take_one());
    }

    #[test]
    fn a_time_in_a_payload_comes_back_as_the_time_under_way() {
        let shared = Shared::new(SystemClock::shared(), true, None);
        for headers in [Headers::TIMED, Headers { counter: true, time: true }] {
            let payload = publisher(&shared, headers).payload();
            assert_eq!(payload.len(), 20);
            let work = Subscribing { topics: Vec::new(), qos: Qos::One, headers };
            let reader = Subscriber::new(Vec::new(), &work, true, &shared);
            assert!(reader.took(&payload).unwrap() < Duration::from_secs(60));
            assert_eq!(reader.took(&payload[..7]), None);
        }
        let work = Subscribing { topics: Vec::new(), qos: Qos::One, headers: Headers::default() };
        assert_eq!(Subscriber::new(Vec::new(), &work, true, &shared).took(&[0; 20]), None);
    }

    #[test]
    fn a_rate_is_between_the_first_and_the_last() {
        let span = Span::new();
        assert_eq!(span.rate(9), None);
        span.touch(1_000_000);
        assert_eq!(span.rate(9), None);
        span.touch(3_000_000);
        assert_eq!((span.rate(1), span.rate(21)), (None, Some(10.0)));
    }
}
