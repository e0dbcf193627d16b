//! A base: all rows as of one commit, in key order, in blocks. It is written once and never changed.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::disk::Disk;
use super::engine::{Block, Blocks, Unreadable};
use super::error::StoreError;
use super::head::TableState;
use super::Row;
use crate::limits::STORE_BLOCK_BYTES;

pub(super) const KIND: &str = "base";

/// Rows at rest.
#[derive(Default)]
pub(super) struct Base {
    /// `None`: it has no row.
    blocks: Option<Blocks>,
    /// Bytes of all keys and values.
    pub(super) bytes: u64,
}

/// Contents of a base.
#[derive(Default)]
pub(super) struct Content {
    pub(super) tables: Vec<TableState>,
    pub(super) bytes: u64,
}

/// Writes a base; rows come in key order.
pub(super) struct Builder<'a> {
    disk: &'a Disk,
    path: PathBuf,
    blocks: Blocks,
    first: Vec<u8>,
    block: Vec<u8>,
    tally: Tally,
}

/// Counts and hashes rows table by table.
#[derive(Default)]
struct Tally {
    content: Content,
    table: Vec<u8>,
    rows: u64,
    hash: Sha256,
}

impl Base {
    /// Opens the base in `path`, reads every row of it, and says what it holds.
    pub(super) fn open(path: &Path) -> Result<(Self, Content), Unreadable> {
        let blocks = Blocks::open(path)?;
        let base = Self { blocks: Some(blocks), bytes: 0 };
        let mut tally = Tally::default();
        base.each(|key, value| {
            tally.add(key, value);
            Ok(())
        })
        .map_err(|error| Unreadable::Damaged(error.to_string()))?;
        let content = tally.finish();
        Ok((Self { bytes: content.bytes, ..base }, content))
    }

    /// The readable part of a damaged base, up to the first fault.
    pub(super) fn salvage(
        path: &Path,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Unreadable> {
        let base = Self { blocks: Some(Blocks::open(path)?), bytes: 0 };
        let read = base.each(|key, value| {
            visit(key, value);
            Ok(())
        });
        read.map_err(Unreadable::Io)
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(blocks) = &self.blocks else { return Ok(None) };
        let Some((_, block)) = blocks.at(key)? else { return Ok(None) };
        let mut rest = block.as_ref();
        while !rest.is_empty() {
            let (row, value, behind) = split_row(rest).ok_or_else(damaged)?;
            if row == key {
                return Ok(Some(value.to_vec()));
            }
            rest = behind;
        }
        Ok(None)
    }

    /// All rows from the first whose key is not before `start`.
    pub(super) fn from<'a>(&'a self, start: &[u8]) -> Forward<'a> {
        Forward {
            blocks: self.blocks.as_ref(),
            next: Some(Start::At(start.to_vec())),
            block: None,
            place: 0,
            start: start.to_vec(),
        }
    }

    /// The last row whose key is before `end`.
    pub(super) fn last_before(&self, end: &[u8]) -> Result<Option<Row>, StoreError> {
        let Some(blocks) = &self.blocks else { return Ok(None) };
        let Some((_, block)) = blocks.before(end)? else { return Ok(None) };
        let (mut rest, mut found) = (block.as_ref(), None);
        while !rest.is_empty() {
            let (key, value, behind) = split_row(rest).ok_or_else(damaged)?;
            if key >= end {
                break;
            }
            found = Some((key, value));
            rest = behind;
        }
        Ok(found.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    fn each(
        &self,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.from(&[]).try_for_each(|row| {
            let (key, value) = row?;
            visit(&key, &value)
        })
    }

    /// Lets the files go.
    pub(super) fn close(&mut self) {
        if let Some(mut blocks) = self.blocks.take() {
            blocks.close();
        }
    }
}

enum Start {
    At(Vec<u8>),
    Behind(Block),
}

/// Rows of a base in order.
pub(super) struct Forward<'a> {
    blocks: Option<&'a Blocks>,
    next: Option<Start>,
    block: Option<Block>,
    place: usize,
    start: Vec<u8>,
}

impl Forward<'_> {
    fn step(&mut self) -> Result<Option<Row>, StoreError> {
        loop {
            let rest = self.block.as_ref().and_then(|block| block.get(self.place..));
            if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                let (key, value, behind) = split_row(rest).ok_or_else(damaged)?;
                self.place += rest.len() - behind.len();
                if key >= self.start.as_slice() {
                    return Ok(Some((key.to_vec(), value.to_vec())));
                }
                continue;
            }
            if !self.turn()? {
                return Ok(None);
            }
        }
    }

    /// Goes to the next block.
    fn turn(&mut self) -> Result<bool, StoreError> {
        let (Some(blocks), Some(next)) = (self.blocks, self.next.take()) else { return Ok(false) };
        let found = match next {
            Start::At(key) => match blocks.at(&key)? {
                Some(found) => Some(found),
                None => blocks.behind(&key)?,
            },
            Start::Behind(first) => blocks.behind(&first)?,
        };
        let Some((first, block)) = found else { return Ok(false) };
        (self.next, self.block, self.place) = (Some(Start::Behind(first)), Some(block), 0);
        Ok(true)
    }
}

impl Iterator for Forward<'_> {
    type Item = Result<Row, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            (self.next, self.block) = (None, None);
        }
        step.transpose()
    }
}

impl<'a> Builder<'a> {
    pub(super) fn new(disk: &'a Disk, path: &Path) -> Result<Self, StoreError> {
        super::disk::remove(path)?;
        disk.make_folder(path)?;
        let blocks = Blocks::open(path).map_err(|unreadable| match unreadable {
            Unreadable::Io(error) => error,
            Unreadable::Locked => StoreError::Locked(path.to_owned()),
            Unreadable::Damaged(why) => StoreError::Io(why),
        })?;
        let (first, block, tally) = (Vec::new(), Vec::new(), Tally::default());
        Ok(Self { disk, path: path.to_owned(), blocks, first, block, tally })
    }

    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.tally.add(key, value);
        if self.block.is_empty() {
            self.first = key.to_vec();
        }
        let (long_key, long_value) = (StoreError::TooLarge("key"), StoreError::TooLarge("value"));
        let key_length = u16::try_from(key.len()).map_err(|_| long_key)?;
        let value_length = u32::try_from(value.len()).map_err(|_| long_value)?;
        self.block.extend_from_slice(&key_length.to_be_bytes());
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(&value_length.to_be_bytes());
        self.block.extend_from_slice(value);
        match self.block.len() >= STORE_BLOCK_BYTES {
            true => self.end_block(),
            false => Ok(()),
        }
    }

    fn end_block(&mut self) -> Result<(), StoreError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        self.disk.about_to_write(&self.path, block.len())?;
        self.blocks.put(&self.first, block)
    }

    /// Adds all these rows and finishes.
    pub(super) fn fill(
        mut self,
        rows: impl Iterator<Item = Result<Row, StoreError>>,
    ) -> Result<(Base, Content), StoreError> {
        for row in rows {
            let (key, value) = row?;
            self.add(&key, &value)?;
        }
        self.finish()
    }

    /// Returns once the base is on the disk, the folder's own name excepted.
    pub(super) fn finish(mut self) -> Result<(Base, Content), StoreError> {
        self.end_block()?;
        self.blocks.flush()?;
        self.disk.sync_tree(&self.path)?;
        let content = self.tally.finish();
        Ok((Base { blocks: Some(self.blocks), bytes: content.bytes }, content))
    }
}

impl Tally {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let name = table_of(key);
        if name != self.table.as_slice() {
            self.end_table();
            self.table = name.to_vec();
        }
        self.rows += 1;
        self.content.bytes += (key.len() + value.len()) as u64;
        self.hash.update((key.len() as u64).to_be_bytes());
        self.hash.update(key);
        self.hash.update((value.len() as u64).to_be_bytes());
        self.hash.update(value);
    }

    fn end_table(&mut self) {
        if self.rows > 0 {
            let name = self.table.get(1..).unwrap_or_default();
            self.content.tables.push(TableState {
                name: String::from_utf8_lossy(name).into_owned(),
                rows: std::mem::take(&mut self.rows),
                hash: self.hash.finalize_reset().into(),
            });
        }
    }

    fn finish(mut self) -> Content {
        self.end_table();
        self.content
    }
}

/// Length and name of the table at the start of a key.
fn table_of(key: &[u8]) -> &[u8] {
    let length = key.first().map_or(0, |length| usize::from(*length));
    key.get(..=length).unwrap_or(key)
}

fn split_row(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) =
        rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    Some((key, value, rest))
}

fn damaged() -> StoreError {
    StoreError::Io("a block of the base is not what was written".to_owned())
}
