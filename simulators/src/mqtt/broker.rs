//! Where a broker is, and how it is spoken to.

use std::fmt;
use std::net::IpAddr;

use tessera_runtime::tls::{Identity, TlsClient, TlsError, Trust};

/// The transport of MQTT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scheme {
    /// TCP.
    #[default]
    Mqtt,
    /// TLS.
    Mqtts,
    /// WebSocket.
    Ws,
    /// WebSocket inside TLS.
    Wss,
}

impl Scheme {
    const ALL: [(&'static str, Self, u16); 4] = [
        ("mqtt://", Self::Mqtt, 1883),
        ("mqtts://", Self::Mqtts, 8883),
        ("ws://", Self::Ws, 80),
        ("wss://", Self::Wss, 443),
    ];

    /// Whether TLS is spoken.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    pub(super) const fn is_web_socket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// How a URL of it begins.
    fn begin(self) -> &'static str {
        Self::ALL.iter().find(|(_, one, _)| *one == self).map_or("", |(begin, _, _)| begin)
    }
}

/// Where the broker is, and how it is spoken to. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    /// The transport of MQTT.
    pub scheme: Scheme,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The path of a WebSocket.
    pub path: String,
    /// The address of this machine to connect from; the system takes one when there is none.
    pub from: Option<IpAddr>,
    pub(super) tls: Option<TlsClient>,
}

impl Broker {
    /// The broker at this host and port, over TCP.
    pub fn plain(host: impl Into<String>, port: u16) -> Self {
        let (host, path) = (host.into(), "/mqtt".to_owned());
        Self { scheme: Scheme::Mqtt, host, port, path, from: None, tls: None }
    }

    /// Takes `mqtt://host:port`, the same with `mqtts`, `ws` or `wss` (which may have a path), `host:port`, `[v6]:port` or a
    /// host alone apart. TLS needs [`Broker::trusting`] too.
    pub fn parse(text: &str) -> Option<Self> {
        let known = |(begin, scheme, port): &(&str, Scheme, u16)| {
            text.strip_prefix(begin).map(|rest| (rest, *scheme, *port))
        };
        let found = Scheme::ALL.iter().find_map(known);
        let (rest, scheme, usual) = found.unwrap_or((text, Scheme::Mqtt, 1883));
        let (place, path) = match rest.find('/') {
            Some(at) => (rest.get(..at)?, rest.get(at..)?),
            None => (rest, "/mqtt"),
        };
        if path != "/mqtt" && !scheme.is_web_socket() {
            return None;
        }
        let clean = path.bytes().all(|byte| byte.is_ascii_graphic());
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().ok()?),
            _ => (place, usual),
        };
        let named = !host.is_empty() && port != 0 && clean;
        named.then(|| Self { scheme, path: path.to_owned(), ..Self::plain(host, port) })
    }

    /// The same, reached from this address.
    #[must_use]
    pub fn reached_from(self, from: Option<IpAddr>) -> Self {
        Self { from, ..self }
    }

    /// The same with trust settings, and the client's identity for it. Without TLS nothing is read.
    ///
    /// # Errors
    /// [`TlsError`]: a file.
    pub fn trusting(
        mut self,
        trust: &Trust,
        identity: Option<&Identity>,
    ) -> Result<Self, TlsError> {
        if self.scheme.is_tls() {
            let inside: &[u8] = if self.scheme.is_web_socket() { b"http/1.1" } else { b"mqtt" };
            self.tls = Some(TlsClient::new(trust, identity, inside)?);
        }
        Ok(self)
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Mqtt => write!(f, "{}:{}", self.host, self.port),
            scheme => write!(f, "{}{}:{}", scheme.begin(), self.host, self.port),
        }
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({self})")
    }
}
