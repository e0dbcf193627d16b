//! Opens a database: its folder, its head, its tables.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::engine::Link;
use super::head::Head;
use super::log::Mover;
use super::writer::Writer;
use super::{salvage, Sqlite};
use crate::clock::SharedClock;
use crate::limits::{SQL_CHECKED_AT_START, SQL_READERS};
use crate::random::Random;
use crate::sql::batch::Statement;
use crate::sql::kept::Kept;
use crate::sql::schema::{Dialect, Schema};
use crate::store::{self, Loss, Opened, StoreError, StoreOptions};

pub(super) const DATA: &str = "data.sqlite";
pub(super) const LOG: &str = "data.sqlite-wal";
const HEAD: &str = "head";
/// Nothing of it can be gone on with.
const ANEW: &str = "--accept-loss would begin a new, empty one, with new keys";

/// Opens or makes the database in `folder`, for this process alone.
pub(in crate::sql) fn open(
    folder: &Path,
    schema: Schema,
    options: &StoreOptions,
    (clock, random): (SharedClock, &dyn Random),
) -> Result<(Arc<Sqlite>, Opened), StoreError> {
    let lock = store::lock(folder)?;
    let file = folder.join(DATA);
    let head = Head::open(&folder.join(HEAD)).map_err(StoreError::from)?;
    let there = file.exists();
    let mut opened = Opened::default();
    let (link, head) = match missing(folder, &file, head, there, options)? {
        Found::Nothing => {
            opened.founded = true;
            found(folder, schema, random)?
        }
        Found::Whole(mut link, head) => {
            schema_of(&mut link, schema)?;
            let faults = faults(&link, &file, options)?;
            if faults.is_empty() {
                (link, head)
            } else {
                let loss = Loss::new(folder, faults.join("; "));
                if !options.accept_loss {
                    return Err(StoreError::Lost(loss));
                }
                opened.accepted = Some(loss);
                drop(head);
                salvaged(folder, link, schema, random)?
            }
        }
        Found::Less(link, loss) => {
            if !options.accept_loss {
                return Err(StoreError::Lost(loss));
            }
            opened.accepted = Some(loss);
            match link {
                None => {
                    opened.founded = true;
                    if there {
                        // Parts of it may still be readable, by other means.
                        salvage::set_aside(folder)?;
                    }
                    found(folder, schema, random)?
                }
                Some((mut link, Identity { id, commit })) => {
                    schema_of(&mut link, schema)?;
                    match faults(&link, &file, options)?.is_empty() {
                        true => (link, new_head(folder, id, commit)?),
                        false => salvaged(folder, link, schema, random)?,
                    }
                }
            }
        }
    };
    // Commits that are shown from here on are durable: of a log whose sync has failed, a later sync says nothing.
    link.move_all()?;
    link.moves_at_close(true)?;
    let mover = Mover::start(&file)?;
    let log = folder.join(LOG);
    let kept = Kept::of(schema.kept);
    let writer = Writer::start(link, head, mover, (log, clock, Arc::clone(&kept)))?;
    let sqlite = Sqlite {
        file,
        readers: Mutex::new(Some(Vec::new())),
        turns: Arc::new(Semaphore::new(SQL_READERS)),
        writer,
        kept,
        lock: Mutex::new(Some(lock)),
    };
    Ok((Arc::new(sqlite), opened))
}

/// The faults of a database that is small enough to be read as a whole at each start. Those of a larger one are told by the
/// reads that meet them, and by a check on request.
fn faults(link: &Link, file: &Path, options: &StoreOptions) -> Result<Vec<String>, StoreError> {
    // With an accepted loss there is time for a large one too.
    let check = options.accept_loss || options.check_all;
    match check || std::fs::metadata(file)?.len() <= SQL_CHECKED_AT_START {
        true => link.faults(),
        false => Ok(Vec::new()),
    }
}

enum Found {
    Nothing,
    Whole(Link, Head),
    /// The database, as far as it can be gone on with.
    Less(Option<(Link, Identity)>, Loss),
}

/// A database names itself, and counts its commits.
#[derive(Clone, Copy)]
struct Identity {
    id: [u8; 16],
    commit: u64,
}

/// Compares the database with its head.
fn missing(
    folder: &Path,
    file: &Path,
    head: Option<Head>,
    there: bool,
    options: &StoreOptions,
) -> Result<Found, StoreError> {
    let less = |what: &str| Loss::new(folder, what);
    // The head is made before the first commit: a founding that was cut off leaves one that has seen none.
    let is_new = head.as_ref().is_none_or(|head| head.state().commit == 0) && !options.must_exist;
    if !there {
        return Ok(match is_new {
            true => Found::Nothing,
            false => Found::Less(None, less(&format!("the database is gone; {ANEW}"))),
        });
    }
    let looked = Link::to_write(file).and_then(|link| identity(&link).map(|found| (link, found)));
    let (link, Identity { id, commit }) = match looked {
        Ok((link, Some(found))) => (link, found),
        Ok((_, None)) if is_new => return Ok(Found::Nothing),
        Ok((_, None)) => {
            return Ok(Found::Less(None, less(&format!("the database is empty; {ANEW}"))))
        }
        Err(StoreError::Damaged { why, .. }) => {
            let what = format!("the database cannot be read: {why}; {ANEW}");
            return Ok(Found::Less(None, less(&what)));
        }
        Err(error) => return Err(error),
    };
    let found = Identity { id, commit };
    let Some(mut head) = head else {
        return Ok(Found::Less(Some((link, found)), less("the file `head` is gone")));
    };
    let state = head.state();
    if state.id != id {
        let what = "the file `head` is that of another database";
        return Ok(Found::Less(Some((link, found)), less(what)));
    }
    if let Some(missing) = state.commit.checked_sub(commit).filter(|missing| *missing > 0) {
        let what = format!("the last {missing} commits are missing");
        return Ok(Found::Less(Some((link, found)), less(&what)));
    }
    if state.moved > 0 && commits_of(file).is_some_and(|commits| commits < state.moved) {
        let what = "the database file is older than its log";
        return Ok(Found::Less(Some((link, found)), less(what)));
    }
    // A power cut left an older number: commits are counted on from the database's own, and an older copy is known again.
    head.note(commit).and_then(|()| head.sync()).map_err(StoreError::from)?;
    Ok(Found::Whole(link, head))
}

/// The readable rows of a damaged database, in its place.
fn salvaged(
    folder: &Path,
    link: Link,
    schema: Schema,
    random: &dyn Random,
) -> Result<(Link, Head), StoreError> {
    salvage::run(folder, link, schema, random)?;
    let link = Link::to_write(&folder.join(DATA))?;
    let Some(Identity { id, commit }) = identity(&link)? else {
        return Err(StoreError::Io("the salvaged database is empty".to_owned()));
    };
    if let Some(fault) = link.faults()?.first() {
        return Err(StoreError::Io(format!("the salvaged database is damaged too: {fault}")));
    }
    let head = new_head(folder, id, commit)?;
    Ok((link, head))
}

/// A new database and its head.
fn found(folder: &Path, schema: Schema, random: &dyn Random) -> Result<(Link, Head), StoreError> {
    for name in [DATA, LOG, "data.sqlite-shm"] {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::from(error));
            }
            _ => {}
        }
    }
    // The head of a founding that was cut off has seen no commit.
    let id = draw(random)?;
    let head = new_head(folder, id, 0)?;
    let link = make_as(&folder.join(DATA), id, schema)?;
    sync(folder)?;
    Ok((link, head))
}

/// A new database in this file, with a name that it draws.
pub(super) fn make(file: &Path, schema: Schema, random: &dyn Random) -> Result<Link, StoreError> {
    make_as(file, draw(random)?, schema)
}

fn draw(random: &dyn Random) -> Result<[u8; 16], StoreError> {
    let mut id = [0; 16];
    random.fill(&mut id).map_err(|error| StoreError::Io(error.to_string()))?;
    Ok(id)
}

fn make_as(file: &Path, id: [u8; 16], schema: Schema) -> Result<Link, StoreError> {
    let mut link = Link::to_write(file)?;
    link.transaction(|link| {
        let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        link.set(&format!(
            "CREATE TABLE tessera_store (one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL,
             commits INTEGER NOT NULL) STRICT; INSERT INTO tessera_store VALUES (1, x'{digits}', 0)"
        ))
    })?;
    schema_of(&mut link, schema)?;
    link.moves_at_close(true)?;
    Ok(link)
}

fn new_head(folder: &Path, id: [u8; 16], commit: u64) -> Result<Head, StoreError> {
    let head = Head::make(&folder.join(HEAD), id, commit).map_err(StoreError::from)?;
    sync(folder)?;
    Ok(head)
}

pub(super) fn sync(folder: &Path) -> Result<(), StoreError> {
    Ok(File::open(folder)?.sync_all()?)
}

/// The id of the database, and the number of its last commit; `None` of a file without our tables.
fn identity(link: &Link) -> Result<Option<Identity>, StoreError> {
    if link.number("SELECT COUNT(*) FROM sqlite_master WHERE name = 'tessera_store'")? == 0 {
        return Ok(None);
    }
    let statement = Statement {
        table: "tessera_store",
        sql: "SELECT id, commits FROM tessera_store".into(),
        values: Vec::new(),
    };
    let row = link.rows(&statement, 1)?.pop();
    row.map(|mut row| Ok(Identity { id: row.array()?, commit: row.number()? })).transpose()
}

/// The number of the last commit that is in the file without its log; `None` when that cannot be read: the log may repair it.
fn commits_of(file: &Path) -> Option<u64> {
    let link = Link::to_file(file).ok()?;
    let found = identity(&link).ok()?;
    link.close().ok()?;
    found.map(|found| found.commit)
}

/// Brings the tables to the version of this program.
fn schema_of(link: &mut Link, schema: Schema) -> Result<(), StoreError> {
    let present = usize::try_from(link.number("PRAGMA user_version")?).unwrap_or(usize::MAX);
    if present > schema.steps.len() {
        return Err(StoreError::Newer { found: present, known: schema.steps.len() });
    }
    for (at, step) in schema.steps.iter().enumerate().skip(present) {
        let step = Dialect::Sqlite.render(step);
        link.transaction(|link| {
            link.set(&step)?;
            link.set(&format!("PRAGMA user_version = {}", at + 1))
        })?;
        if present > 0 {
            tracing::info!(
                schema = schema.name,
                version = at + 1,
                "the tables were brought to a newer version"
            );
        }
    }
    Ok(())
}

/// A copy of the database in a new folder, with a head of its own. The file gets its name when all of it is on the disk.
pub(super) fn copy(link: &Link, to: &Path) -> Result<(), StoreError> {
    let lock = store::lock(to)?;
    let (part, file) = (to.join("data.sqlite.part"), to.join(DATA));
    link.copy_to(&part)?;
    File::open(&part)?.sync_all()?;
    let copied = Link::to_read(&part)?;
    let found = identity(&copied)?;
    copied.close()?;
    let Some(Identity { id, commit }) = found else {
        return Err(StoreError::Io("the copy is empty".to_owned()));
    };
    new_head(to, id, commit)?;
    std::fs::rename(&part, &file)?;
    sync(to)?;
    drop(lock);
    Ok(())
}
