//! How many lines each cause may write: a burst, then one in a while. The rest is counted and told in a closing line.
//!
//! A cause is a place in the code together with a key: the values of a few fields of the line, such as a refusal code
//! or a tenant. Causes do not share their lines. The table is bounded: a place has so many keys of its own, its further
//! keys share a few rows, and when the whole table is full all newcomers of a level share one. Time is passed in.

use std::collections::HashMap;
use std::time::Duration;

use tracing::Level;

use crate::limits::{
    LOG_BURST, LOG_CAUSES, LOG_CLOSING, LOG_DEBUG_BURST, LOG_DEBUG_REFILL, LOG_FORGET, LOG_KEYS,
    LOG_REFILL, LOG_SHARED,
};

/// A place in the code that writes lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Its key; 0 is no place.
    pub(super) id: usize,
    pub(super) level: Level,
    /// Its module.
    pub(super) source: &'static str,
}

/// Lines of one cause that were not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closing {
    pub(super) level: Level,
    pub(super) source: &'static str,
    pub(super) key: String,
    /// The words of the first line of the cause.
    pub(super) words: String,
    pub(super) suppressed: u64,
    pub(super) seconds: u64,
}

type Cause = (usize, String);

struct Row {
    place: Place,
    words: String,
    /// Lines that may be written now.
    left: u32,
    /// Up to when lines were given back.
    refilled: Duration,
    /// The last line, written or not.
    last: Duration,
    suppressed: u64,
    /// The first line that was left out since the last closing line.
    since: Duration,
}

/// All causes.
#[derive(Default)]
pub(super) struct Table(HashMap<Cause, Row>);

impl Table {
    /// Whether a line may be written; `words` is asked once for each cause.
    ///
    /// # Errors
    /// The key under which the line was counted instead.
    pub(super) fn admit(
        &mut self,
        now: Duration,
        place: Place,
        key: String,
        words: impl FnOnce() -> String,
    ) -> Result<(), String> {
        let cause = self.cause(now, place, key);
        let key = cause.1.clone();
        let row = self.0.entry(cause).or_insert_with(|| Row::new(place, words(), now));
        if row.takes(now) {
            Ok(())
        } else {
            Err(key)
        }
    }

    /// The closing lines whose time has come; the counts begin anew.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Closing> {
        self.closings(now, |row| now.saturating_sub(row.since) >= LOG_CLOSING)
    }

    /// All closing lines: at the end.
    pub(super) fn all(&mut self, now: Duration) -> Vec<Closing> {
        self.closings(now, |_| true)
    }

    fn closings(&mut self, now: Duration, due: impl Fn(&Row) -> bool) -> Vec<Closing> {
        let rows = self.0.iter_mut().filter(|(_, row)| row.suppressed > 0 && due(row));
        rows.map(|((_, key), row)| Closing {
            level: row.place.level,
            source: row.place.source,
            key: key.clone(),
            words: row.words.clone(),
            suppressed: std::mem::take(&mut row.suppressed),
            seconds: now.saturating_sub(row.since).as_secs().max(1),
        })
        .collect()
    }

    /// The row that this line belongs to.
    fn cause(&mut self, now: Duration, place: Place, key: String) -> Cause {
        let own = (place.id, key);
        if self.0.contains_key(&own) {
            return own;
        }
        if self.0.len() >= LOG_CAUSES {
            self.0.retain(|_, row| row.suppressed > 0 || !row.is_idle(now));
        }
        let mut keys = self.keys_of(place);
        if keys >= LOG_KEYS {
            // Keys that are at rest make room for those of now.
            let rests = |row: &Row| row.suppressed == 0 && row.is_idle(now);
            self.0.retain(|(id, _), row| *id != place.id || !rests(row));
            keys = self.keys_of(place);
        }
        let wanted = if keys < LOG_KEYS { own } else { (place.id, shared(&own.1)) };
        match self.0.contains_key(&wanted) || self.0.len() < LOG_CAUSES {
            true => wanted,
            // Errors do not share the row of another level.
            false => (0, format!("(further causes, {})", place.level)),
        }
    }

    fn keys_of(&self, place: Place) -> usize {
        self.0.keys().filter(|(id, _)| *id == place.id).count()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The name of the row that this key shares with others of its place.
fn shared(key: &str) -> String {
    let sum = key.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("(further keys, part {})", sum % LOG_SHARED)
}

impl Row {
    fn new(place: Place, words: String, now: Duration) -> Self {
        let left = rate(place.level).0;
        Self { place, words, left, refilled: now, last: now, suppressed: 0, since: now }
    }

    fn takes(&mut self, now: Duration) -> bool {
        let (burst, refill) = rate(self.place.level);
        let passed = now.saturating_sub(self.refilled).as_millis() / refill.as_millis().max(1);
        let given = u32::try_from(passed).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(given).min(burst);
        self.refilled += refill.saturating_mul(given);
        self.last = now;
        if self.left > 0 {
            self.left -= 1;
            return true;
        }
        if self.suppressed == 0 {
            self.since = now;
        }
        self.suppressed = self.suppressed.saturating_add(1);
        false
    }

    /// It says nothing that a new row would not say.
    fn is_idle(&self, now: Duration) -> bool {
        now.saturating_sub(self.last) >= LOG_FORGET
    }
}

/// Lines at once, and the time for one more.
fn rate(level: Level) -> (u32, Duration) {
    match level <= Level::INFO {
        true => (LOG_BURST, LOG_REFILL),
        false => (LOG_DEBUG_BURST, LOG_DEBUG_REFILL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { id: 1, level: Level::INFO, source: "here" };

    fn flood(table: &mut Table, place: Place, now: Duration, key: &str, lines: u64) -> u64 {
        let written = |_: &u64| {
            let said = table.admit(now, place, key.to_owned(), || format!("words of {key}"));
            said.is_ok()
        };
        (0..lines).filter(written).count() as u64
    }

    #[test]
    fn a_flood_writes_a_burst_and_is_counted() {
        let mut table = Table::default();
        let mut written = 0;
        for second in 0..60 {
            written += flood(&mut table, PLACE, Duration::from_secs(second), "code", 3_000);
        }
        assert_eq!(written, u64::from(LOG_BURST) + 59 / LOG_REFILL.as_secs());
        let told = table.due(Duration::from_secs(60));
        let whole = Closing {
            level: Level::INFO,
            source: "here",
            key: "code".to_owned(),
            words: "words of code".to_owned(),
            suppressed: 180_000 - written,
            seconds: 60,
        };
        assert_eq!(told, [whole]);
        assert!(table.due(Duration::from_secs(90)).is_empty(), "told twice");
        // An hour later the cause has its burst again.
        let later = Duration::from_secs(4_000);
        assert_eq!(flood(&mut table, PLACE, later, "code", 3_000), u64::from(LOG_BURST));
    }

    #[test]
    fn a_closing_line_waits_its_time_and_comes_without_a_further_line() {
        let mut table = Table::default();
        flood(&mut table, PLACE, Duration::ZERO, "code", u64::from(LOG_BURST) + 7);
        assert!(table.due(LOG_CLOSING - Duration::from_millis(1)).is_empty());
        assert_eq!(table.due(LOG_CLOSING)[0].suppressed, 7);
        flood(&mut table, PLACE, LOG_CLOSING, "code", 10);
        let left = table.all(LOG_CLOSING).pop().unwrap();
        assert_eq!((left.suppressed, left.seconds), (9, 1));
    }

    #[test]
    fn causes_do_not_hide_each_other() {
        let mut table = Table::default();
        let elsewhere = Place { id: 2, ..PLACE };
        flood(&mut table, PLACE, Duration::ZERO, "one", 100_000);
        assert_eq!(flood(&mut table, PLACE, Duration::ZERO, "two", 5), 5);
        assert_eq!(flood(&mut table, elsewhere, Duration::ZERO, "one", 5), 5);
        assert_eq!(table.all(Duration::ZERO).len(), 1);
    }

    #[test]
    fn many_keys_neither_grow_the_table_nor_hide_the_first_or_other_places() {
        let mut table = Table::default();
        for number in 0..100_000 {
            flood(&mut table, PLACE, Duration::ZERO, &format!("key {number}"), 1);
        }
        assert_eq!(table.len(), LOG_KEYS + LOG_SHARED);
        assert_eq!(flood(&mut table, PLACE, Duration::ZERO, "key 0", 5), 5);
        let suppressed: u64 = table.due(LOG_CLOSING).iter().map(|one| one.suppressed).sum();
        let shared = u64::from(LOG_BURST) * LOG_SHARED as u64;
        assert_eq!(suppressed, 100_000 - LOG_KEYS as u64 - shared);
        for id in 2..10_000 {
            let place = Place { id, ..PLACE };
            assert_eq!(flood(&mut table, place, LOG_CLOSING, "key", 1), u64::from(id < 900));
            if id == 899 {
                // A cause without room shares one row: it is used up here.
                let room = LOG_CAUSES - table.len();
                for number in 0..room {
                    let place = Place { id: 100_000 + number, ..PLACE };
                    flood(&mut table, place, LOG_CLOSING, "key", 1);
                }
                let last = Place { id: 200_000, ..PLACE };
                flood(&mut table, last, LOG_CLOSING, "key", u64::from(LOG_BURST));
            }
        }
        assert_eq!(table.len(), LOG_CAUSES + 1);
        // Rows that said all they had to say make room.
        assert!(!table.due(LOG_CLOSING * 2).is_empty());
        let later = LOG_FORGET * 2;
        assert_eq!(flood(&mut table, Place { id: 300_000, ..PLACE }, later, "key", 5), 5);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn keys_at_rest_make_room_while_the_table_is_not_full() {
        let mut table = Table::default();
        for number in 0..LOG_KEYS * 2 {
            flood(&mut table, PLACE, Duration::ZERO, &format!("key {number}"), 1);
        }
        let later = LOG_FORGET * 2;
        flood(&mut table, PLACE, later, "key of later", u64::from(LOG_BURST));
        assert_eq!(flood(&mut table, PLACE, later, "another", 5), 5);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn an_error_is_not_told_among_lines_of_another_level() {
        let mut table = Table::default();
        for id in 1..=LOG_CAUSES + 1 {
            flood(&mut table, Place { id, ..PLACE }, Duration::ZERO, "key", 1);
        }
        let error = Place { id: 500_000, level: Level::ERROR, ..PLACE };
        flood(&mut table, error, Duration::ZERO, "key", u64::from(LOG_BURST) + 3);
        let told = table.all(Duration::ZERO);
        assert_eq!((told[0].level, told[0].suppressed, told.len()), (Level::ERROR, 3, 1));
    }

    #[test]
    fn debug_lines_have_a_rate_of_their_own() {
        let mut table = Table::default();
        let place = Place { level: Level::DEBUG, ..PLACE };
        assert_eq!(
            flood(&mut table, place, Duration::ZERO, "", 100_000),
            u64::from(LOG_DEBUG_BURST)
        );
    }
}
