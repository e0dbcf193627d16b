//! Opens a database: its folder, its head, its tables.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::engine::Link;
use super::head::Head;
use super::log::Mover;
use super::writer::Writer;
use super::Sqlite;
use crate::clock::SharedClock;
use crate::random::Random;
use crate::sql::schema::{Dialect, Schema};
use crate::store::{self, Loss, Opened, StoreError, StoreOptions};

const DATA: &str = "data.sqlite";
const HEAD: &str = "head";

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
    let (link, head) = match missing(folder, &file, head.as_ref(), there, options)? {
        Found::Nothing => {
            opened.founded = true;
            found(folder, schema, random)?
        }
        Found::Whole(mut link) => {
            schema_of(&mut link, schema)?;
            let head = head.ok_or(StoreError::Closed)?;
            (link, head)
        }
        Found::Less(link, loss) => {
            if !options.accept_loss {
                return Err(StoreError::Lost(loss));
            }
            opened.accepted = Some(loss);
            match link {
                None => {
                    opened.founded = true;
                    found(folder, schema, random)?
                }
                Some(mut link) => {
                    schema_of(&mut link, schema)?;
                    let (id, commit) = identity(&link)?;
                    (link, new_head(folder, id, commit)?)
                }
            }
        }
    };
    let mover = Mover::start(&file)?;
    let writer = Writer::start(link, head, mover, clock)?;
    let sqlite = Sqlite {
        file,
        readers: Mutex::new(Some(Vec::new())),
        writer,
        lock: Mutex::new(Some(lock)),
    };
    Ok((Arc::new(sqlite), opened))
}

enum Found {
    Nothing,
    Whole(Link),
    Less(Option<Link>, Loss),
}

/// Compares the database with its head.
fn missing(
    folder: &Path,
    file: &Path,
    head: Option<&Head>,
    there: bool,
    options: &StoreOptions,
) -> Result<Found, StoreError> {
    let less = |what: &str| Loss::new(folder, what);
    if !there {
        return Ok(match head {
            // The head is made before the first commit: a founding that was cut off leaves this.
            Some(head) if head.state().commit == 0 && !options.must_exist => Found::Nothing,
            None if !options.must_exist => Found::Nothing,
            _ => Found::Less(None, less("the database is gone")),
        });
    }
    let link =
        match Link::to_write(file).and_then(|link| identity(&link).map(|found| (link, found))) {
            Ok((link, found)) => (link, found),
            Err(StoreError::Damaged { why, .. }) => {
                return Ok(Found::Less(None, less(&format!("the database cannot be read: {why}"))));
            }
            Err(error) => return Err(error),
        };
    let (link, (id, commit)) = link;
    let Some(head) = head else {
        return Ok(match commit {
            0 => Found::Nothing,
            _ => Found::Less(Some(link), less("the file `head` is gone")),
        });
    };
    let state = head.state();
    if state.id != id {
        let what = "the file `head` is that of another database";
        return Ok(Found::Less(Some(link), less(what)));
    }
    match state.commit.checked_sub(commit).filter(|missing| *missing > 0) {
        None => Ok(Found::Whole(link)),
        Some(missing) => {
            let what = format!("the last {missing} commits are missing");
            Ok(Found::Less(Some(link), less(&what)))
        }
    }
}

/// A new database and its head.
fn found(folder: &Path, schema: Schema, random: &dyn Random) -> Result<(Link, Head), StoreError> {
    let mut id = [0; 16];
    random.fill(&mut id).map_err(|error| StoreError::Io(error.to_string()))?;
    let file = folder.join(DATA);
    for name in [DATA, "data.sqlite-wal", "data.sqlite-shm"] {
        match std::fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::from(error));
            }
            _ => {}
        }
    }
    let head = new_head(folder, id, 0)?;
    let mut link = Link::to_write(&file)?;
    link.transaction(|link| {
        let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        link.set(&format!(
            "CREATE TABLE tessera_store (one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL,
             commits INTEGER NOT NULL) STRICT; INSERT INTO tessera_store VALUES (1, x'{digits}', 0)"
        ))
    })?;
    schema_of(&mut link, schema)?;
    sync(folder)?;
    Ok((link, head))
}

fn new_head(folder: &Path, id: [u8; 16], commit: u64) -> Result<Head, StoreError> {
    let head = Head::make(&folder.join(HEAD), id, commit).map_err(StoreError::from)?;
    sync(folder)?;
    Ok(head)
}

fn sync(folder: &Path) -> Result<(), StoreError> {
    Ok(File::open(folder)?.sync_all()?)
}

/// The id of the database, and the number of its last commit.
fn identity(link: &Link) -> Result<([u8; 16], u64), StoreError> {
    let damaged = |why: &str| StoreError::Damaged { table: "tessera_store", why: why.to_owned() };
    if link.number("SELECT COUNT(*) FROM sqlite_master WHERE name = 'tessera_store'")? == 0 {
        return Ok(([0; 16], 0));
    }
    let statement = crate::sql::batch::Statement {
        table: "tessera_store",
        sql: "SELECT id, commits FROM tessera_store".into(),
        values: Vec::new(),
    };
    let mut rows = link.rows(&statement, 1)?;
    let mut row = rows.pop().ok_or_else(|| damaged("no row"))?;
    Ok((row.array()?, row.number()?))
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

/// A copy of the database in a new folder, with a head of its own.
pub(super) fn copy(link: &Link, to: &Path) -> Result<(), StoreError> {
    let lock = store::lock(to)?;
    let file = to.join(DATA);
    link.copy_to(&file)?;
    File::open(&file)?.sync_all()?;
    let copied = Link::to_read(&file)?;
    let (id, commit) = identity(&copied)?;
    copied.close()?;
    new_head(to, id, commit)?;
    drop(lock);
    Ok(())
}
