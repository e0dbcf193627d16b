use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::forwarded::Header;
use super::Source;

/// Balancers and proxies as a file has them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawProxy {
    /// The listeners on which every connection begins with a PROXY header: `mqtt`, `mqtts`, `ws`, `wss`, `http`.
    pub listeners: Vec<String>,
    /// The sources that may send that header, as `address/bits`; connections from elsewhere are closed.
    pub from: Vec<String>,
    /// The proxies whose `Forwarded` and `X-Forwarded-For` count, as `address/bits`.
    pub trusted: Vec<String>,
    /// Which of them the trusted proxies set: `forwarded` or `x-forwarded-for`; without it, the one that is there.
    pub header: Option<String>,
}

/// The sources that may name a peer's address, and how.
#[derive(Clone, Debug, Default)]
pub struct ProxySettings {
    /// The listeners that expect the PROXY header, by their names.
    pub listeners: Vec<String>,
    /// The sources that may send it.
    pub from: Arc<[Source]>,
    /// The proxies whose HTTP headers count.
    pub trusted: Arc<[Source]>,
    /// Which of them.
    pub header: Header,
}

/// A setting that cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyError {
    /// The key.
    pub key: &'static str,
    /// The fault, and the remedy.
    pub problem: String,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "setting {}: {}", self.key, self.problem)
    }
}

impl std::error::Error for ProxyError {}

/// The listeners that can expect a PROXY header.
const LISTENERS: [&str; 5] = ["mqtt", "mqtts", "ws", "wss", "http"];

impl RawProxy {
    /// Checks everything.
    ///
    /// # Errors
    /// The first setting that cannot hold.
    pub fn validate(&self) -> Result<ProxySettings, ProxyError> {
        let wrong = |key, problem: String| Err(ProxyError { key, problem });
        if let Some(name) = self.listeners.iter().find(|name| !LISTENERS.contains(&name.as_str())) {
            return wrong("proxy.listeners", format!("{name:?}: use {}", LISTENERS.join(", ")));
        }
        let header = match self.header.as_deref() {
            None => Header::Either,
            Some("forwarded") => Header::Forwarded,
            Some("x-forwarded-for") => Header::XForwardedFor,
            Some(other) => {
                let problem = format!("{other:?}: use forwarded or x-forwarded-for");
                return wrong("proxy.header", problem);
            }
        };
        let from = sources("proxy.from", &self.from)?;
        if !self.listeners.is_empty() && from.is_empty() {
            let problem = "no source may send the header: name the balancers".to_owned();
            return wrong("proxy.from", problem);
        }
        let trusted = sources("proxy.trusted", &self.trusted)?;
        Ok(ProxySettings { listeners: self.listeners.clone(), from, trusted, header })
    }
}

impl ProxySettings {
    /// Whether connections to this listener begin with a PROXY header.
    pub fn expects(&self, listener: &str) -> bool {
        self.listeners.iter().any(|name| name == listener)
    }
}

fn sources(key: &'static str, texts: &[String]) -> Result<Arc<[Source]>, ProxyError> {
    let source = |text: &String| {
        let problem = || format!("{text:?} is no prefix like 10.0.0.0/8");
        Source::parse(text).ok_or_else(|| ProxyError { key, problem: problem() })
    };
    texts.iter().map(source).collect()
}
