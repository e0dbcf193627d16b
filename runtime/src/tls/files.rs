//! Certificates and keys in PEM, read with a bound; and the stamp that tells that a file has changed.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::limits::PEM_BYTES;

/// A file that cannot be read, or holds no PEM of the right kind.
#[derive(Debug, Clone)]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// The fault.
    pub why: String,
}

impl FileError {
    fn new(path: &Path, why: impl ToString) -> Self {
        Self { path: path.to_owned(), why: why.to_string() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for FileError {}

/// The stamp by which changed files are noticed: time and length of each, and whether it is there.
pub type Stamp = Vec<Option<(SystemTime, u64)>>;

/// The state of these files now.
pub fn stamp<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Stamp {
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    files.into_iter().map(stamp).collect()
}

/// All certificates of a file, at least one.
///
/// # Errors
/// [`FileError`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| FileError::new(path, error))?;
    match found.is_empty() {
        true => Err(FileError::new(path, "holds no certificate in PEM")),
        false => Ok(found),
    }
}

/// The private key of a file.
///
/// # Errors
/// [`FileError`].
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| FileError::new(path, error))
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = std::fs::File::open(path).map_err(|error| FileError::new(path, error))?;
    let mut bytes = Vec::new();
    let read = file.take(PEM_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| FileError::new(path, error))?;
    match bytes.len() as u64 > PEM_BYTES {
        true => Err(FileError::new(path, format!("larger than {PEM_BYTES} bytes"))),
        false => Ok(bytes),
    }
}
