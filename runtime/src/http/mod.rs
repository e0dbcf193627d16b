//! The HTTP client: the only file that names `reqwest`. HTTP/1.1, bounded answers, typed errors.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Serialize;

pub use error::HttpError;
pub use response::HttpResponse;

use crate::limits;
use crate::secret::Secret;

mod error;
mod response;
#[cfg(test)]
mod tests;

/// Content type of JSON.
pub const JSON: &str = "application/json";
/// Content type of ACE messages in CBOR (RFC 9200 section 8.16).
pub const ACE_CBOR: &str = "application/ace+cbor";
/// Content type of other CBOR (RFC 8949 section 9.5).
pub const CBOR: &str = "application/cbor";

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

/// What to do with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Create or call.
    Post,
    /// Set.
    Put,
    /// Remove.
    Delete,
}

/// One request; build it with [`Request::get`] and the like.
#[derive(Clone)]
pub struct Request<'a> {
    method: Method,
    path: &'a str,
    accept: Option<&'a str>,
    body: Option<(&'a str, Vec<u8>)>,
    headers: Vec<(&'a str, String)>,
    total: Option<Duration>,
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

    /// What is sent.
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

/// A client of one server. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    base: String,
    bearer: Option<Secret<String>>,
    response_bytes: usize,
}

impl HttpClient {
    /// A client of `base_url` (`http://host:port`, a path prefix is kept). `bearer` is sent with every request.
    /// Proxies of the environment are ignored; redirects are not followed, so that a token never leaves its server.
    ///
    /// # Errors
    /// [`HttpError::BadUrl`].
    pub fn new(
        base_url: &str,
        bearer: Option<Secret<String>>,
        limits: HttpLimits,
    ) -> Result<Self, HttpError> {
        let base = base_url.trim_end_matches('/').to_owned();
        let parsed = reqwest::Url::parse(&base).map_err(|_| HttpError::BadUrl(base.clone()))?;
        if parsed.scheme() != "http" || parsed.host_str().is_none() {
            return Err(HttpError::BadUrl(base));
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(limits.connect)
            .timeout(limits.total)
            .pool_max_idle_per_host(limits::HTTP_IDLE_PER_HOST)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| HttpError::Transport(error.to_string()))?;
        Ok(Self { client, base, bearer, response_bytes: limits.response_bytes })
    }

    /// The server.
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// The same connections with another token.
    pub fn with_bearer(&self, bearer: Option<Secret<String>>) -> Self {
        Self { bearer, ..self.clone() }
    }

    /// Reads `path`.
    ///
    /// # Errors
    /// [`HttpError`]; every status of 400 and above is [`HttpError::Status`].
    pub async fn get(&self, path: &str) -> Result<HttpResponse, HttpError> {
        self.send(Request::new(Method::Get, path)).await
    }

    /// Posts bytes and asks for the same content type back.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub async fn post(
        &self,
        path: &str,
        content_type: &str,
        bytes: Vec<u8>,
    ) -> Result<HttpResponse, HttpError> {
        self.send(Request::new(Method::Post, path).accept(content_type).body(content_type, bytes))
            .await
    }

    /// Posts a value as JSON.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub async fn post_json<T: Serialize + ?Sized>(
        &self,
        path: &str,
        value: &T,
    ) -> Result<HttpResponse, HttpError> {
        self.send_json(Method::Post, path, value).await
    }

    /// Puts a value as JSON.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub async fn put_json<T: Serialize + ?Sized>(
        &self,
        path: &str,
        value: &T,
    ) -> Result<HttpResponse, HttpError> {
        self.send_json(Method::Put, path, value).await
    }

    /// Deletes `path`.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub async fn delete(&self, path: &str) -> Result<HttpResponse, HttpError> {
        self.send(Request::new(Method::Delete, path)).await
    }

    /// Sends any request. Cancel-safe in the sense that nothing is kept; the server may have seen the request.
    ///
    /// # Errors
    /// [`HttpError`]; every status of 400 and above is [`HttpError::Status`].
    pub async fn send(&self, request: Request<'_>) -> Result<HttpResponse, HttpError> {
        let answer = self.build(request).send().await.map_err(HttpError::transport)?;
        let response = HttpResponse::read(answer, self.response_bytes).await?;
        match response.status {
            0..=399 => Ok(response),
            _ => Err(HttpError::of_status(response)),
        }
    }

    async fn send_json<T: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        value: &T,
    ) -> Result<HttpResponse, HttpError> {
        let bytes =
            serde_json::to_vec(value).map_err(|error| HttpError::Encode(error.to_string()))?;
        self.send(Request::new(method, path).accept(JSON).body(JSON, bytes)).await
    }

    fn build(&self, request: Request<'_>) -> reqwest::RequestBuilder {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut builder = self.client.request(method, format!("{}{}", self.base, request.path));
        if let Some(bearer) = &self.bearer {
            builder = builder.bearer_auth(bearer.expose());
        }
        if let Some(accept) = request.accept {
            builder = builder.header(ACCEPT, accept);
        }
        if let Some((content_type, bytes)) = request.body {
            builder = builder.header(CONTENT_TYPE, content_type).body(bytes);
        }
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        match request.total {
            Some(total) => builder.timeout(total),
            None => builder,
        }
    }
}
