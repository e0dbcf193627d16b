use std::fmt;

use tessera_token::messages::{RefusalAnswer, ACE_CBOR};

use super::response::HttpResponse;
use crate::tls::TlsError;

/// Why an exchange gave nothing usable.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum HttpError {
    /// The caller's: not a URL of a server.
    BadUrl(String),
    /// The caller's: `http://` to another machine, and nothing says that this is meant.
    InClear(String),
    /// The caller's: a place that this server does not call.
    NotOutward(String),
    /// No TLS, or not with this server.
    Tls(TlsError),
    /// The server sends elsewhere, which is not followed.
    Redirected(String),
    /// The caller's: the value cannot be written as JSON.
    Encode(String),
    /// No server answers there: the request was not seen, try again later.
    Connect(String),
    /// Too slow: the server may or may not have done it.
    Timeout,
    /// The connection broke.
    Transport(String),
    /// The answer is larger than the client's limit.
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// The server refused.
    Status {
        /// 400 and above.
        status: u16,
        /// The refusal code of an RFC 9457 problem or an ACE error, when there is one.
        code: Option<String>,
        /// The text of an RFC 9457 problem or an ACE error, when there is one.
        detail: Option<String>,
        /// The whole answer.
        response: Box<HttpResponse>,
    },
    /// The server's: the body is not what was promised.
    Decode(String),
}

impl HttpError {
    /// The status, when the server answered with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The refusal code, when the server gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Status { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without a change.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Timeout | Self::Transport(_) => true,
            Self::Tls(TlsError::Handshake(_)) => true,
            Self::Status { status, .. } => matches!(status, 429 | 500..=599),
            _ => false,
        }
    }

    pub(super) fn of_status(response: HttpResponse) -> Self {
        let problem: Option<serde_json::Value> = match response.content_type.ends_with("json") {
            true => serde_json::from_slice(&response.body).ok(),
            false => None,
        };
        let member = |name: &str| -> Option<String> {
            let value = problem.as_ref()?.get(name)?.as_str()?;
            Some(value.chars().take(512).collect())
        };
        let ace = match response.content_type == ACE_CBOR {
            true => RefusalAnswer::from_cbor(&response.body).ok(),
            false => None,
        };
        let code = ace.as_ref().and_then(|ace| ace.code).map(|code| code.as_str().to_owned());
        let words = ace.map(|ace| ace.description);
        Self::Status {
            status: response.status,
            code: member("code").or(code),
            detail: member("detail").or_else(|| member("title")).or(words),
            response: Box::new(response),
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadUrl(url) => {
                write!(f, "not a usable URL: {url:?}: give one like https://host:port")
            }
            Self::InClear(url) => write!(
                f,
                "{url} is not encrypted and on another machine, so tokens could be read on the way: use https://, or \
                 allow it with --http-in-clear"
            ),
            Self::NotOutward(why) => write!(f, "this URL is not called: {why}"),
            Self::Tls(error) => error.fmt(f),
            Self::Redirected(to) => write!(
                f,
                "the server sends elsewhere ({to:?}), which is not followed: give the URL of the service itself"
            ),
            Self::Encode(why) => write!(f, "request not encodable: {why}"),
            Self::Connect(why) => write!(f, "cannot connect: {why}"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Transport(why) => write!(f, "connection broke: {why}"),
            Self::TooLarge { limit } => write!(f, "answer larger than {limit} bytes"),
            Self::Status { status, code, detail, .. } => {
                write!(f, "refused with {status}")?;
                code.iter().try_for_each(|code| write!(f, " {code}"))?;
                detail.iter().try_for_each(|detail| write!(f, ": {detail}"))
            }
            Self::Decode(why) => write!(f, "answer not understood: {why}"),
        }
    }
}

impl std::error::Error for HttpError {}
