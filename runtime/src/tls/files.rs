//! Certificates and keys in PEM, read with a bound; and the stamp that tells that a file has changed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;
use crate::limits::PEM_BYTES;

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
/// [`TlsError::File`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| TlsError::File(path.to_owned(), error.to_string()))?;
    match found.is_empty() {
        true => Err(TlsError::File(path.to_owned(), "holds no certificate in PEM".to_owned())),
        false => Ok(found),
    }
}

/// The private key of a file.
///
/// # Errors
/// [`TlsError::File`].
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|error| TlsError::File(path.to_owned(), error.to_string()))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let named = |why: String| TlsError::File(path.to_owned(), why);
    let file = std::fs::File::open(path).map_err(|error| named(error.to_string()))?;
    let mut bytes = Vec::new();
    let read = file.take(PEM_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| named(error.to_string()))?;
    match bytes.len() as u64 > PEM_BYTES {
        true => Err(named(format!("larger than {PEM_BYTES} bytes"))),
        false => Ok(bytes),
    }
}
