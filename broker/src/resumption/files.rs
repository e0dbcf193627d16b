//! Keys in files: our own folder, whose one file is replaced as a whole, and the file that a cluster shares.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tessera_runtime::secret::{
    owner_alone, read_secret_text, write_secret_file, Secret, SecretFileError,
};
use tessera_token::encoding::hex;
use tessera_token::proof::TicketKey;
use tessera_token::time::UnixSeconds;

use crate::limits::TICKET_KEYS_KEPT;

/// Why ticket keys cannot be used. Names files, never what is in them.
#[derive(Debug)]
#[non_exhaustive]
pub enum TicketError {
    /// The operating system refused.
    Io(PathBuf, io::Error),
    /// A secret file could not be read or written, or others than the owner can read it.
    File(SecretFileError),
    /// It holds something else than ticket keys.
    Content(PathBuf),
    /// There is no randomness.
    Random,
}

impl fmt::Display for TicketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::File(error) => error.fmt(f),
            Self::Content(path) => write!(f, "{}: not ticket keys", path.display()),
            Self::Random => f.write_str("the system gives no randomness"),
        }
    }
}

impl std::error::Error for TicketError {}

/// A key of ours, and since when it is used.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) at: UnixSeconds,
    pub(super) in_use: bool,
    key: Secret<[u8; 32]>,
}

impl Made {
    pub(super) fn new(at: UnixSeconds, key: [u8; 32]) -> Self {
        Self { at, in_use: false, key: Secret::new(key) }
    }

    pub(super) fn key(&self) -> TicketKey {
        TicketKey::from_bytes(self.key.expose())
    }
}

/// Our folder. Its file has a line for each key, newest first: seconds since 1970 and 64 hexadecimal digits.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Opens or makes it and reads what is there.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Made>), TicketError> {
        let failed = |error| TicketError::Io(path.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        for_owner_alone(path)?;
        let folder = Self(path.to_owned());
        folder.clean().map_err(failed)?;
        let file = folder.file();
        if !folder.holds_keys()? {
            return Ok((folder, Vec::new()));
        }
        let text = read_secret_text(&file).map_err(TicketError::File)?;
        let keys: Option<Vec<Made>> = text.expose().lines().map(own_line).collect();
        match keys {
            Some(keys) if keys.len() <= TICKET_KEYS_KEPT => Ok((folder, keys)),
            _ => Err(TicketError::Content(file)),
        }
    }

    /// Replaces the file, flushed before this returns.
    pub(super) fn write(&self, keys: &[Made]) -> Result<(), TicketError> {
        let mut text = Secret::new(Vec::new());
        for made in keys {
            let line = Secret::new(format!("{} {}\n", made.at.get(), to_hex(made.key.expose())));
            let longer = [text.expose(), line.expose().as_bytes()].concat();
            text = Secret::new(longer);
        }
        write_secret_file(&self.file(), text.expose()).map_err(TicketError::File)
    }

    /// Whether the file is there. It is removed when the keys are discarded.
    pub(super) fn holds_keys(&self) -> Result<bool, TicketError> {
        let file = self.file();
        file.try_exists().map_err(|error| TicketError::Io(file, error))
    }

    fn file(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// A crash in the middle of a write leaves a file beside the true one, and keys in it.
    fn clean(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "tmp") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// The keys of a shared file, newest first.
pub(super) fn shared(path: &Path) -> Result<Vec<TicketKey>, TicketError> {
    let text = read_secret_text(path).map_err(TicketError::File)?;
    let key = |line: &str| hex::decode_key(line.trim()).map(|key| TicketKey::from_bytes(&key));
    let keys: Option<Vec<TicketKey>> = text.expose().lines().map(key).collect();
    match keys {
        Some(keys) if (1..=tessera_token::limits::TICKET_KEYS).contains(&keys.len()) => Ok(keys),
        _ => Err(TicketError::Content(path.to_owned())),
    }
}

fn for_owner_alone(path: &Path) -> Result<(), TicketError> {
    let found = fs::metadata(path).map_err(|error| TicketError::Io(path.to_owned(), error))?;
    owner_alone(path, &found).map_err(TicketError::File)
}

fn own_line(line: &str) -> Option<Made> {
    let (at, key) = line.split_once(' ')?;
    let at = UnixSeconds::new(at.parse().ok()?);
    Some(Made::new(at, *hex::decode_key(key)?))
}

fn to_hex(key: &[u8; 32]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    key.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
