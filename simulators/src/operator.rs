//! The operator API of provisioning (JSON): shared by the simulators and the command line.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{json, Value};
use tessera_runtime::http::{
    HttpClient, HttpError, HttpLimits, Method, Request, Server, JSON, NDJSON,
};
use tessera_runtime::random::{self, SystemRandom};
use tessera_runtime::secret::Secret;
use tessera_token::encoding::base64url;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;

use crate::device::api::longer;
use crate::limits;

/// The name of the client: the audit log of the service tells requests of the command line by it.
const AGENT: &str = concat!("tessera/", env!("CARGO_PKG_VERSION"));

/// Why an operator's call gave nothing.
#[derive(Debug, Clone)]
pub enum OperatorError {
    /// The service refused or did not answer.
    Http(HttpError),
    /// The answer held nothing.
    Empty,
}

impl OperatorError {
    /// The refusal code, when there is one.
    pub fn code(&self) -> Option<RefusalCode> {
        match self {
            Self::Http(error) => error.code().and_then(RefusalCode::parse),
            Self::Empty => None,
        }
    }

    fn is_temporary(&self) -> bool {
        // A request under the same Idempotency-Key that is still being done is asked for again.
        let is_busy = self.code() == Some(RefusalCode::IdempotencyKeyBusy);
        is_busy || matches!(self, Self::Http(error) if error.is_temporary())
    }
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::Empty => f.write_str("the service answered with nothing"),
        }
    }
}

impl std::error::Error for OperatorError {}

impl From<HttpError> for OperatorError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

/// A client with an operator's token. Cheap to clone; no `Debug`: it holds the token.
#[derive(Clone)]
pub struct OperatorClient {
    http: HttpClient,
    /// The ETag on which its changes rest; `None`: that of what it reads before each.
    rests_on: Option<String>,
}

#[derive(Deserialize)]
struct MadeClaims {
    claims: Vec<MadeClaim>,
}

#[derive(Deserialize)]
struct MadeClaim {
    code: String,
}

impl OperatorClient {
    /// A client of this service.
    ///
    /// # Errors
    /// As [`HttpClient::new`].
    pub fn new(server: impl Into<Server>, token: Secret<String>) -> Result<Self, HttpError> {
        let limits =
            HttpLimits { response_bytes: limits::OPERATOR_ANSWER_BYTES, ..HttpLimits::default() };
        Ok(Self { http: HttpClient::new(server, Some(token), limits)?, rests_on: None })
    }

    /// The same, with changes that rest on this ETag, or on any record (`*`).
    #[must_use]
    pub fn resting_on(self, tag: Option<String>) -> Self {
        Self { rests_on: tag, ..self }
    }

    /// Makes `count` single-use claim codes for `role`; temporary faults are waited out.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn claims(
        &self,
        tenant: &TenantId,
        role: &str,
        count: usize,
    ) -> Result<Vec<String>, OperatorError> {
        self.claims_in(tenant, role, None, count).await
    }

    /// The same for devices of a group.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn claims_in(
        &self,
        tenant: &TenantId,
        role: &str,
        group: Option<&str>,
        count: usize,
    ) -> Result<Vec<String>, OperatorError> {
        let path = tenant_path(tenant.as_str(), "claims");
        let body = json!({ "role": role, "group": group, "count": count });
        let made = self.create(&path, &body).await?;
        let made: MadeClaims =
            serde_json::from_value(made).map_err(|error| HttpError::Decode(error.to_string()))?;
        Ok(made.claims.into_iter().map(|claim| claim.code).collect())
    }

    /// Revokes a device: every token that it holds ends, and it gets no new one.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn revoke_device(
        &self,
        tenant: &TenantId,
        device: &str,
    ) -> Result<(), OperatorError> {
        self.post(&device_path(tenant.as_str(), device, "revoke"), &json!({})).await.map(drop)
    }

    /// Reads a JSON resource.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn get(&self, path: &str) -> Result<Value, OperatorError> {
        self.call(Method::Get, path, None).await
    }

    /// Reads a resource of another media type.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn bytes(&self, path: &str, accept: &'static str) -> Result<Vec<u8>, OperatorError> {
        let request = Request::new(Method::Get, path).accept(accept).header("user-agent", AGENT);
        Ok(self.http.send(request).await?.body)
    }

    /// Posts lines of JSON, and gives the lines of the answer as far as they are. `key` is their Idempotency-Key, where they
    /// need one.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn lines(
        &self,
        path: &str,
        lines: Vec<u8>,
        key: Option<&str>,
        within: Duration,
    ) -> Result<Vec<u8>, OperatorError> {
        let request = Request::new(Method::Post, path)
            .accept(NDJSON)
            .header("user-agent", AGENT)
            .body(NDJSON, lines);
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        Ok(self.http.send(request.within(within)).await?.body)
    }

    /// Reads a resource of any size part by part, as long as `take` wants more.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn parts(
        &self,
        path: &str,
        within: Duration,
        take: &mut (dyn FnMut(&[u8]) -> bool + Send),
    ) -> Result<(), OperatorError> {
        let request = Request::new(Method::Get, path)
            .accept(NDJSON)
            .header("user-agent", AGENT)
            .within(within);
        Ok(self.http.parts(request, take).await?)
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, OperatorError> {
        self.call(Method::Post, path, Some(body)).await
    }

    /// Posts JSON that makes something, once: a lost answer is asked for again under the same Idempotency-Key.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn create(&self, path: &str, body: &Value) -> Result<Value, OperatorError> {
        let drawn = random::bytes::<16>(&SystemRandom);
        let drawn = drawn.map_err(|error| HttpError::Encode(error.to_string()))?;
        let key = base64url(&drawn);
        self.patiently(|| {
            let request = Self::request(Method::Post, path, Some(body));
            self.exchange(request.header("idempotency-key", key.clone()))
        })
        .await
    }

    /// As [`OperatorClient::post`], for an answer that waits so long on purpose.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn post_waiting(
        &self,
        path: &str,
        body: &Value,
        wait: Duration,
    ) -> Result<Value, OperatorError> {
        let within = HttpLimits::default().total.saturating_add(wait);
        self.call_within(Method::Post, path, Some(body), Some(within)).await
    }

    /// Puts JSON. The record that is there is read first, and the change rests on it: a change that another account makes
    /// meanwhile is not undone.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, OperatorError> {
        self.change(Method::Put, path, Some(body)).await
    }

    /// Changes a part of a resource, as [`OperatorClient::put`].
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value, OperatorError> {
        self.change(Method::Patch, path, Some(body)).await
    }

    /// Removes a resource, as [`OperatorClient::put`].
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn delete(&self, path: &str) -> Result<Value, OperatorError> {
        self.change(Method::Delete, path, None).await
    }

    /// Removes what has no revision.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn clear(&self, path: &str) -> Result<Value, OperatorError> {
        self.call(Method::Delete, path, None).await
    }

    async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, OperatorError> {
        let make = |condition: (&'static str, String)| async move {
            self.exchange(Self::request(method, path, body).header(condition.0, condition.1)).await
        };
        let any = ("if-match", "*".to_owned());
        let none = ("if-none-match", "*".to_owned());
        if let Some(tag) = &self.rests_on {
            return make(("if-match", tag.clone())).await;
        }
        let record = path.split('?').next().unwrap_or(path);
        let read = self
            .http
            .send(Request::new(Method::Get, record).accept(JSON).header("user-agent", AGENT))
            .await;
        match read {
            Ok(answer) => {
                let tag = answer.header("etag").unwrap_or("*").to_owned();
                make(("if-match", tag)).await
            }
            Err(error) if error.status() == Some(404) => match method {
                Method::Put => make(none).await,
                // The service says what is not there.
                _ => make(any).await,
            },
            // The account may change, and not read.
            Err(error) if error.status() == Some(403) => match make(any).await {
                Err(OperatorError::Http(error))
                    if error.status() == Some(412) && method == Method::Put =>
                {
                    make(none).await
                }
                outcome => outcome,
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, OperatorError> {
        self.call_within(method, path, body, None).await
    }

    async fn call_within(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Option<Duration>,
    ) -> Result<Value, OperatorError> {
        let mut request = Self::request(method, path, body);
        if let Some(within) = within {
            request = request.within(within);
        }
        self.exchange(request).await
    }

    fn request<'a>(method: Method, path: &'a str, body: Option<&Value>) -> Request<'a> {
        let request = Request::new(method, path).accept(JSON).header("user-agent", AGENT);
        match body {
            Some(body) => request.body(JSON, body.to_string().into_bytes()),
            None => request,
        }
    }

    /// The answer as JSON, with its ETag as a member.
    async fn exchange(&self, request: Request<'_>) -> Result<Value, OperatorError> {
        let answer = self.http.send(request).await?;
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        let mut value: Value = answer.json()?;
        if let (Some(members), Some(tag)) = (value.as_object_mut(), answer.header("etag")) {
            members.insert("etag".to_owned(), json!(tag));
        }
        Ok(value)
    }

    async fn patiently<F, T>(&self, call: impl Fn() -> F) -> Result<T, OperatorError>
    where
        F: std::future::Future<Output = Result<T, OperatorError>>,
    {
        let mut wait: Duration = limits::BACKOFF.0;
        for _ in 1..limits::HTTP_TRIES {
            match call().await {
                Err(error) if error.is_temporary() => tokio::time::sleep(wait).await,
                other => return other,
            }
            wait = longer(wait);
        }
        call().await
    }
}

/// The path of what belongs to a tenant.
pub fn tenant_path(tenant: &str, what: &str) -> String {
    format!("/v1/tenants/{}/{what}", segment(tenant))
}

/// The path of one device, and of a verb on it when `verb` is not empty.
pub fn device_path(tenant: &str, device: &str, verb: &str) -> String {
    let path = tenant_path(tenant, &format!("devices/{}", segment(device)));
    if verb.is_empty() {
        path
    } else {
        format!("{path}/{verb}")
    }
}

/// One path segment: what is no id character is percent-encoded, so that no name changes the path.
pub fn segment(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'~');
    let dots = text.bytes().all(|b| b == b'.');
    text.bytes()
        .map(|b| if plain(b) && !dots { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_changes_a_path() {
        assert_eq!(device_path("t", "sensor:1", "revoke"), "/v1/tenants/t/devices/sensor:1/revoke");
        assert_eq!(device_path("t", "a/../b?x#y", ""), "/v1/tenants/t/devices/a%2F..%2Fb%3Fx%23y");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("ä"), "%C3%A4");
    }
}
