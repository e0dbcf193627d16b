//! Answers to a connection where no handler saw a request: problem details (RFC 9457), as everywhere else.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;
use tessera_token::refusal::RefusalCode;

/// A request that did not come to a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The head is no HTTP.
    Malformed,
    /// The head did not come in time.
    Late,
    /// The head is larger than we take.
    TooLarge,
}

impl Refused {
    /// Which of them the first line of an answer of the parser means.
    pub(super) fn of_answer(bytes: &[u8]) -> Self {
        match bytes.get(9..12) {
            Some(b"431") => Self::TooLarge,
            Some(b"408") => Self::Late,
            _ => Self::Malformed,
        }
    }

    /// The label of the metric.
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Late => "head_late",
            Self::TooLarge => "head_too_large",
        }
    }

    /// The whole answer; the connection closes behind it.
    pub(super) fn to_bytes(self, unix_millis: u64) -> Vec<u8> {
        let (status, reason, code, detail) = match self {
            Self::Malformed => {
                (400, "Bad Request", RefusalCode::RequestMalformed, "the request is not HTTP/1.1")
            }
            Self::Late => (
                408,
                "Request Timeout",
                RefusalCode::RequestMalformed,
                "the head of the request did not come in time",
            ),
            Self::TooLarge => (
                431,
                "Request Header Fields Too Large",
                RefusalCode::LimitReached,
                "the head of the request is too large",
            ),
        };
        let body = json!({
            "type": format!("urn:tessera:refusal:{code}"),
            "title": code.words(),
            "status": status,
            "code": code.as_str(),
            "detail": detail,
        })
        .to_string();
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(unix_millis));
        let length = body.len();
        format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: application/problem+json\r\n\
             content-length: {length}\r\ncache-control: no-store\r\nconnection: close\r\n\
             date: {date}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}
