//! The journal: every group of batches, in order, on the disk before any caller is answered.
//!
//! ```text
//! header   "tsjrnl01"  store id 16   number u64   first commit u64   crc u32
//! record   "TJRC"      length u32    commit u64   crc u32            changes   (padded to 8 bytes)
//! changes  count u32, then each: key length u16, key, 0xffffffff or value length u32, value
//! ```
//! Numbers are big-endian. Every CRC also covers the store id, which is random and known to this folder alone, and the
//! journal's number: neither bytes of a peer nor what an earlier use of the file left can be taken for a record.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::checksum;
use super::disk::{numbered_path, Disk};
use super::engine::Changes;
use crate::limits::JOURNAL_STEP_BYTES;

pub(super) const KIND: &str = "journal";
const SPARE: &str = "spare";
const MAGIC: &[u8; 8] = b"tsjrnl01";
const RECORD: &[u8; 4] = b"TJRC";
const HEADER_BYTES: usize = 44;
/// Where the first record stands.
const FIRST: u64 = 48;
const RECORD_HEAD_BYTES: usize = 20;
const REMOVED: u32 = u32::MAX;

/// Names a store: its journals and heads belong to no other.
pub(super) type StoreId = [u8; 16];

/// A journal that is written.
pub(super) struct Journal {
    disk: Disk,
    file: File,
    path: PathBuf,
    store: StoreId,
    number: u64,
    end: u64,
    allocated: u64,
}

impl Journal {
    /// A new journal in `folder`, durable with its name. The file of a former one is used again when there is one, so
    /// that its blocks need not be allocated again.
    pub(super) fn create(
        disk: &Disk,
        folder: &Path,
        store: StoreId,
        number: u64,
        first_commit: u64,
    ) -> io::Result<Self> {
        let path = numbered_path(folder, KIND, number);
        match fs::rename(folder.join(SPARE), &path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.open(&path)?;
        let allocated = file.metadata()?.len();
        disk.write_at(&path, &file, &header(&store, number, first_commit), 0)?;
        disk.sync(&path, &file)?;
        disk.sync_folder(folder)?;
        Ok(Self { disk: disk.clone(), file, path, store, number, end: FIRST, allocated })
    }

    /// Adds a record and returns once it is on the disk.
    pub(super) fn append(&mut self, commit: u64, changes: &Changes) -> io::Result<()> {
        let mut record = record(&self.store, self.number, commit, changes)?;
        let end = self.end + u64::try_from(record.len()).map_err(io::Error::other)?;
        if end > self.allocated {
            // Blocks that hold zeros already are written again without a change of the file's metadata, which would
            // cost several blocks more with every sync.
            record.resize(record.len() + JOURNAL_STEP_BYTES, 0);
        }
        self.disk.write_at(&self.path, &self.file, &record, self.end)?;
        self.allocated = self.allocated.max(self.end + record.len() as u64);
        self.disk.sync(&self.path, &self.file)?;
        self.end = end;
        Ok(())
    }

    /// Takes a record back that could not be written as a whole, durably: no start ever reads it.
    pub(super) fn take_back(&mut self) -> io::Result<()> {
        self.disk.cut(&self.path, &self.file, self.end)?;
        self.allocated = self.end;
        Ok(())
    }

    /// Allocates blocks for what comes next: the proof that there is room on the disk.
    pub(super) fn make_room(&mut self) -> io::Result<()> {
        if self.allocated >= self.end + JOURNAL_STEP_BYTES as u64 {
            return Ok(());
        }
        let zeros = vec![0; JOURNAL_STEP_BYTES];
        let written = self.disk.write_at(&self.path, &self.file, &zeros, self.end);
        written.and_then(|()| self.disk.sync(&self.path, &self.file))?;
        self.allocated = self.allocated.max(self.end + JOURNAL_STEP_BYTES as u64);
        Ok(())
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Gives back what is allocated beyond the last record.
    pub(super) fn trim(&self) -> io::Result<()> {
        self.disk.cut(&self.path, &self.file, self.end)
    }
}

/// Lets a journal go whose rows are all in the base. One file is kept for the next journal.
pub(super) fn retire(folder: &Path, number: u64) -> io::Result<()> {
    let (path, spare) = (numbered_path(folder, KIND, number), folder.join(SPARE));
    match spare.exists() {
        true => super::disk::remove(&path),
        false => match fs::rename(&path, &spare) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// Removes the file that is kept for the next journal.
pub(super) fn remove_spare(folder: &Path) -> io::Result<()> {
    super::disk::remove(&folder.join(SPARE))
}

/// How a journal ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Behind the last record there is nothing, or one that was never finished.
    Whole,
    /// The header is not that of this journal.
    NoHeader,
    /// Records follow behind bytes that are none.
    Hole,
}

/// The readable part of a journal.
#[derive(Debug)]
pub(super) struct Replayed {
    /// The number of its last good record, or the one before its first.
    pub(super) last_commit: u64,
    pub(super) ending: Ending,
    pub(super) bytes: u64,
}

/// Reads journal `number`; `visit` gets each group of changes in order. The first record must be `expected`.
pub(super) fn replay(
    folder: &Path,
    store: &StoreId,
    number: u64,
    expected: u64,
    mut visit: impl FnMut(Changes),
) -> io::Result<Replayed> {
    let file = File::open(numbered_path(folder, KIND, number))?;
    let length = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut replayed =
        Replayed { last_commit: expected.saturating_sub(1), ending: Ending::Whole, bytes: FIRST };
    let mut head = [0; FIRST as usize];
    let read = read_up_to(&mut reader, &mut head)?;
    if read < FIRST as usize || !head.starts_with(&header(store, number, expected)) {
        replayed.ending = Ending::NoHeader;
        return Ok(replayed);
    }
    loop {
        let left = length.saturating_sub(replayed.bytes);
        let commit = replayed.last_commit + 1;
        match read_record(&mut reader, store, number, commit, left)? {
            Some((changes, bytes)) => {
                visit(changes);
                replayed.last_commit = commit;
                replayed.bytes += bytes;
            }
            None => break,
        }
    }
    drop(reader);
    if record_behind(folder, store, number, &replayed)? {
        replayed.ending = Ending::Hole;
    }
    Ok(replayed)
}

/// The store of this journal, and its first commit; `None` when its header is not good.
pub(super) fn identify(folder: &Path, number: u64) -> io::Result<Option<(StoreId, u64)>> {
    let mut head = [0; HEADER_BYTES];
    let read = read_up_to(&mut File::open(numbered_path(folder, KIND, number))?, &mut head)?;
    let rest = head.strip_prefix(MAGIC).filter(|_| read == HEADER_BYTES);
    let Some((store, rest)) = rest.and_then(|rest| rest.split_first_chunk::<16>()) else {
        return Ok(None);
    };
    let first = rest.get(8..16).and_then(|bytes| bytes.first_chunk::<8>());
    let first = first.map_or(0, |bytes| u64::from_be_bytes(*bytes));
    Ok((head == header(store, number, first).as_slice()).then_some((*store, first)))
}

fn header(store: &StoreId, number: u64, first_commit: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(store);
    header.extend_from_slice(&number.to_be_bytes());
    header.extend_from_slice(&first_commit.to_be_bytes());
    let crc = checksum::of(&[&header]);
    header.extend_from_slice(&crc.to_be_bytes());
    header
}

fn record(store: &StoreId, number: u64, commit: u64, changes: &Changes) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; RECORD_HEAD_BYTES];
    let count = u32::try_from(changes.len()).map_err(io::Error::other)?;
    bytes.extend_from_slice(&count.to_be_bytes());
    for (key, value) in changes {
        let length = u16::try_from(key.len()).map_err(io::Error::other)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(key);
        match value {
            Some(value) => {
                let length = u32::try_from(value.len()).map_err(io::Error::other)?;
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(value);
            }
            None => bytes.extend_from_slice(&REMOVED.to_be_bytes()),
        }
    }
    let length = u32::try_from(bytes.len() - RECORD_HEAD_BYTES).map_err(io::Error::other)?;
    let mut head = Vec::with_capacity(RECORD_HEAD_BYTES);
    head.extend_from_slice(RECORD);
    head.extend_from_slice(&length.to_be_bytes());
    head.extend_from_slice(&commit.to_be_bytes());
    let crc = {
        let body = bytes.get(RECORD_HEAD_BYTES..).unwrap_or_default();
        record_crc(store, number, commit, length, body)
    };
    head.extend_from_slice(&crc.to_be_bytes());
    bytes.splice(..RECORD_HEAD_BYTES, head);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    Ok(bytes)
}

fn record_crc(store: &StoreId, number: u64, commit: u64, length: u32, body: &[u8]) -> u32 {
    checksum::of(&[
        store,
        &number.to_be_bytes(),
        &commit.to_be_bytes(),
        &length.to_be_bytes(),
        body,
    ])
}

/// The next record and its bytes; `None` when what stands there is none.
fn read_record(
    reader: &mut impl Read,
    store: &StoreId,
    number: u64,
    commit: u64,
    left: u64,
) -> io::Result<Option<(Changes, u64)>> {
    let mut head = [0; RECORD_HEAD_BYTES];
    if read_up_to(reader, &mut head)? < RECORD_HEAD_BYTES {
        return Ok(None);
    }
    let Some((length, found, crc)) = record_head(&head) else { return Ok(None) };
    let whole = (RECORD_HEAD_BYTES as u64 + u64::from(length)).next_multiple_of(8);
    if found != commit || whole > left {
        return Ok(None);
    }
    let mut body = vec![0; usize::try_from(whole).map_err(io::Error::other)? - RECORD_HEAD_BYTES];
    if read_up_to(reader, &mut body)? < body.len() {
        return Ok(None);
    }
    body.truncate(usize::try_from(length).map_err(io::Error::other)?);
    if crc != record_crc(store, number, commit, length, &body) {
        return Ok(None);
    }
    Ok(read_changes(&body).map(|changes| (changes, whole)))
}

/// Length, commit and CRC of a record's head.
fn record_head(head: &[u8]) -> Option<(u32, u64, u32)> {
    let rest = head.strip_prefix(RECORD)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (commit, rest) = rest.split_first_chunk::<8>()?;
    let crc = rest.first_chunk::<4>()?;
    Some((u32::from_be_bytes(*length), u64::from_be_bytes(*commit), u32::from_be_bytes(*crc)))
}

fn read_changes(body: &[u8]) -> Option<Changes> {
    let (count, mut rest) = body.split_first_chunk::<4>()?;
    let mut changes = Changes::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let (key, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into())?;
        let (length, behind) = behind.split_first_chunk::<4>()?;
        let (value, behind) = match u32::from_be_bytes(*length) {
            REMOVED => (None, behind),
            length => {
                let (value, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
                (Some(value.to_vec()), behind)
            }
        };
        rest = behind;
        changes.insert(key.to_vec(), value);
    }
    rest.is_empty().then_some(changes)
}

/// Whether a good record stands somewhere behind the place where reading ended: then the bytes between were one too.
fn record_behind(
    folder: &Path,
    store: &StoreId,
    number: u64,
    replayed: &Replayed,
) -> io::Result<bool> {
    let mut file = File::open(numbered_path(folder, KIND, number))?;
    file.seek(SeekFrom::Start(replayed.bytes))?;
    let mut behind = Vec::new();
    file.read_to_end(&mut behind)?;
    for place in (0..behind.len()).step_by(8) {
        let here = behind.get(place..).unwrap_or_default();
        if !here.starts_with(RECORD) {
            continue;
        }
        let Some((length, commit, crc)) = record_head(here) else { continue };
        let end = RECORD_HEAD_BYTES.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        let body = here.get(RECORD_HEAD_BYTES..end);
        let good = body.is_some_and(|body| crc == record_crc(store, number, commit, length, body));
        if good && commit > replayed.last_commit {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
