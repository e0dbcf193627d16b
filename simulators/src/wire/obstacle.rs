//! What stands between a client and a broker before CONNACK.

use std::io::{self, ErrorKind};

use tessera_runtime::tls::TlsError;

/// What was in the way of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Obstacle {
    /// The name has no address, or nothing answers at the address.
    Address,
    /// The machine answers, and nothing listens on the port.
    Port,
    /// No trusted authority has signed the certificate of the server.
    Untrusted,
    /// The certificate of the server is for another name.
    WrongName,
    /// The handshake of TLS failed.
    Tls,
    /// The server asks for a certificate of the client.
    NoCertificate,
    /// The server does not upgrade to a WebSocket for MQTT.
    Upgrade,
    /// The server answered in TLS, and was spoken to in clear.
    SpeaksTls,
    /// The server answered in HTTP.
    SpeaksHttp,
    /// The server took the CONNECT and closed the connection.
    Closed,
    /// The server took the CONNECT and said nothing.
    Silent,
    /// The server answered with something that is no CONNACK.
    NotMqtt,
}

impl Obstacle {
    pub(super) fn of_socket(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Port,
            _ => Self::Address,
        }
    }

    pub(super) fn of_tls(error: &TlsError) -> Self {
        match error {
            TlsError::Untrusted(_) | TlsError::NoRoots => Self::Untrusted,
            TlsError::WrongName(_) => Self::WrongName,
            _ => Self::Tls,
        }
    }

    /// What an answer without a CONNACK is, by its first bytes and by the words of the error.
    pub(super) fn of_answer(first: &[u8], why: &str) -> Self {
        match first {
            _ if why.contains("CertificateRequired") => Self::NoCertificate,
            // An alert or a handshake record of TLS 1.x.
            [0x15 | 0x16, 0x03, ..] => Self::SpeaksTls,
            [b'H', b'T', b'T', b'P', ..] => Self::SpeaksHttp,
            [] => Self::Closed,
            _ => Self::NotMqtt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_connack_is_named() {
        for (first, why, obstacle) in [
            (&[0x15, 3, 3, 0, 2, 2, 50][..], "", Obstacle::SpeaksTls),
            (b"HTTP/1.1 400 Bad Request", "", Obstacle::SpeaksHttp),
            (b"SSH-2.0-OpenSSH", "", Obstacle::NotMqtt),
            (b"", "closed", Obstacle::Closed),
            (b"", "received fatal alert: CertificateRequired", Obstacle::NoCertificate),
        ] {
            assert_eq!(Obstacle::of_answer(first, why), obstacle, "{first:?} {why}");
        }
    }
}
