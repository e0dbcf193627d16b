//! The way from an accepted socket to HTTP: PROXY header, TLS, each bounded in time. It knows no HTTP.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use tokio::net::TcpStream;

use super::forwarded::{resolve, Found, Ignored};
use super::{header, trusted, ProxySettings};
use crate::limits::{PROXY_WITHIN, TLS_WITHIN};
use crate::tls::{Carried, ServerTls};

/// What a listener for HTTP does with its sockets. Cheap to clone.
#[derive(Clone)]
pub struct Entrance {
    tls: Option<Arc<ServerTls>>,
    settings: Arc<ProxySettings>,
    expects_header: bool,
    told: Arc<Told>,
}

/// What is told in the log once for each cause: strangers could repeat it as they like.
#[derive(Default)]
struct Told {
    untrusted: AtomicBool,
    disagree: AtomicBool,
    unreadable: AtomicBool,
    no_source: AtomicBool,
}

/// A connection that has come in.
pub struct Entered {
    /// Its bytes.
    pub stream: Carried,
    /// Where it comes from: the other end of the socket, or what the balancer there names.
    pub peer: SocketAddr,
}

impl Entrance {
    /// The entrance of the listener of this name.
    pub fn new(listener: &str, settings: ProxySettings, tls: Option<Arc<ServerTls>>) -> Self {
        let expects_header = settings.expects(listener);
        Self { tls, settings: Arc::new(settings), expects_header, told: Arc::default() }
    }

    /// Whether connections are encrypted from the peer to here.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Takes a socket in.
    ///
    /// # Errors
    /// The rule that the peer broke, as a metric label. It gets no byte but an alert of TLS.
    pub async fn open(
        &self,
        mut socket: TcpStream,
        from: SocketAddr,
    ) -> Result<Entered, &'static str> {
        let mut peer = from;
        if self.expects_header {
            if !trusted(&self.settings.from, from.ip()) {
                self.tell(&self.told.no_source, from.ip(), "a connection without a PROXY header that counts: its peer is not in proxy.from");
                return Err("proxy_source");
            }
            let named = tokio::time::timeout(PROXY_WITHIN, header::read(&mut socket, from)).await;
            peer = named.ok().flatten().ok_or("proxy_header")?;
        }
        let stream: Carried = match &self.tls {
            None => Box::pin(socket),
            Some(tls) => {
                let accepted = tokio::time::timeout(TLS_WITHIN, tls.accept(socket)).await;
                accepted.map_err(|_| "tls_too_slow")?.map_err(|_| "tls_refused")?
            }
        };
        Ok(Entered { stream, peer })
    }

    /// The address that counts for a request, by the values of its headers `Forwarded` and `X-Forwarded-For`.
    pub fn address(&self, peer: IpAddr, forwarded: &[&[u8]], x_forwarded_for: &[&[u8]]) -> IpAddr {
        let settings = &self.settings;
        let found = resolve(peer, &settings.trusted, settings.header, forwarded, x_forwarded_for);
        self.told(peer, &found);
        found.address
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
