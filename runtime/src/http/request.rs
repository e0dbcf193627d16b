use std::time::Duration;

use crate::limits;

/// Times and sizes of one client.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Until the TCP connection stands.
    pub connect: Duration,
    /// Until the whole answer is there.
    pub total: Duration,
    /// Bytes of an answer.
    pub response_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connect: limits::HTTP_CONNECT_TIMEOUT,
            total: limits::HTTP_TOTAL_TIMEOUT,
            response_bytes: limits::HTTP_RESPONSE_BYTES,
        }
    }
}

/// The method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Create or call.
    Post,
    /// Set.
    Put,
    /// Change a part.
    Patch,
    /// Remove.
    Delete,
}

/// One request; build it with [`Request::new`] and the like.
#[derive(Clone)]
pub struct Request<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) accept: Option<&'a str>,
    pub(super) body: Option<(&'a str, Vec<u8>)>,
    pub(super) headers: Vec<(&'a str, String)>,
    pub(super) total: Option<Duration>,
}

impl<'a> Request<'a> {
    /// A request for `path`, which begins with `/` and may carry a query.
    pub fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, accept: None, body: None, headers: Vec::new(), total: None }
    }

    /// The content type that is wanted back.
    pub fn accept(mut self, content_type: &'a str) -> Self {
        self.accept = Some(content_type);
        self
    }

    /// The body.
    pub fn body(mut self, content_type: &'a str, bytes: Vec<u8>) -> Self {
        self.body = Some((content_type, bytes));
        self
    }

    /// One more header.
    pub fn header(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A time of its own for the whole exchange: for long polls.
    pub fn within(mut self, total: Duration) -> Self {
        self.total = Some(total);
        self
    }
}
