//! Settings of the listeners: transport, address, TLS.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config_error::ConfigError;

/// A way to speak MQTT.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    /// Plain TCP.
    Mqtt,
    /// TLS.
    Mqtts,
    /// WebSocket, subprotocol `mqtt`.
    Ws,
    /// WebSocket inside TLS.
    Wss,
    /// QUIC: one stream, opened by the client.
    Quic,
}

impl Transport {
    /// All of them, plain TCP first.
    pub const ALL: [Self; 5] = [Self::Mqtt, Self::Mqtts, Self::Ws, Self::Wss, Self::Quic];

    /// The name in settings and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Quic => "quic",
        }
    }

    /// Whether it is encrypted.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss | Self::Quic)
    }

    pub(crate) const fn is_web_socket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// One address that is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The transport.
    pub transport: Transport,
    /// Where; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether every connection begins with a PROXY header.
    pub proxied: bool,
}

/// TLS as a file has it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTls {
    /// The server's certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// The authorities of client certificates, PEM.
    pub client_ca: Option<PathBuf>,
    /// `off`, `ca`, `ca_optional`, `key` or `raw_key`; `ca` when `client_ca` is named.
    pub client_auth: Option<String>,
    /// `1.2` (default) or `1.3`.
    pub min_version: Option<String>,
    /// Whether clients must name the protocol `mqtt` (or `http/1.1` on `wss`) by ALPN.
    pub alpn_required: bool,
    /// Whether TLS 1.2 clients must use the extended main secret (RFC 7627), default true. Without it a TLS 1.2
    /// channel proves nothing for `ace`.
    pub extended_main_secret: Option<bool>,
}

/// The credential that clients show in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nothing.
    Off,
    /// A certificate of `client_ca` is required.
    Ca,
    /// A certificate of `client_ca`, if they have one.
    CaOptional,
    /// Any certificate, if they have one, self-signed ones too: only its key counts, against the token's `cnf`.
    Key,
    /// A raw public key (RFC 7250), TLS 1.3 only.
    RawKey,
}

/// TLS settings that hold; the files are read when the broker starts.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The server's certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authorities of client certificates, PEM.
    pub client_ca: Option<PathBuf>,
    /// The credential that clients show.
    pub client_auth: ClientAuth,
    /// No TLS 1.2.
    pub only_tls13: bool,
    /// Clients must name the protocol.
    pub alpn_required: bool,
    /// TLS 1.2 only with extended main secret.
    pub extended_main_secret: bool,
}

fn wrong(key: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError { key, problem: problem.into() }
}

impl RawTls {
    fn asks_clients(&self) -> bool {
        self.client_auth.as_deref().is_some_and(|auth| auth != "off")
    }

    /// `None` when nothing is set.
    pub(crate) fn validate(self) -> Result<Option<TlsSettings>, ConfigError> {
        let is_unused = self.client_ca.is_none() && !self.asks_clients();
        let (cert, key) = match (self.cert, self.key) {
            (Some(cert), Some(key)) => (cert, key),
            (None, None) if is_unused => return Ok(None),
            (None, _) => return Err(wrong("tls.cert", "the certificate file is missing")),
            (_, None) => return Err(wrong("tls.key", "the key file is missing")),
        };
        let client_auth = match (self.client_auth.as_deref(), &self.client_ca) {
            (None, None) | (Some("off"), None) => ClientAuth::Off,
            (None | Some("ca"), Some(_)) => ClientAuth::Ca,
            (Some("ca_optional"), Some(_)) => ClientAuth::CaOptional,
            (Some("key"), None) => ClientAuth::Key,
            (Some("raw_key"), None) => ClientAuth::RawKey,
            (Some("ca" | "ca_optional"), None) => {
                return Err(wrong("tls.client_ca", "client_auth needs the authorities' file"))
            }
            (Some("off" | "key" | "raw_key"), Some(_)) => {
                return Err(wrong("tls.client_ca", "is not used with this client_auth"))
            }
            (Some(other), _) => {
                let problem = format!("{other:?}: use off, ca, ca_optional, key or raw_key");
                return Err(wrong("tls.client_auth", problem));
            }
        };
        let only_tls13 = match self.min_version.as_deref() {
            None | Some("1.2") => client_auth == ClientAuth::RawKey,
            Some("1.3") => true,
            Some(other) => {
                return Err(wrong("tls.min_version", format!("{other:?}: use 1.2 or 1.3")))
            }
        };
        Ok(Some(TlsSettings {
            cert,
            key,
            client_ca: self.client_ca,
            client_auth,
            only_tls13,
            alpn_required: self.alpn_required,
            extended_main_secret: self.extended_main_secret.unwrap_or(true),
        }))
    }
}
