use std::net::IpAddr;

use crate::tls::Trust;

/// A server, and the trust settings by which a client recognises it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its base URL: `https://host:port`, or `http://` on this machine.
    pub url: String,
    /// The trust settings.
    pub trust: Trust,
}

impl Server {
    /// The server at `url`.
    pub fn new(url: impl Into<String>, trust: Trust) -> Self {
        Self { url: url.into(), trust }
    }

    /// Whether it is asked in clear, and on another machine.
    pub fn is_in_clear(&self) -> bool {
        let url = super::parts(&self.url);
        url.is_some_and(|(scheme, host)| scheme == "http" && !is_here(&host))
    }

    /// The server that a text names: URL, or `host:port`, which is `http://` on this machine and `https://` elsewhere.
    pub fn of_text(text: &str, trust: Trust) -> Self {
        if text.contains("://") {
            return Self::new(text, trust);
        }
        let place = text.split(['/', '?']).next().unwrap_or_default();
        let host = match place.rsplit_once(':') {
            Some((host, _)) if !place.ends_with(']') => host,
            _ => place,
        };
        let scheme = if is_here(host) { "http" } else { "https" };
        Self::new(format!("{scheme}://{text}"), trust)
    }
}

impl From<&str> for Server {
    fn from(url: &str) -> Self {
        Self::new(url, Trust::default())
    }
}

impl From<String> for Server {
    fn from(url: String) -> Self {
        Self::new(url, Trust::default())
    }
}

impl From<&String> for Server {
    fn from(url: &String) -> Self {
        Self::new(url.as_str(), Trust::default())
    }
}

impl From<&Server> for Server {
    fn from(server: &Server) -> Self {
        server.clone()
    }
}

/// Whether this host is this machine, whatever a resolver says: a loopback address, or the name `localhost`.
pub(super) fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => bare.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
    }
}
