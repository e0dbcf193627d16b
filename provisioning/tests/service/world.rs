use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};
use tessera_provisioning::{Provisioning, ProvisioningConfig, ProvisioningHandle, StartError};
use tessera_runtime::clock::{Clock, ManualClock};
use tessera_runtime::http::{
    HttpClient, HttpError, HttpLimits, HttpResponse, Method, Request, ACE_CBOR, JSON,
};
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::{bytes, SystemRandom};
use tessera_runtime::secret::{read_secret_text, Secret};
use tessera_runtime::stop::Stop;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::messages::{
    EnrolRequest, NonceAnswer, RefusalAnswer, TokenAnswer, TokenKind, TokenRequest,
};
use tessera_token::refusal::RefusalCode;
use tessera_token::seal::OpeningKey;
use tessera_token::time::UnixSeconds;

use crate::{postgres, refusals};

pub const START: u64 = 1_800_000_000;

/// A running service in a folder of its own, with a clock that the test moves.
pub struct World {
    pub dir: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub handle: ProvisioningHandle,
    pub operator: HttpClient,
    pub feed: HttpClient,
    pub stranger: HttpClient,
    stop: Ends,
}

/// Ends the service with the test: its threads and its connections to a database would stay.
struct Ends(Stop);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.trigger();
        if !std::thread::panicking() {
            refusals::check();
        }
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut ProvisioningConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(UnixSeconds::new(START));
        let (handle, stop) = start(dir.path(), &clock, change).await;
        Self::around(dir, clock, handle, stop)
    }

    /// Stops and starts again in the same folder.
    pub async fn restart(self) -> Self {
        self.restart_as(|_| {}).await
    }

    pub async fn restart_as(self, change: impl FnOnce(&mut ProvisioningConfig)) -> Self {
        assert_eq!(self.stop.0.finish(Duration::from_secs(30)).await, Vec::<String>::new());
        let (handle, stop) = start(self.dir.path(), &self.clock, change).await;
        Self::around(self.dir, self.clock, handle, stop)
    }

    /// The same, with something done to the folder meanwhile.
    pub async fn restart_with(self, between: impl FnOnce(&Path)) -> Self {
        assert_eq!(self.stop.0.finish(Duration::from_secs(30)).await, Vec::<String>::new());
        between(self.dir.path());
        let (handle, stop) = start(self.dir.path(), &self.clock, |_| {}).await;
        Self::around(self.dir, self.clock, handle, stop)
    }

    /// Stops, tries to start again in the same folder, and says why that failed.
    pub async fn refused(&self) -> String {
        self.refused_as(|_| {}).await
    }

    /// The same with another configuration.
    pub async fn refused_as(&self, change: impl FnOnce(&mut ProvisioningConfig)) -> String {
        assert_eq!(self.stop().await, Vec::<String>::new());
        match try_start(self.dir.path(), &self.clock, change).await {
            Ok(_) => panic!("it started"),
            Err(error) => error.to_string(),
        }
    }

    /// As [`World::restart_with`], for what takes its time.
    pub async fn restart_between(self, between: impl AsyncFnOnce(&Path)) -> Self {
        assert_eq!(self.stop.0.finish(Duration::from_secs(30)).await, Vec::<String>::new());
        between(self.dir.path()).await;
        let (handle, stop) = start(self.dir.path(), &self.clock, |_| {}).await;
        Self::around(self.dir, self.clock, handle, stop)
    }

    pub async fn stop(&self) -> Vec<String> {
        self.stop.0.finish(Duration::from_secs(30)).await
    }

    /// A service that runs in this folder, where its tokens are.
    pub fn around(
        dir: tempfile::TempDir,
        clock: Arc<ManualClock>,
        handle: ProvisioningHandle,
        stop: Stop,
    ) -> Self {
        let client = |token: Option<&str>| {
            let secret = token.map(|file| read_secret_text(&dir.path().join(file)).unwrap());
            HttpClient::new(format!("http://{}", handle.addr()), secret, HttpLimits::default())
                .unwrap()
        };
        Self {
            operator: client(Some("operator.token")),
            feed: client(Some("feed.token")),
            stranger: client(None),
            dir,
            clock,
            handle,
            stop: Ends(stop),
        }
    }

    pub fn now(&self) -> UnixSeconds {
        self.clock.unix()
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn with_token(&self, token: &str) -> HttpClient {
        self.stranger.with_bearer(Some(Secret::new(token.to_owned())))
    }

    /// Operator calls that must succeed.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.operator.post_json(path, &body).await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        answer.json().unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.operator.get(path).await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        answer.json().unwrap()
    }

    pub async fn claim(&self, extra: Value) -> String {
        let mut body = json!({ "role": "sensor" });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let made = self.post("/v1/tenants/default/claims", body).await;
        made["claims"][0]["code"].as_str().unwrap().to_owned()
    }

    pub async fn nonce(&self) -> Vec<u8> {
        let answer = self.stranger.post("/v1/enrol/nonce", ACE_CBOR, Vec::new()).await.unwrap();
        NonceAnswer::from_cbor(&answer.body).unwrap().nonce
    }

    pub async fn enrol(&self, device: &Device, claim: &str) -> Result<TokenAnswer, RefusalCode> {
        let nonce = self.nonce().await;
        let request = EnrolRequest::sign(&device.key, &device.tenant, &device.id, claim, &nonce);
        self.ask("/v1/enrol", request.to_cbor()).await
    }

    /// A device with a new claim, enrolled.
    pub async fn enrolled(&self, name: &str) -> (Device, TokenAnswer) {
        let device = Device::new(name);
        let claim = self.claim(json!({})).await;
        let answer = self.enrol(&device, &claim).await.unwrap();
        (device, answer)
    }

    pub async fn refresh(&self, device: &Device) -> Result<TokenAnswer, RefusalCode> {
        self.refresh_with(device, self.now(), &random()).await
    }

    pub async fn refresh_with(
        &self,
        device: &Device,
        time: UnixSeconds,
        nonce: &[u8],
    ) -> Result<TokenAnswer, RefusalCode> {
        self.refresh_as(device, time, nonce, TokenKind::Key).await
    }

    pub async fn refresh_as(
        &self,
        device: &Device,
        time: UnixSeconds,
        nonce: &[u8],
        kind: TokenKind,
    ) -> Result<TokenAnswer, RefusalCode> {
        let Device { tenant, id, key } = device;
        let request = answered(TokenRequest::draft(tenant, id, time, nonce, kind)).signed_by(key);
        self.ask("/v1/token", request.to_cbor()).await
    }

    pub async fn ask(&self, path: &str, body: Vec<u8>) -> Result<TokenAnswer, RefusalCode> {
        match self.stranger.post(path, ACE_CBOR, body).await {
            Ok(answer) => Ok(TokenAnswer::from_cbor_for(&answer.body, &opening()).unwrap()),
            Err(HttpError::Status { response, .. }) => {
                let refusal = RefusalAnswer::from_cbor(&response.body).unwrap();
                assert_eq!(refusal.server_time, self.now());
                Err(refusal.code.unwrap())
            }
            Err(error) => panic!("{path}: {error}"),
        }
    }
}

pub async fn start(
    dir: &Path,
    clock: &Arc<ManualClock>,
    change: impl FnOnce(&mut ProvisioningConfig),
) -> (ProvisioningHandle, Stop) {
    try_start(dir, clock, change).await.unwrap()
}

pub async fn try_start(
    dir: &Path,
    clock: &Arc<ManualClock>,
    change: impl FnOnce(&mut ProvisioningConfig),
) -> Result<(ProvisioningHandle, Stop), StartError> {
    refusals::listen();
    let mut config = ProvisioningConfig::new(dir, "127.0.0.1:0".parse().unwrap()).unwrap();
    config.database = postgres::of(dir).await;
    change(&mut config);
    let stop = Stop::new();
    let random = SystemRandom::shared();
    let handle =
        Provisioning::start(config, clock.clone(), random, Metrics::new(), stop.clone()).await;
    handle.map(|handle| (handle, stop))
}

pub struct Device {
    pub tenant: TenantId,
    pub id: DeviceId,
    pub key: SecretKey,
}

impl Device {
    pub fn new(name: &str) -> Self {
        Self::of("default", name)
    }

    pub fn of(tenant: &str, name: &str) -> Self {
        Self {
            tenant: TenantId::parse(tenant).unwrap(),
            id: DeviceId::parse(name).unwrap(),
            key: SecretKey::from_seed(&bytes(&SystemRandom).unwrap()),
        }
    }
}

impl World {
    /// A token request of this device, now, with a nonce of its own.
    pub fn request(&self, device: &Device, kind: TokenKind) -> TokenRequest {
        let Device { tenant, id, key } = device;
        let request = TokenRequest::draft(tenant, id, self.now(), &random(), kind);
        answered(request).signed_by(key)
    }
}

/// Changes of a record of any revision.
pub trait Forced {
    async fn put_over(&self, path: &str, body: &Value) -> Result<HttpResponse, HttpError>;
    async fn delete_any(&self, path: &str) -> Result<HttpResponse, HttpError>;
}

impl Forced for HttpClient {
    async fn put_over(&self, path: &str, body: &Value) -> Result<HttpResponse, HttpError> {
        let put = || Request::new(Method::Put, path).body(JSON, body.to_string().into_bytes());
        match self.send(put().header("if-match", "*")).await {
            Err(error) if error.status() == Some(412) => {
                self.send(put().header("if-none-match", "*")).await
            }
            outcome => outcome,
        }
    }

    async fn delete_any(&self, path: &str) -> Result<HttpResponse, HttpError> {
        self.send(Request::new(Method::Delete, path).header("if-match", "*")).await
    }
}

/// The key that opens the symmetric keys of all devices here.
pub fn opening() -> OpeningKey {
    OpeningKey::from_random([9; 32])
}

fn answered(request: TokenRequest) -> TokenRequest {
    match request.kind {
        TokenKind::Symmetric => request.answered_to(opening().public()),
        _ => request,
    }
}

pub fn random() -> [u8; 16] {
    bytes(&SystemRandom).unwrap()
}

/// The refusal of an operator call, after a look at its shape (RFC 9457).
pub fn problem<T>(outcome: Result<T, HttpError>) -> (u16, String) {
    match outcome.err() {
        Some(HttpError::Status { response, .. }) => {
            assert_eq!(response.content_type, "application/problem+json");
            let body: Value = response.json().unwrap();
            assert_eq!(body["status"], response.status);
            let code = body["code"].as_str().unwrap();
            assert_eq!(body["type"], format!("urn:tessera:refusal:{code}"));
            assert_eq!(body["title"], RefusalCode::parse(code).unwrap().words());
            (response.status, code.to_owned())
        }
        Some(error) => panic!("{error}"),
        None => panic!("not refused"),
    }
}
