//! The way from an accepted socket to HTTP: PROXY header, TLS, each bounded in time. It knows no HTTP.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::forwarded::{resolve, Found, Ignored};
use super::{header, trusted, ProxySettings};
use crate::limits::{PROXY_WAITING, PROXY_WITHIN, TLS_WITHIN};
use crate::tls::{Carried, ServerTls, TlsError};

/// The way of a listener's sockets to HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Entrance {
    tls: Option<Arc<ServerTls>>,
    settings: Arc<ProxySettings>,
    expects_header: bool,
    told: Arc<Told>,
    /// Sockets whose PROXY header has not come yet.
    waiting: Arc<Semaphore>,
}

/// The causes that the log has told. Each is told once, since strangers could repeat it as they like.
#[derive(Default)]
struct Told {
    untrusted: AtomicBool,
    disagree: AtomicBool,
    unreadable: AtomicBool,
    no_source: AtomicBool,
}

impl Entrance {
    /// The entrance of the listener of this name.
    pub fn new(listener: &str, settings: ProxySettings, tls: Option<Arc<ServerTls>>) -> Self {
        let expects_header = settings.expects(listener);
        let waiting = Arc::new(Semaphore::new(PROXY_WAITING));
        Self { tls, settings: Arc::new(settings), expects_header, told: Arc::default(), waiting }
    }

    /// The transport of its connections, as lines of the log name it.
    pub fn transport(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// Whether it is a trusted proxy, which speaks for many peers.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        trusted(&self.settings.trusted, peer)
    }

    /// The source of a connection: `from`, or the address that the balancer there names in the header.
    ///
    /// # Errors
    /// The rule that the peer broke, as a metric label; the log has a line about it. It gets no byte.
    pub async fn peer(
        &self,
        socket: &mut TcpStream,
        from: SocketAddr,
    ) -> Result<SocketAddr, &'static str> {
        let named = self.named(socket, from).await;
        if let Err(code) = named {
            tracing::info!(code, address = %from.ip(), transport = self.transport(), "PROXY header refused");
        }
        named
    }

    async fn named(
        &self,
        socket: &mut TcpStream,
        from: SocketAddr,
    ) -> Result<SocketAddr, &'static str> {
        if !self.expects_header {
            return Ok(from);
        }
        if !trusted(&self.settings.from, from.ip()) {
            self.no_source(from.ip());
            return Err("proxy_source");
        }
        let _waits = self.waiting.try_acquire().map_err(|_| "proxy_waiting")?;
        let named = tokio::time::timeout(PROXY_WITHIN, header::read(socket, from)).await;
        named.ok().flatten().ok_or("proxy_header")
    }

    /// Shakes hands, where the listener speaks TLS.
    ///
    /// # Errors
    /// As [`Entrance::peer`]; the peer may get an alert.
    pub async fn secure(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
    ) -> Result<Carried, &'static str> {
        let Some(tls) = &self.tls else { return Ok(Box::pin(socket)) };
        let (code, detail) = match tokio::time::timeout(TLS_WITHIN, tls.accept(socket)).await {
            Ok(Ok(carried)) => return Ok(carried),
            Ok(Err(TlsError::Lost)) => ("tls_lost", None),
            Ok(Err(error)) => ("tls_refused", Some(error.to_string())),
            Err(_) => ("tls_too_slow", None),
        };
        let (address, transport) = (peer.ip(), self.transport());
        tracing::info!(code, %address, transport, detail, "TLS handshake refused");
        Err(code)
    }

    /// The certificates of the listener, where it speaks TLS.
    pub fn certificates(&self) -> Option<&ServerTls> {
        self.tls.as_deref()
    }

    /// The address that counts for a request, by the values of its headers `Forwarded` and `X-Forwarded-For`.
    pub fn address(&self, peer: IpAddr, forwarded: &[&[u8]], x_forwarded_for: &[&[u8]]) -> IpAddr {
        let settings = &self.settings;
        let found = resolve(peer, &settings.trusted, settings.header, forwarded, x_forwarded_for);
        self.told(peer, &found);
        found.address
    }

    /// Tells once that a peer may send no PROXY header, where one must come.
    pub fn no_source(&self, peer: IpAddr) {
        let words = "a connection whose PROXY header would count for nothing is closed: when its peer is your balancer, \
                     name it under proxy.from";
        self.tell(&self.told.no_source, peer, words);
    }

    fn told(&self, peer: IpAddr, found: &Found) {
        let Some(ignored) = found.ignored else { return };
        let once = match ignored {
            Ignored::Untrusted => &self.told.untrusted,
            Ignored::Disagree => &self.told.disagree,
            Ignored::Unreadable => &self.told.unreadable,
        };
        self.tell(once, peer, ignored.words());
    }

    fn tell(&self, once: &AtomicBool, peer: IpAddr, words: &str) {
        if !once.swap(true, Ordering::Relaxed) {
            tracing::warn!(%peer, "{words}");
        }
    }
}
