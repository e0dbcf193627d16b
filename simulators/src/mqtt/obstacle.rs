//! Obstacles between a client and a broker: before CONNACK, and in it.

use std::io::{self, ErrorKind};

use tessera_runtime::tls::TlsError;

/// Obstacle of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Obstacle {
    /// The name has no address, or nothing answers at the address.
    Address,
    /// This machine has no free port at the address to connect from, or not that address.
    Source,
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
    /// A short stable name for counting.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "no_address",
            Self::Source => "no_source_port",
            Self::Port => "port_closed",
            Self::Untrusted => "certificate_untrusted",
            Self::WrongName => "certificate_of_another_name",
            Self::Tls => "tls_handshake",
            Self::NoCertificate => "certificate_wanted",
            Self::Upgrade => "no_websocket",
            Self::SpeaksTls => "server_speaks_tls",
            Self::SpeaksHttp => "server_speaks_http",
            Self::Closed => "closed_before_connack",
            Self::Silent => "no_connack",
            Self::NotMqtt => "no_mqtt",
        }
    }

    pub(super) fn of_socket(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Port,
            ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse => Self::Source,
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

    /// Meaning of an answer without a CONNACK, by its first bytes and by the words of the error.
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

/// Meaning of the reason of a CONNACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// The credential is refused. Until a proof holds, every judgement about it looks like this.
    Unauthorised,
    /// Too many attempts or connections: for now.
    Busy,
    /// The broker cannot judge: for now.
    NotReady,
    /// A share is used up.
    Share,
    /// A reason that no broker of ours gives for a password.
    Other,
}

impl Told {
    /// By the name of the reason in [`super::Closed::Refused`].
    pub fn of(reason: &str) -> Self {
        match reason {
            "not_authorized" | "bad_user_name_or_password" => Self::Unauthorised,
            "server_busy" | "connection_rate_exceeded" => Self::Busy,
            "server_unavailable" => Self::NotReady,
            "quota_exceeded" => Self::Share,
            _ => Self::Other,
        }
    }

    /// Whether the same may be taken later.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Busy | Self::NotReady)
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

    #[test]
    fn reasons_of_a_connack_are_told_apart() {
        for (reason, told) in [
            ("not_authorized", Told::Unauthorised),
            ("bad_user_name_or_password", Told::Unauthorised),
            ("server_busy", Told::Busy),
            ("server_unavailable", Told::NotReady),
            ("quota_exceeded", Told::Share),
            ("banned", Told::Other),
        ] {
            assert_eq!(Told::of(reason), told, "{reason}");
        }
        assert!(Told::Busy.is_passing() && !Told::Unauthorised.is_passing());
    }
}
