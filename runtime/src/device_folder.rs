//! The files by which a device proves itself, in its folder: `device.key` (32 bytes as hexadecimal), `token.json` and
//! `counter` (the last proof counter). Commands of a person and a gateway that is a device use the same folder.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tessera_token::encoding::hex;
use tessera_token::key::SecretKey;
use tessera_token::time::UnixSeconds;

use crate::secret::{owner_alone, read_secret_text, write_secret_file, Secret, SecretFileError};

/// The file of the key.
pub const KEY: &str = "device.key";
/// The file of the token.
pub const TOKEN: &str = "token.json";
/// The file of the last proof counter.
pub const COUNTER: &str = "counter";

/// The folder of a device.
#[derive(Clone, Debug)]
pub struct DeviceFolder(PathBuf);

/// A token as it lies in the folder. Bytes are base64url.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredToken {
    /// The token.
    pub token: String,
    /// The audience that a proof is made for, when the broker has no name of its own.
    pub audience: String,
    /// Seconds since 1970.
    pub received: u64,
    /// Seconds since 1970.
    pub expires: u64,
    /// Whether it is bound to no key.
    pub bearer: bool,
    /// The symmetric key that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Why a file of the folder cannot be used.
#[derive(Debug)]
pub enum DeviceFolderError {
    /// It cannot be read or written, or others can get at it.
    File(SecretFileError),
    /// The folder or its lock.
    Io(PathBuf, io::Error),
    /// It holds no key.
    NoKey(PathBuf),
    /// It holds no token.
    NoToken(PathBuf),
}

impl fmt::Display for DeviceFolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NoKey(path) => write!(f, "{}: not 32 bytes as hexadecimal", path.display()),
            Self::NoToken(path) => write!(f, "{}: not a stored token", path.display()),
        }
    }
}

impl std::error::Error for DeviceFolderError {}

impl From<SecretFileError> for DeviceFolderError {
    fn from(error: SecretFileError) -> Self {
        Self::File(error)
    }
}

impl DeviceFolder {
    /// The folder at this path.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The key of the device. The folder must be the owner's alone.
    ///
    /// # Errors
    /// [`DeviceFolderError`].
    pub fn key(&self) -> Result<SecretKey, DeviceFolderError> {
        let found = fs::metadata(&self.0);
        let found = found.map_err(|error| DeviceFolderError::Io(self.0.clone(), error))?;
        owner_alone(&self.0, &found)?;
        let path = self.0.join(KEY);
        let seed = hex::decode_key(read_secret_text(&path)?.expose());
        seed.map(|seed| SecretKey::from_seed(&seed)).ok_or(DeviceFolderError::NoKey(path))
    }

    /// The token.
    ///
    /// # Errors
    /// [`DeviceFolderError`].
    pub fn token(&self) -> Result<StoredToken, DeviceFolderError> {
        let path = self.0.join(TOKEN);
        let text = read_secret_text(&path)?;
        serde_json::from_str(text.expose()).map_err(|_| DeviceFolderError::NoToken(path))
    }

    /// Keeps a token, durably.
    ///
    /// # Errors
    /// [`DeviceFolderError`].
    pub fn keep_token(&self, token: &StoredToken) -> Result<(), DeviceFolderError> {
        let path = self.0.join(TOKEN);
        let text = serde_json::to_string(token).map(Secret::new);
        let text = text.map_err(|_| DeviceFolderError::NoToken(path.clone()))?;
        Ok(write_secret_file(&path, text.expose().as_bytes())?)
    }

    /// The next proof counter: above every earlier one, never below the seconds of `now`, and durable before it is
    /// returned. Two processes that ask at the same time get two counters. A file that was lost, is broken or came back
    /// from an old copy therefore goes on above what was used, and one that is used up starts anew: a counter orders the
    /// proofs of one second alone.
    ///
    /// # Errors
    /// [`DeviceFolderError`].
    pub fn next_counter(&self, now: UnixSeconds) -> Result<u32, DeviceFolderError> {
        let _lock = self.lock()?;
        let time = u32::try_from(now.get()).unwrap_or(u32::MAX);
        let next = match self.counter()? {
            Some(last) => last.checked_add(1).map_or(time, |next| next.max(time)),
            None => time,
        };
        write_secret_file(&self.0.join(COUNTER), next.to_string().as_bytes())?;
        Ok(next)
    }

    /// The last proof counter; `None` when the file is lost or broken.
    ///
    /// # Errors
    /// [`DeviceFolderError`].
    pub fn counter(&self) -> Result<Option<u32>, DeviceFolderError> {
        let path = self.0.join(COUNTER);
        match path.exists() {
            true => Ok(read_secret_text(&path)?.expose().trim().parse().ok()),
            false => Ok(None),
        }
    }

    fn lock(&self) -> Result<File, DeviceFolderError> {
        let path = self.0.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).and_then(|file| file.lock().map(|()| file));
        file.map_err(|error| DeviceFolderError::Io(path, error))
    }
}
