use std::fmt;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use tessera_runtime::store::{Batch, Row, Store, StoreError, Table};
use tessera_token::ids::Audience;
use tessera_token::key::Thumbprint;
use tessera_token::limits::EVIDENCE_EVENTS;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Evidence, Roots};

use super::refusal::TrustRefusal;
use super::rollback_floor::RollbackFloor;
use super::root_line::RootLine;
use super::root_store::stored_line;
use super::state::TrustState;
use crate::limits;

const HEARTBEAT: &[u8] = b"heartbeat_2";
/// The signed time of the newest heartbeat that answered; with it a verifier is established.
const CONFIRMED: &[u8] = b"confirmed";
/// The moment before which revocations may be forgotten ([`TrustState::forgotten`]); no row without one.
const FORGOTTEN: &[u8] = b"forgotten";
/// Since when it is not known whether this verifier was away ([`TrustState::absent_since`]); no row when it is known.
const ABSENT: &[u8] = b"absent";
/// For how many seconds that is open, over all processes.
const OPEN_FOR: &[u8] = b"absent_open";
/// Since when the feed cannot be followed, in seconds.
const LAPSED: &[u8] = b"lapsed";
/// `signed time, began, lived`, u64 BE each. Versions before it stored the highest wall time seen under `highest`, which a
/// wrong clock may have brought ahead: that is not read.
const TIME: &[u8] = b"time";
const PIECES: &[u8] = b"pieces";
const FLOOR_PIECES: &[u8] = b"floor_pieces";

/// Trust at rest: the signed bytes themselves, verified again whenever they are read, and how far time has come.
#[derive(Clone)]
pub struct TrustStore {
    pub(super) store: Store,
    meta: Table,
    snapshot: Table,
    floor: Table,
    events: Table,
    /// The views of a verifier of some tenants, by the number they lead to; their events have that number and their place.
    views: Table,
    /// The links that were taken, oldest first, by their place.
    pub(super) links: Table,
    pub(super) line: Arc<RwLock<RootLine>>,
}

/// A view that was taken, with the events that it includes.
pub(crate) struct Viewed {
    /// The number that it leads to.
    pub(crate) seq: u64,
    pub(crate) view: Vec<u8>,
    pub(crate) events: Vec<Vec<u8>>,
}

/// Stored times. Nothing of it comes from the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredTime {
    /// The signed time, gone on with monotonic time; 0 when none is known.
    pub signed: UnixSeconds,
    /// When lived time began and how far it has come.
    pub lived: Option<(UnixSeconds, UnixSeconds)>,
}

/// Why trust could not be read back.
#[derive(Debug)]
pub enum TrustStoreError {
    /// The store.
    Store(StoreError),
    /// Its contents are damaged.
    Refused(TrustRefusal),
}

impl fmt::Display for TrustStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Refused(refusal) => write!(f, "stored trust data refused: {refusal}"),
        }
    }
}

impl std::error::Error for TrustStoreError {}

impl From<StoreError> for TrustStoreError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<TrustRefusal> for TrustStoreError {
    fn from(refusal: TrustRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl TrustStore {
    /// The trust tables of `store`, for the root key with this thumbprint.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new(store: &Store, pin: Thumbprint) -> Result<Self, StoreError> {
        Self::pinning(store, Roots { online: pin, offline: None })
    }

    /// The trust tables of `store`, for these roots, or those to which stored links lead from them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pinning(store: &Store, pinned: Roots) -> Result<Self, StoreError> {
        let links = store.table("trust_links")?;
        let line = Arc::new(RwLock::new(stored_line(&links, pinned)?));
        Ok(Self {
            store: store.clone(),
            meta: store.table("trust_meta")?,
            snapshot: store.table("trust_snapshot")?,
            floor: store.table("trust_floor")?,
            events: store.table("trust_events")?,
            views: store.table("trust_views")?,
            links,
            line,
        })
    }

    /// The stored data, every signature and the whole chain checked again; an empty version when nothing is. A part
    /// that is not good makes the whole unusable: half of the revocations would be worse than none.
    ///
    /// # Errors
    /// [`TrustStoreError`].
    pub fn load(&self, audience: Audience) -> Result<TrustState, TrustStoreError> {
        let mut state = TrustState::empty(audience);
        let Some(snapshot) = self.load_pieces(&self.snapshot, PIECES)? else {
            return Ok(state);
        };
        state = self.stored_snapshot(&state, &snapshot)?;
        if let Some(floor) = self.load_pieces(&self.floor, FLOOR_PIECES)? {
            state.raise(&RollbackFloor::from_cbor(&floor)?)?;
        }
        match state.tenants() {
            Some(_) => self.follow_views(&mut state)?,
            None => {
                for (_, event) in rows(&self.events)? {
                    state.follow(&event)?;
                }
            }
        }
        if let Some(beat) = self.meta.get(HEARTBEAT)? {
            state.beat_again(&beat)?;
        }
        state.confirmed_at = self.seconds(CONFIRMED)?;
        state.forgotten = self.seconds(FORGOTTEN)?;
        state.absent_since = self.seconds(ABSENT)?;
        Ok(state)
    }

    /// Every view again with its events; an event that no view includes is damage.
    fn follow_views(&self, state: &mut TrustState) -> Result<(), TrustStoreError> {
        let mut events = rows(&self.events)?.into_iter().peekable();
        for (seq, view) in rows(&self.views)? {
            let mut included = Vec::new();
            while let Some((_, event)) = events.next_if(|(key, _)| key.starts_with(&seq)) {
                included.push(event);
            }
            state.follow_view(&view, &included, |_| {})?;
        }
        match events.next() {
            None => Ok(()),
            Some(_) => Err(TrustRefusal::Damaged.into()),
        }
    }

    /// Everything that the root key signed and that is stored: what a service that knows less can be shown.
    ///
    /// # Errors
    /// [`TrustStoreError`].
    pub fn evidence(&self) -> Result<Evidence, TrustStoreError> {
        let snapshot = self.load_pieces(&self.snapshot, PIECES)?.unwrap_or_default();
        let newest = |table: &Table, most: usize| -> Result<Vec<Vec<u8>>, StoreError> {
            let mut parts: Vec<_> = rows(table)?.into_iter().map(|(_, part)| part).collect();
            // The newest count: the service has older ones in all likelihood.
            parts.drain(..parts.len().saturating_sub(most));
            Ok(parts)
        };
        let events = newest(&self.events, EVIDENCE_EVENTS)?;
        // Both together within the bytes of evidence.
        let views = newest(&self.views, EVIDENCE_EVENTS - events.len())?;
        let heartbeat = self.meta.get(HEARTBEAT)?.unwrap_or_default();
        Ok(Evidence { snapshot, events, heartbeat, views })
    }

    /// Since when the feed cannot be followed; `None` while it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lapsed(&self) -> Result<Option<UnixSeconds>, StoreError> {
        self.seconds(LAPSED)
    }

    /// Stores since when the feed cannot be followed, so that a restart does not begin the short budget anew.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_lapsed(&self, since: Option<UnixSeconds>) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        match since {
            Some(since) => batch.put(&self.meta, LAPSED, since.get().to_be_bytes()),
            None => batch.delete(&self.meta, LAPSED),
        }
        self.store.commit_blocking(batch)
    }

    fn seconds(&self, key: &[u8]) -> Result<Option<UnixSeconds>, StoreError> {
        let row = self.meta.get(key)?.and_then(|bytes| bytes.try_into().ok());
        Ok(row.map(|bytes| UnixSeconds::new(u64::from_be_bytes(bytes))))
    }

    /// How far time had come.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn time(&self) -> Result<StoredTime, StoreError> {
        let row = self.meta.get(TIME)?.unwrap_or_default();
        let number = |at: usize| {
            let bytes = row.get(at..)?.first_chunk()?;
            Some(UnixSeconds::new(u64::from_be_bytes(*bytes)))
        };
        let lived = number(8).zip(number(16)).filter(|(began, _)| began.get() > 0);
        Ok(StoredTime { signed: number(0).unwrap_or_default(), lived })
    }

    /// Stores how far time has come, and for how long the length of an absence is open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_time(
        &self,
        time: &StoredTime,
        open_for: Option<Duration>,
    ) -> Result<(), StoreError> {
        let (began, lived) = time.lived.unwrap_or_default();
        let row = [time.signed, began, lived].map(|at| at.get().to_be_bytes()).concat();
        let mut batch = Batch::new();
        batch.put(&self.meta, TIME, row);
        if let Some(open_for) = open_for {
            batch.put(&self.meta, OPEN_FOR, open_for.as_secs().to_be_bytes());
        }
        self.store.commit_blocking(batch)
    }

    /// For how long the length of an absence was open in earlier processes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_for(&self) -> Result<Duration, StoreError> {
        Ok(Duration::from_secs(self.seconds(OPEN_FOR)?.map_or(0, UnixSeconds::get)))
    }

    /// Stores a verified snapshot in the place of everything before it, and the knowledge of `state`, which it has
    /// become, beyond it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_snapshot(&self, bytes: &[u8], state: &TrustState) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for table in [&self.events, &self.views] {
            for (key, _) in rows(table)? {
                batch.delete(table, key);
            }
        }
        self.put_pieces(&mut batch, &self.snapshot, PIECES, bytes)?;
        let floor = state.floor();
        let floor = if floor.is_empty() { Vec::new() } else { floor.to_cbor() };
        self.put_pieces(&mut batch, &self.floor, FLOOR_PIECES, &floor)?;
        batch.delete(&self.meta, HEARTBEAT);
        // In the same step: no later snapshot would tell that there was an absence.
        self.put_forgotten(&mut batch, state);
        if self.line.read().links().is_empty() {
            // Those of a line that the pinned root is not in.
            for (key, _) in rows(&self.links)? {
                batch.delete(&self.links, key);
            }
        }
        self.store.commit_blocking(batch)
    }

    fn put_forgotten(&self, batch: &mut Batch, state: &TrustState) {
        for (row, time) in [(FORGOTTEN, state.forgotten()), (ABSENT, state.absent_since())] {
            match time {
                Some(time) => batch.put(&self.meta, row, time.get().to_be_bytes()),
                None => batch.delete(&self.meta, row),
            }
        }
        if state.absent_since().is_none() {
            batch.delete(&self.meta, OPEN_FOR);
        }
    }

    /// Stores the moment before which revocations may be forgotten, when it is another than that of the snapshot.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_forgotten(&self, state: &TrustState) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        self.put_forgotten(&mut batch, state);
        self.store.commit_blocking(batch)
    }

    /// Stores verified events, the first with number `first`, and the heartbeat that answered, with its signed time, when
    /// it belongs behind them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_events<'a>(
        &self,
        first: u64,
        events: impl Iterator<Item = &'a Vec<u8>>,
        heartbeat: Option<(&[u8], UnixSeconds)>,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for (seq, event) in (first..).zip(events) {
            batch.put(&self.events, seq.to_be_bytes(), event.as_slice());
        }
        self.save_behind(batch, heartbeat)
    }

    /// As [`TrustStore::save_events`], for the views of a verifier of some tenants.
    pub(crate) fn save_views(
        &self,
        viewed: &[Viewed],
        heartbeat: Option<(&[u8], UnixSeconds)>,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for Viewed { seq, view, events } in viewed {
            let seq = seq.to_be_bytes();
            batch.put(&self.views, seq, view.as_slice());
            for (place, event) in events.iter().enumerate() {
                let key = [seq.as_slice(), &piece_key(place)].concat();
                batch.put(&self.events, key, event.as_slice());
            }
        }
        self.save_behind(batch, heartbeat)
    }

    fn save_behind(
        &self,
        mut batch: Batch,
        heartbeat: Option<(&[u8], UnixSeconds)>,
    ) -> Result<(), StoreError> {
        match heartbeat {
            Some((beat, at)) => {
                batch.put(&self.meta, HEARTBEAT, beat);
                batch.put(&self.meta, CONFIRMED, at.get().to_be_bytes());
            }
            // The stored heartbeat would say less than the events now say.
            None => batch.delete(&self.meta, HEARTBEAT),
        }
        self.store.commit_blocking(batch)
    }

    /// How many events and views are stored behind the snapshot.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn event_count(&self) -> Result<usize, StoreError> {
        Ok(self.events.len()? + self.views.len()?)
    }

    /// Bytes of any length; none take no row.
    fn put_pieces(
        &self,
        batch: &mut Batch,
        table: &Table,
        count: &[u8],
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let pieces: Vec<&[u8]> = bytes.chunks(limits::TRUST_PIECE_BYTES).collect();
        for index in pieces.len()..self.piece_count(count)? {
            batch.delete(table, piece_key(index));
        }
        for (index, piece) in pieces.iter().enumerate() {
            batch.put(table, piece_key(index), *piece);
        }
        batch.put(&self.meta, count, piece_key(pieces.len()));
        Ok(())
    }

    fn load_pieces(&self, table: &Table, count: &[u8]) -> Result<Option<Vec<u8>>, TrustStoreError> {
        let count = self.piece_count(count)?;
        if count == 0 {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        for index in 0..count {
            let piece = table.get(piece_key(index))?;
            bytes.extend_from_slice(&piece.ok_or(TrustRefusal::Damaged)?);
        }
        Ok(Some(bytes))
    }

    fn piece_count(&self, count: &[u8]) -> Result<usize, StoreError> {
        let row = self.meta.get(count)?;
        let count = row.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

pub(super) fn rows(table: &Table) -> Result<Vec<Row>, StoreError> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after = rows.last().map(|(key, _)| key.clone());
        let page = table.scan_prefix(&[], after.as_deref(), 1000)?;
        if page.is_empty() {
            return Ok(rows);
        }
        rows.extend(page);
    }
}

pub(super) fn piece_key(index: usize) -> [u8; 4] {
    u32::try_from(index).unwrap_or(u32::MAX).to_be_bytes()
}
