//! The HTTP clients: this folder alone names `reqwest`. HTTP/1.1 over TLS, or in clear to this machine; bounded answers,
//! typed errors. The server is in [`server`].

use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use serde::Serialize;

pub use error::HttpError;
pub use origin::Server;
pub use outward::{is_public, Outward, OUTWARD_URL_CHARS};
pub use outward_client::{Answered, OutwardClient};
pub use request::{HttpLimits, Method, Request};
pub use response::HttpResponse;

use crate::boxed::Boxed;
use crate::limits;
use crate::secret::Secret;
use crate::tls::{client, TlsError};

mod error;
mod origin;
mod outward;
mod outward_client;
mod request;
mod response;
/// The server side.
pub mod server;
#[cfg(test)]
mod tests;

/// Content type of JSON.
pub const JSON: &str = "application/json";
/// Content type of ACE messages in CBOR (RFC 9200 section 8.16).
pub const ACE_CBOR: &str = "application/ace+cbor";
/// Content type of lines of JSON.
pub const NDJSON: &str = "application/x-ndjson";
/// Content type of other CBOR (RFC 8949 section 9.5).
pub const CBOR: &str = "application/cbor";

/// A client of one server. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    base: String,
    bearer: Option<Secret<String>>,
    response_bytes: usize,
}

impl HttpClient {
    /// A client of one server (`https://host:port`, a path prefix is kept; a URL alone is believed as the system does).
    /// `bearer` is sent with every request. Proxies of the environment are ignored; redirects are not followed, so that a
    /// token never leaves its server.
    ///
    /// # Errors
    /// [`HttpError::BadUrl`], [`HttpError::InClear`], [`HttpError::Tls`].
    pub fn new(
        server: impl Into<Server>,
        bearer: Option<Secret<String>>,
        limits: HttpLimits,
    ) -> Result<Self, HttpError> {
        let server = server.into();
        let base = server.url.trim_end_matches('/').to_owned();
        let (scheme, host) = parts(&base).ok_or_else(|| HttpError::BadUrl(base.clone()))?;
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(limits.connect)
            .timeout(limits.total)
            .pool_max_idle_per_host(limits::HTTP_IDLE_PER_HOST)
            .tcp_nodelay(true);
        // In clear no TLS is spoken; the library would still look for settings of its own.
        let config = match scheme.as_str() {
            "https" => client::config(&server.trust, None, b"http/1.1"),
            "http" if server.trust.in_clear || origin::is_here(&host) => client::no_one(),
            "http" => return Err(HttpError::InClear(base)),
            _ => return Err(HttpError::BadUrl(base)),
        };
        let builder = builder.https_only(scheme == "https");
        let builder = builder.use_preconfigured_tls(config.map_err(HttpError::Tls)?);
        let client = builder.build().map_err(|error| HttpError::Transport(error.to_string()))?;
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
    pub fn send<'a>(&'a self, request: Request<'a>) -> Boxed<'a, Result<HttpResponse, HttpError>> {
        Box::pin(self.exchange(request))
    }

    /// Sends any request, and hands over a good answer part by part as it comes, as long as `take` wants more. Nothing bounds
    /// its size.
    ///
    /// # Errors
    /// As [`HttpClient::send`].
    pub async fn parts(
        &self,
        request: Request<'_>,
        take: &mut (dyn FnMut(&[u8]) -> bool + Send),
    ) -> Result<(), HttpError> {
        let mut answer = self.build(request).send().await.map_err(transport)?;
        if !answer.status().is_success() {
            return Err(HttpError::of_status(read(answer, self.response_bytes).await?));
        }
        while let Some(part) = answer.chunk().await.map_err(transport)? {
            if !take(&part) {
                break;
            }
        }
        Ok(())
    }

    async fn exchange(&self, request: Request<'_>) -> Result<HttpResponse, HttpError> {
        let answer = self.build(request).send().await.map_err(transport)?;
        let response = read(answer, self.response_bytes).await?;
        match response.status {
            0..=299 | 304 => Ok(response),
            300..=399 => {
                let location = response.header("location").unwrap_or("nowhere");
                Err(HttpError::Redirected(location.chars().take(256).collect()))
            }
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
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut builder = self.client.request(method, format!("{}{}", self.base, request.path));
        if let Some(bearer) = &self.bearer {
            builder = builder.bearer_auth(bearer.expose());
        }
        if let Some(accept) = request.accept {
            builder = builder.header(ACCEPT, accept);
        }
        // The library says nothing of an empty body; behind a proxy that speaks HTTP/1.0 such a request is refused.
        let sends = matches!(request.method, Method::Post | Method::Put | Method::Patch);
        if sends && request.body.as_ref().is_none_or(|(_, bytes)| bytes.is_empty()) {
            builder = builder.header(CONTENT_LENGTH, 0);
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

/// Whether a client can be made for this URL, as far as its text tells.
pub fn is_url(url: &str) -> bool {
    parts(url).is_some_and(|(scheme, _)| scheme == "https" || scheme == "http")
}

/// Scheme and host of a URL.
fn parts(url: &str) -> Option<(String, String)> {
    let parsed = reqwest::Url::parse(url).ok()?;
    Some((parsed.scheme().to_owned(), parsed.host_str()?.to_owned()))
}

async fn read(mut answer: reqwest::Response, limit: usize) -> Result<HttpResponse, HttpError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > limit {
            return Err(HttpError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpResponse {
        status: answer.status().as_u16(),
        content_type: content_type(&answer),
        headers: headers(&answer),
        body,
    })
}

fn content_type(answer: &reqwest::Response) -> String {
    let text = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let plain = text.and_then(|value| value.split(';').next()).unwrap_or_default();
    plain.trim().to_ascii_lowercase()
}

fn headers(answer: &reqwest::Response) -> Vec<(String, String)> {
    let readable =
        |value: &reqwest::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    answer
        .headers()
        .iter()
        .filter(|(name, _)| name.as_str() != "set-cookie")
        .map(|(name, value)| (name.as_str().to_owned(), readable(value)))
        .collect()
}

fn transport(error: reqwest::Error) -> HttpError {
    let error = error.without_url();
    if let Some(tls) = TlsError::within(&error) {
        return HttpError::Tls(tls);
    }
    match () {
        () if error.is_builder() => HttpError::BadUrl(with_causes(&error)),
        () if error.is_connect() => HttpError::Connect(with_causes(&error)),
        () if error.is_timeout() => HttpError::Timeout,
        () => HttpError::Transport(with_causes(&error)),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
