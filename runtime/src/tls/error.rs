use std::fmt;
use std::io;
use std::path::PathBuf;

use rustls::{CertificateError, OtherError};

use super::files::FileError;

/// Why TLS is not possible, or not with this peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the right kind.
    File(PathBuf, String),
    /// Certificate and key do not go together, or are of a kind that is not supported.
    Certificate(String),
    /// No authority is known by which a server could be believed.
    NoRoots,
    /// The certificate of the server is not trusted, with the reason.
    Untrusted(String),
    /// The certificate of the server is for other names than the one that was asked for.
    WrongName(String),
    /// The handshake failed: the peer speaks no TLS, or none that we speak.
    Handshake(String),
    /// The peer went away before the handshake was over.
    Lost,
}

impl TlsError {
    /// The library's error about a handshake.
    pub(crate) fn of(error: &rustls::Error) -> Self {
        use rustls::Error::{InvalidCertificate, NoCertificatesPresented};
        let names = |expected: &str, presented: &[String]| {
            let expected = expected.strip_prefix("DnsName(\"").unwrap_or(expected);
            let expected = expected.trim_end_matches(['"', ')']);
            match presented.is_empty() {
                true => format!("it names no host, and {expected} was asked for"),
                false => {
                    format!("it is for {}, and {expected} was asked for", presented.join(", "))
                }
            }
        };
        match error {
            InvalidCertificate(CertificateError::NotValidForName) => {
                Self::WrongName("it is for another name".to_owned())
            }
            InvalidCertificate(CertificateError::NotValidForNameContext {
                expected,
                presented,
            }) => Self::WrongName(names(&expected.to_str(), presented)),
            InvalidCertificate(CertificateError::UnknownIssuer) => {
                Self::Untrusted("no authority that is trusted here has signed it".to_owned())
            }
            InvalidCertificate(CertificateError::Other(why)) if is_of_an_authority(why) => {
                Self::Untrusted(
                    "it is the certificate of an authority: a server needs one of its own (CA:FALSE)"
                        .to_owned(),
                )
            }
            InvalidCertificate(why) => Self::Untrusted(why.to_string()),
            NoCertificatesPresented => Self::Untrusted("the server shows none".to_owned()),
            other => Self::Handshake(other.to_string()),
        }
    }

    /// The same, found anywhere below an error of another library.
    pub(crate) fn within(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<rustls::Error>() {
                return Some(Self::of(found));
            }
            if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                // The source of an I/O error is the source of what it wraps.
                if let Some(found) = Self::within(inner) {
                    return Some(found);
                }
            }
            next = error.source();
        }
        None
    }

    pub(super) fn of_io(error: &io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        Self::within(error).unwrap_or_else(|| match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Self::Lost,
            _ => Self::Handshake(error.to_string()),
        })
    }
}

/// Whether a server showed the certificate of an authority. rustls has no name of its own for it.
fn is_of_an_authority(why: &OtherError) -> bool {
    why.0.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
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
            Self::Certificate(why) => write!(f, "certificate: {why}"),
            Self::NoRoots => f.write_str(
                "this system has no trusted authorities: name the one of the server, --cafile FILE",
            ),
            Self::Untrusted(why) => write!(
                f,
                "the server's certificate is not trusted: {why}. When the server is yours, name the authority that \
                 signed its certificate: --cafile FILE"
            ),
            Self::WrongName(why) => write!(
                f,
                "the server's certificate is not for this host: {why}. Use a name that stands in the certificate"
            ),
            Self::Handshake(why) => write!(f, "no TLS handshake: {why}"),
            Self::Lost => f.write_str("no TLS handshake: the peer went away"),
        }
    }
}

impl std::error::Error for TlsError {}
