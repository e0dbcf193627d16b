use std::fmt;

use reqwest::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use super::error::HttpError;

/// An answer, whole and bounded.
#[derive(Clone)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The content type without parameters, in lower case; empty when absent.
    pub content_type: String,
    /// All header fields but `Set-Cookie`, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// The body as JSON.
    ///
    /// # Errors
    /// [`HttpError::Decode`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|error| HttpError::Decode(error.to_string()))
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) async fn read(
        mut answer: reqwest::Response,
        limit: usize,
    ) -> Result<Self, HttpError> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(HttpError::transport)? {
            if body.len() + chunk.len() > limit {
                return Err(HttpError::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self {
            status: answer.status().as_u16(),
            content_type: content_type(&answer),
            headers: headers(&answer),
            body,
        })
    }
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

/// Without the body: it may hold a token.
impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
