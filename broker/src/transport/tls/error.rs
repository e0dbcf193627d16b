use std::fmt;
use std::path::PathBuf;

use tessera_runtime::tls::FileError;

/// Why certificates cannot be used. The ones in use stay.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the right kind.
    File(PathBuf, String),
    /// Certificate and key do not go together, or are of a kind that is not supported.
    Certificate(rustls::Error),
    /// The authorities of clients.
    Authorities(String),
}

impl From<FileError> for TlsError {
    fn from(error: FileError) -> Self {
        Self::File(error.path, error.why)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Certificate(error) => write!(f, "certificate: {error}"),
            Self::Authorities(why) => write!(f, "client_ca: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}
