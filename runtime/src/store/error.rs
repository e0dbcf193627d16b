use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::loss::Loss;

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the folder open.
    Locked(PathBuf),
    /// The store holds less than it must, or other things: it was bent, cut, or part of it is gone. Nothing was changed.
    Lost(Loss),
    /// Others than the owner can look into the folder of this store, so what is in it must be taken as known.
    Exposed {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// There is no room on the disk: nothing was written. The store is not healthy, tries again by itself and goes on when
    /// there is room.
    Full(String),
    /// The operating system refused: missing rights, broken device. Nothing was acknowledged.
    Io(String),
    /// An earlier write failed: the store takes no more until the process is restarted.
    Poisoned,
    /// The store was closed.
    Closed,
    /// More wait to be written than the store takes, in its queue or in memory for a new base; nothing was written, and a
    /// later try may be.
    Busy,
    /// A precondition of the batch does not hold; nothing was written.
    Conflict {
        /// The table of the first precondition that failed.
        table: &'static str,
    },
    /// A key, a value or a batch is over its limit (see [`crate::limits`]); nothing was written.
    TooLarge(&'static str),
    /// A stored record cannot be read: the file was damaged or comes from a newer version.
    Damaged {
        /// Where.
        table: &'static str,
        /// The error of the decoder.
        why: String,
    },
    /// A newer program has written it: this one does not know its tables.
    Newer {
        /// The version of its tables.
        found: usize,
        /// The newest version that this program knows.
        known: usize,
    },
    /// The caller's: a value that cannot be encoded.
    Encode(String),
    /// The caller's: a table name that is empty or too long.
    BadTable,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(path) => {
                write!(f, "store {} is in use by another process", path.display())
            }
            Self::Lost(loss) => write!(
                f,
                "{loss}. Acknowledged data are missing: restore a backup, or start once with --accept-loss to \
                 go on with what is left"
            ),
            Self::Exposed { path, mode } => {
                let path = path.display();
                write!(
                    f,
                    "store {path} has mode {mode:o}: others can read the keys and tokens in it. Replace those that \
                     matter, then chmod 700 {path}"
                )
            }
            Self::Full(why) => {
                write!(f, "no room on the disk: {why}; nothing was written, make room there")
            }
            Self::Io(why) => write!(f, "store I/O: {why}"),
            Self::Poisoned => f.write_str(
                "store stopped writing after an I/O error; restart when its cause is mended",
            ),
            Self::Closed => f.write_str("store is closed"),
            Self::Busy => {
                f.write_str("store has more to write than it can take now; nothing was written")
            }
            Self::Conflict { table } => write!(f, "a row of {table} is not what was expected"),
            Self::TooLarge(what) => write!(f, "{what} over its limit"),
            Self::Damaged { table, why } => write!(f, "damaged record in {table}: {why}"),
            Self::Newer { found, known } => write!(
                f,
                "the tables of the database have version {found}, and this program knows {known}: start the newer \
                 program, or restore a backup that this one made"
            ),
            Self::Encode(why) => write!(f, "record not encodable: {why}"),
            Self::BadTable => f.write_str("table name empty or too long"),
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// The error of the operating system, about `what`.
    pub(super) fn of(error: &std::io::Error, what: impl fmt::Display) -> Self {
        match is_full(error) {
            true => Self::Full(format!("{what}: {error}")),
            false => Self::Io(format!("{what}: {error}")),
        }
    }
}

/// Whether a write found no room. Another try is worth it when there is room again.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::of(&error, "its folder")
    }
}
