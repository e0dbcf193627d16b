//! The newest event that each verifier has confirmed: a poll names the event that the reader has stored. It is kept in a
//! row for each process, since a revocation may be answered by another process of this service than the one that is polled.
//!
//! A poll counts under the account that made it, so that no account confirms anything for a verifier of another. Rows are
//! written with the sweep; while a revocation waits anywhere ([`announce`]), they are written at once.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tessera_runtime::sql::{Batch, Database};
use tessera_runtime::store::StoreError;
use tokio::sync::watch;

use crate::limits::{
    VERIFIERS_IN_A_WRITE, VERIFIER_KEPT, VERIFIER_NAMES, VERIFIER_NAMES_OF_SHARE,
    VERIFIER_SEEN_EVERY, WAIT_ANNOUNCED_SECONDS,
};
use crate::records::operators::Tenants;
use crate::records::verifiers::{VerifierKey, VerifierRow};
use crate::tables::Tables;

/// The mark: seconds since 1970 until which a revocation waits for verifiers, in whichever process.
const WAITS: &str = "revocation_waits";

/// The processes that polled here lately.
#[derive(Clone)]
pub(crate) struct Confirmed {
    polled: Arc<Mutex<HashMap<VerifierKey, Polled>>>,
    /// Changes with each event that is confirmed.
    news: Arc<watch::Sender<u64>>,
}

struct Polled {
    row: VerifierRow,
    /// The rows in the database, as far as this process knows.
    written: Option<(u64, u64)>,
}

impl Polled {
    fn is_due(&self) -> bool {
        self.written.is_none_or(|(event, seen)| {
            let now = self.row.last_seen;
            // Another process may have seen it later; far later only by a clock that was wrong.
            let is_wrong = seen.saturating_sub(now) > VERIFIER_KEPT.as_secs();
            let is_old = now.saturating_sub(seen) >= VERIFIER_SEEN_EVERY;
            self.row.event > event || is_old || is_wrong
        })
    }
}

impl Default for Confirmed {
    fn default() -> Self {
        Self { polled: Arc::default(), news: Arc::new(watch::channel(0).0) }
    }
}

impl Confirmed {
    /// A reader polls: it has this event. Says whether that is newer than what is written.
    pub(crate) fn polls(&self, key: &VerifierKey, row: VerifierRow) -> bool {
        let mut polled = self.polled.lock();
        let now = row.last_seen;
        if !polled.contains_key(key) && !has_room(&mut polled, key, &row, now) {
            return false;
        }
        let of =
            polled.entry(key.clone()).or_insert_with(|| Polled { row: row.clone(), written: None });
        let row = VerifierRow {
            event: row.event.max(of.row.event),
            first_seen: of.row.first_seen.min(row.first_seen),
            ..row
        };
        of.row = row;
        let is_new = of.written.is_none_or(|(event, _)| of.row.event > event);
        drop(polled);
        if is_new {
            self.news.send_modify(|number| *number = number.wrapping_add(1));
        }
        is_new
    }

    /// Changes with each event that is confirmed here.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Writes what is not written yet. A row never goes back: another process may have heard more.
    ///
    /// # Errors
    /// [`StoreError`]; then it is tried again with the next one.
    pub(crate) async fn write(
        &self,
        database: &Database,
        tables: &Tables,
    ) -> Result<(), StoreError> {
        loop {
            let due: Vec<(VerifierKey, VerifierRow)> = {
                let polled = self.polled.lock();
                let due = polled.iter().filter(|(_, of)| of.is_due());
                let due = due.take(VERIFIERS_IN_A_WRITE);
                due.map(|(key, of)| (key.clone(), of.row.clone())).collect()
            };
            if due.is_empty() {
                return Ok(());
            }
            let is_full = due.len() == VERIFIERS_IN_A_WRITE;
            let mut batch = Batch::new();
            let mut rows = Vec::with_capacity(due.len());
            for (key, row) in due {
                let known = tables.verifiers.get(key.row()).await?;
                let merged = merged(known.as_ref(), &row);
                if known.as_ref() != Some(&merged) {
                    batch.expect_same(&tables.verifiers, key.row(), known.as_ref());
                    batch.put(&tables.verifiers, key.row(), &merged);
                }
                rows.push((key, merged));
            }
            match database.commit(batch).await {
                // Another process wrote one of them: the next write reads anew.
                Err(StoreError::Conflict { .. }) => return Ok(()),
                written => written?,
            }
            let mut polled = self.polled.lock();
            for (key, row) in rows {
                if let Some(of) = polled.get_mut(&key) {
                    // It was compared with what this process last saw, so that an older poll is not written for ever.
                    of.row.event = of.row.event.max(row.event);
                    of.written = Some((row.event, row.last_seen));
                }
            }
            drop(polled);
            if !is_full {
                return Ok(());
            }
        }
    }

    /// All rows, as the database and this process know them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn all(
        &self,
        tables: &Tables,
    ) -> Result<Vec<(VerifierKey, VerifierRow)>, StoreError> {
        let mut here: HashMap<VerifierKey, VerifierRow> = {
            let polled = self.polled.lock();
            polled.iter().map(|(key, of)| (key.clone(), of.row.clone())).collect()
        };
        let mut rows = Vec::new();
        let mut walk = tables.verifiers.walk(&[]);
        while let Some(page) = walk.next().await? {
            for (key, row) in page {
                let key = key_of(&key)?;
                let row = match here.remove(&key) {
                    Some(polled) => merged(Some(&row), &polled),
                    None => row,
                };
                rows.push((key, row));
            }
        }
        rows.extend(here);
        Ok(rows)
    }

    /// Forgets the processes that are gone; their rows stay.
    pub(crate) fn forget(&self, now: u64) {
        forget(&mut self.polled.lock(), now);
    }
}

type Map = HashMap<VerifierKey, Polled>;

fn forget(polled: &mut Map, now: u64) {
    let kept = VERIFIER_KEPT.as_secs();
    polled.retain(|_, of| now.abs_diff(of.row.last_seen) <= kept);
}

/// Whether one more process fits in: past the bounds of its share, or of all, it is not kept.
fn has_room(polled: &mut Map, key: &VerifierKey, row: &VerifierRow, now: u64) -> bool {
    let is_all = row.tenants == Tenants::All;
    let most = if is_all { VERIFIER_NAMES } else { VERIFIER_NAMES_OF_SHARE };
    let is_full = |polled: &Map| {
        polled.len() >= 2 * VERIFIER_NAMES
            || polled.keys().filter(|known| known.share == key.share).count() >= most
    };
    if is_full(polled) {
        forget(polled, now);
    }
    !is_full(polled)
}

/// A process as its row and its poll tell it.
fn merged(known: Option<&VerifierRow>, polled: &VerifierRow) -> VerifierRow {
    let Some(known) = known else { return polled.clone() };
    VerifierRow {
        event: known.event.max(polled.event),
        first_seen: known.first_seen.min(polled.first_seen),
        // A row from a time when the clock was far ahead does not count.
        last_seen: match known.last_seen.saturating_sub(polled.last_seen) {
            ahead if ahead > VERIFIER_KEPT.as_secs() => polled.last_seen,
            _ => known.last_seen.max(polled.last_seen),
        },
        ..polled.clone()
    }
}

pub(crate) fn key_of(key: &[tessera_runtime::sql::Value]) -> Result<VerifierKey, StoreError> {
    use crate::tables::{bytes, text};
    Ok(VerifierKey {
        share: text(key, 0)?.to_owned(),
        account: text(key, 1)?.to_owned(),
        name: text(key, 2)?.to_owned(),
        reader: bytes(key, 3)?,
    })
}

/// Says to all processes that a revocation waits until then: what verifiers confirm is written at once.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn announce(
    database: &Database,
    tables: &Tables,
    until: u64,
) -> Result<(), StoreError> {
    let known: Option<u64> = tables.marks.get(WAITS).await?;
    let until = until.saturating_add(WAIT_ANNOUNCED_SECONDS);
    let far = 2 * WAIT_ANNOUNCED_SECONDS;
    // One from a time when the clock was far ahead does not stay.
    if known.is_some_and(|known| known >= until && known - until <= far) {
        return Ok(());
    }
    let mut batch = Batch::new();
    tables.marks.put(&mut batch, WAITS, &until);
    database.commit(batch).await
}

/// Whether a revocation waits in any process.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn is_awaited(tables: &Tables, now: u64) -> Result<bool, StoreError> {
    Ok(tables.marks.get::<u64>(WAITS).await?.is_some_and(|until| now <= until))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::in_folder;

    fn key(name: &str, reader: u8) -> VerifierKey {
        let name = name.to_owned();
        VerifierKey { share: "s".into(), account: "feed".into(), name, reader: [reader; 16] }
    }

    fn row(event: u64, at: u64) -> VerifierRow {
        let kind = Some("broker".to_owned());
        VerifierRow { kind, tenants: Tenants::All, event, first_seen: at, last_seen: at }
    }

    #[tokio::test]
    async fn a_confirmed_event_never_goes_back_whichever_process_was_polled_last() {
        let folder = tempfile::tempdir().unwrap();
        let (database, tables) = in_folder(folder.path());
        let (one, two) = (Confirmed::default(), Confirmed::default());
        assert!(one.polls(&key("a", 1), row(7, 100)));
        assert!(two.polls(&key("a", 1), row(9, 101)));
        two.write(&database, &tables).await.unwrap();
        one.write(&database, &tables).await.unwrap();
        let stored = tables.verifiers.get(key("a", 1).row()).await.unwrap().unwrap();
        assert_eq!((stored.event, stored.first_seen, stored.last_seen), (9, 100, 101));
        // And an older poll in the same process.
        assert!(!one.polls(&key("a", 1), row(8, 102)));
        let all = one.all(&tables).await.unwrap();
        assert_eq!(all, [(key("a", 1), VerifierRow { first_seen: 100, ..row(9, 102) })]);
    }

    #[tokio::test]
    async fn a_poll_without_news_is_written_seldom_and_one_with_news_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let (database, tables) = in_folder(folder.path());
        let one = Confirmed::default();
        let seen = async |at: u64, event: u64| {
            one.polls(&key("a", 1), row(event, at));
            one.write(&database, &tables).await.unwrap();
            tables.verifiers.get(key("a", 1).row()).await.unwrap().unwrap().last_seen
        };
        assert_eq!(seen(100, 1).await, 100);
        assert_eq!(seen(100 + VERIFIER_SEEN_EVERY - 1, 1).await, 100);
        assert_eq!(seen(100 + VERIFIER_SEEN_EVERY, 1).await, 100 + VERIFIER_SEEN_EVERY);
        assert_eq!(seen(101 + VERIFIER_SEEN_EVERY, 2).await, 101 + VERIFIER_SEEN_EVERY);
    }

    #[test]
    fn processes_that_an_account_makes_up_take_no_room_of_others() {
        let one = Confirmed::default();
        let of = |share: &str, number: usize| {
            let name = format!("n{number}");
            VerifierKey { share: share.into(), account: "x".into(), name, reader: [1; 16] }
        };
        let bound = |at| VerifierRow { tenants: Tenants::These(["a".into()].into()), ..row(1, at) };
        for number in 0..VERIFIER_NAMES_OF_SHARE {
            assert!(one.polls(&of("of a", number), bound(0)));
        }
        assert!(!one.polls(&of("of a", VERIFIER_NAMES_OF_SHARE), bound(1)));
        assert!(one.polls(&of("of b", 0), bound(1)));
        let later = VERIFIER_KEPT.as_secs() + 1;
        assert!(one.polls(&of("of a", VERIFIER_NAMES_OF_SHARE), bound(later)));
    }

    #[tokio::test]
    async fn a_wait_is_told_to_all_processes_until_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (database, tables) = in_folder(folder.path());
        assert!(!is_awaited(&tables, 100).await.unwrap());
        announce(&database, &tables, 100).await.unwrap();
        announce(&database, &tables, 90).await.unwrap();
        assert!(is_awaited(&tables, 100 + WAIT_ANNOUNCED_SECONDS).await.unwrap());
        assert!(!is_awaited(&tables, 101 + WAIT_ANNOUNCED_SECONDS).await.unwrap());
        // The clock was far ahead once.
        announce(&database, &tables, 1_000_000).await.unwrap();
        announce(&database, &tables, 200).await.unwrap();
        assert!(!is_awaited(&tables, 1_000).await.unwrap());
    }
}
