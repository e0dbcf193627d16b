//! Rows that a clean stop writes and the next start reads.

use tessera_runtime::store::{Batch, Store, StoreError, Table};
use tessera_token::proof::Place;
use tessera_token::time::UnixSeconds;

use super::name::Name;
use super::ranges::Ranges;
use super::{second_of, Ledger};
use crate::limits;

const TABLE: &str = "proofs_at_rest";
/// Written last: the rows beside it are whole.
const DONE: &[u8] = b"done";
/// The seconds that a process after a copy is in doubt about, while it runs: a crash does not end the doubt.
const DOUBT: &[u8] = b"doubt";
const PLACES: u8 = b'p';
const SUFFIXED: u8 = b's';
const PLACE_BYTES: usize = 24;
const SUFFIXED_BYTES: usize = 21;

/// The table of what was written at the last clean stop.
pub(super) struct Rest {
    store: Store,
    table: Table,
}

/// The ledger of a process that has stopped.
#[derive(Default)]
pub(super) struct AtRest {
    /// The second of the stop.
    pub(super) stopped: u32,
    pub(super) closed: Ranges,
    /// First and last second that were in doubt still.
    pub(super) doubt: Option<(u32, u32)>,
    pub(super) places: Vec<(Name, Place)>,
    /// Bucket, key, and how many client ids it has there.
    pub(super) suffixed: Vec<(u32, Name, u8)>,
}

impl Ledger {
    /// Takes nothing more, and writes down what the next start must know: the last thing before the store is closed.
    ///
    /// # Errors
    /// [`StoreError`]; the next start then is one after a stop without notice.
    pub fn finish(&self, now: UnixSeconds) -> Result<(), StoreError> {
        let mut rest = AtRest { stopped: second_of(now), ..AtRest::default() };
        for part in &self.parts {
            let mut part = part.lock();
            part.finished = true;
            for (number, bucket) in part.buckets() {
                rest.places.extend(bucket.places.iter().map(|(name, place)| (*name, *place)));
                let suffixed = bucket.suffixed.iter();
                rest.suffixed.extend(suffixed.map(|(key, count)| (number, *key, *count)));
            }
        }
        // In this order: seconds in doubt are closed before the doubt ends.
        let doubt = self.doubt.as_ref().filter(|doubt| doubt.is_open());
        rest.doubt = doubt.and_then(|doubt| doubt.whole(now, self.monotonic()));
        rest.closed = (*self.closed.load_full()).clone();
        let low = self.low_water.at(now, self.monotonic().as_secs());
        self.reserve.note_low(second_of(low));
        self.reserve.write_low()?;
        self.rest.write(&rest)
    }
}

impl Rest {
    pub(super) fn new(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { store: store.clone(), table: store.table(TABLE)? })
    }

    /// Writes it to the store. It counts once the last step is durable.
    pub(super) fn write(&self, rest: &AtRest) -> Result<(), StoreError> {
        self.wake(None)?;
        let places = rest
            .places
            .iter()
            .map(|(name, place)| [name.as_slice(), &place.number().to_be_bytes()].concat());
        self.write_rows(PLACES, &places.collect::<Vec<_>>())?;
        let suffixed = rest
            .suffixed
            .iter()
            .map(|(bucket, key, count)| [bucket.to_be_bytes().as_slice(), key, &[*count]].concat());
        self.write_rows(SUFFIXED, &suffixed.collect::<Vec<_>>())?;
        let mut batch = Batch::new();
        let (first, last) = rest.doubt.unwrap_or((1, 0));
        let numbers = [rest.stopped, count(&rest.places), count(&rest.suffixed), first, last];
        let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
        batch.put(&self.table, DONE, numbers.chain(rest.closed.to_bytes()).collect::<Vec<u8>>());
        self.store.commit_blocking(batch)
    }

    /// The rows; `None` when the last stop was not a clean one, or it cannot be read.
    pub(super) fn read(&self) -> Result<Option<AtRest>, StoreError> {
        let Some(done) = self.table.get(DONE)? else { return Ok(None) };
        let Some((mut rest, places, suffixed)) = read_done(&done) else { return Ok(None) };
        let read_places = self.read_rows(PLACES, PLACE_BYTES, |row| {
            let (name, place) = row.split_first_chunk::<16>()?;
            let place = Place::from_number(u64::from_be_bytes(place.try_into().ok()?));
            rest.places.push((*name, place));
            Some(())
        })?;
        let read_suffixed = self.read_rows(SUFFIXED, SUFFIXED_BYTES, |row| {
            let (bucket, row) = row.split_first_chunk::<4>()?;
            let (key, number) = row.split_first_chunk::<16>()?;
            rest.suffixed.push((u32::from_be_bytes(*bucket), *key, *number.first()?));
            Some(())
        })?;
        let whole = read_places && read_suffixed;
        let whole = whole && count(&rest.places) == places && count(&rest.suffixed) == suffixed;
        if !whole {
            tracing::error!(
                "the ledger at rest is damaged: it is taken for one that was not closed"
            );
        }
        Ok(whole.then_some(rest))
    }

    /// The seconds that a process which did not stop cleanly had to be in doubt about since a copy.
    pub(super) fn doubt(&self) -> Result<Option<(u32, u32)>, StoreError> {
        let row = self.table.get(DOUBT)?;
        Ok(row.and_then(|row| {
            let (first, last) = row.split_first_chunk::<4>()?;
            Some((u32::from_be_bytes(*first), u32::from_be_bytes(last.try_into().ok()?)))
        }))
    }

    /// Removes the written rows, the last one first: from here on a stop is one without notice. `doubt` outlives it.
    pub(super) fn wake(&self, doubt: Option<(u32, u32)>) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.delete(&self.table, DONE);
        let mut after: Option<Vec<u8>> = None;
        let mut is_empty = !self.table.contains(DONE)? && doubt.is_none();
        loop {
            let page = self.table.scan_prefix(&[], after.as_deref(), limits::LEDGER_REST_PAGE)?;
            for (key, _) in &page {
                is_empty = false;
                batch.delete(&self.table, key);
            }
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None if is_empty => return Ok(()),
                None => {
                    if let Some((first, last)) = doubt {
                        batch.put(
                            &self.table,
                            DOUBT,
                            [first.to_be_bytes(), last.to_be_bytes()].concat(),
                        );
                    }
                    return self.store.commit_blocking(batch);
                }
            }
        }
    }

    fn write_rows(&self, kind: u8, entries: &[Vec<u8>]) -> Result<(), StoreError> {
        let rows: Vec<_> = entries.chunks(limits::LEDGER_REST_ENTRIES).collect();
        for (page, rows) in rows.chunks(limits::LEDGER_REST_PAGE).enumerate() {
            let mut batch = Batch::new();
            for (row, entries) in rows.iter().enumerate() {
                let number = page * limits::LEDGER_REST_PAGE + row;
                let number = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
                batch.put(&self.table, [&[kind], number.as_slice()].concat(), entries.concat());
            }
            self.store.commit_blocking(batch)?;
        }
        Ok(())
    }

    /// Whether every row could be read.
    fn read_rows(
        &self,
        kind: u8,
        bytes: usize,
        mut take: impl FnMut(&[u8]) -> Option<()>,
    ) -> Result<bool, StoreError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page =
                self.table.scan_prefix(&[kind], after.as_deref(), limits::LEDGER_REST_PAGE)?;
            for (_, row) in &page {
                if !row.chunks(bytes).all(|entry| entry.len() == bytes && take(entry).is_some()) {
                    return Ok(false);
                }
            }
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(true),
            }
        }
    }
}

/// The last step: the second of the stop, how much there is, and what was closed.
fn read_done(done: &[u8]) -> Option<(AtRest, u32, u32)> {
    let (stopped, done) = done.split_first_chunk::<4>()?;
    let (places, done) = done.split_first_chunk::<4>()?;
    let (suffixed, done) = done.split_first_chunk::<4>()?;
    let (first, done) = done.split_first_chunk::<4>()?;
    let (last, done) = done.split_first_chunk::<4>()?;
    let (first, last) = (u32::from_be_bytes(*first), u32::from_be_bytes(*last));
    let rest = AtRest {
        stopped: u32::from_be_bytes(*stopped),
        closed: Ranges::from_bytes(done)?,
        doubt: (first <= last).then_some((first, last)),
        ..AtRest::default()
    };
    Some((rest, u32::from_be_bytes(*places), u32::from_be_bytes(*suffixed)))
}

fn count<T>(entries: &[T]) -> u32 {
    u32::try_from(entries.len()).unwrap_or(u32::MAX)
}
