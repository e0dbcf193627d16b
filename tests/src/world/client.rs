//! One client of a site: devices and operators by hand, without retries.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{json, Value};
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_token::encoding::base64url;
use tessera_token::ids::DeviceId;
use tessera_token::messages::{EnrolRequest, NonceAnswer, TokenAnswer, TokenKind, TokenRequest};
use tessera_token::proof::{ConnectProof, Credential};
use tessera_token::time::UnixSeconds;

use super::{Device, Purpose};
use crate::api::tenant;
use crate::http::{Answer, Http};
use crate::mqtt::{Mqtt, Refused};
use crate::site::{Places, GATEWAY};

/// Every proof of a run has a counter above all earlier ones.
static COUNTER: AtomicU32 = AtomicU32::new(1);

/// An answer of a service, or none.
#[derive(Debug)]
pub enum Outcome<T> {
    /// Yes.
    Done(T),
    /// No, with the code.
    Refused(String),
    /// The connection ended; whether it was done is not known.
    Lost(io::Error),
}

impl<T> Outcome<T> {
    /// The step.
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(done) => Some(done),
            _ => None,
        }
    }

    /// As [`Self::done`]; otherwise `why` is the code.
    pub fn noted(self, why: &mut String) -> Option<T> {
        if !matches!(self, Self::Done(_)) {
            *why = self.code();
        }
        self.done()
    }

    /// The code of a refusal, `done`, or why nothing is known.
    pub fn code(&self) -> String {
        match self {
            Self::Done(_) => "done".to_owned(),
            Self::Refused(code) => code.clone(),
            Self::Lost(error) => format!("lost: {error}"),
        }
    }

    /// Whether it was done.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// Whether it was refused.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl<T> From<io::Error> for Outcome<T> {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// A client of one site.
#[derive(Clone)]
pub struct Client {
    /// Where it goes.
    pub places: Places,
    /// Provisioning as an operator.
    pub operator: Http,
    device: Http,
    agent: Http,
    clock: SystemClock,
}

impl Client {
    /// A client with the token of an operator.
    pub fn new(places: Places, operator_token: &str) -> Self {
        Self {
            places,
            operator: Http::new(places.http, Some(operator_token.to_owned())),
            device: Http::new(places.http, None),
            agent: Http::new(places.agent, None),
            clock: SystemClock::new(),
        }
    }

    /// The time of the devices.
    pub fn now(&self) -> UnixSeconds {
        self.clock.unix()
    }

    /// A claim and an enrolment.
    pub fn enrol(&self, id: &str, role: &str, seed: [u8; 32], purpose: Purpose) -> Outcome<Device> {
        let body = json!({ "role": role, "count": 1 });
        let claim = match self.ask("/v1/tenants/default/claims", &body) {
            Outcome::Done(claims) => claims["claims"][0]["code"].as_str().unwrap().to_owned(),
            Outcome::Refused(code) => return Outcome::Refused(code),
            Outcome::Lost(error) => return Outcome::Lost(error),
        };
        let mut device = Device { id: id.to_owned(), seed, purpose, token: Vec::new() };
        let answer = self.device.post_cbor("/v1/enrol/nonce", &[]).and_then(|nonce| {
            let Ok(nonce) = NonceAnswer::from_cbor(&nonce.body) else { return Ok(nonce) };
            let id = DeviceId::parse(id).unwrap();
            let ask = EnrolRequest::sign(&device.key(), &tenant(), &id, &claim, &nonce.nonce);
            self.device.post_cbor("/v1/enrol", &ask.to_cbor())
        });
        match token_of(answer) {
            Outcome::Done(token) => {
                device.token = token;
                Outcome::Done(device)
            }
            Outcome::Refused(code) => Outcome::Refused(code),
            Outcome::Lost(error) => Outcome::Lost(error),
        }
    }

    /// The bytes of a request for the next token.
    pub fn refresh_request(&self, device: &Device, nonce: &[u8]) -> Vec<u8> {
        let id = DeviceId::parse(&device.id).unwrap();
        let (key, now) = (device.key(), self.now());
        TokenRequest::sign(&key, &tenant(), &id, now, nonce, TokenKind::Key).to_cbor()
    }

    /// Sends such a request; the token.
    pub fn refresh(&self, request: &[u8]) -> Outcome<Vec<u8>> {
        token_of(self.device.post_cbor("/v1/token", request))
    }

    /// Revokes a device.
    pub fn revoke(&self, device: &str) -> Outcome<Value> {
        self.ask(&format!("/v1/tenants/default/devices/{device}/revoke"), &json!({}))
    }

    /// Revokes a token by its hash.
    pub fn revoke_token(&self, token: &[u8]) -> Outcome<Value> {
        let hash = base64url(tessera_token::hash::TokenHash::of(token).as_bytes());
        self.ask("/v1/tenants/default/tokens/revoke", &json!({ "token_hash": hash }))
    }

    /// `POST` as an operator.
    pub fn ask(&self, path: &str, body: &Value) -> Outcome<Value> {
        read(self.operator.post(path, body))
    }

    /// Every item of a list.
    ///
    /// # Errors
    /// When a page cannot be had.
    pub fn list(&self, path: &str) -> Result<Vec<Value>, String> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = match read(self.operator.get(&format!("{path}?limit=1000{cursor}"))) {
                Outcome::Done(page) => page,
                other => return Err(format!("{path}: {}", other.code())),
            };
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    /// A password for one CONNECT at the broker.
    pub fn password(&self, device: &Device, client: &str) -> Vec<u8> {
        self.password_for("mqtt", device, client)
    }

    /// A password for one look of the agent.
    pub fn gateway_password(&self, device: &Device) -> Vec<u8> {
        self.password_for(GATEWAY, device, &device.id)
    }

    fn password_for(&self, verifier: &str, device: &Device, client: &str) -> Vec<u8> {
        let counter = COUNTER.fetch_add(1, Ordering::SeqCst);
        let (key, now, token) = (device.key(), self.now(), &device.token);
        let proof = ConnectProof::make(&key, verifier, client, token, now, counter);
        Credential { token: token.clone(), proof: Some(proof) }.to_password()
    }

    /// A CONNECT with a password that was made before.
    pub fn connect_with(&self, client: &str, password: &[u8], clean: bool) -> Outcome<Mqtt> {
        match Mqtt::connect(self.places.mqtt, client, password, clean) {
            Ok(session) => Outcome::Done(session),
            Err(Refused::Code(code)) => Outcome::Refused(format!("CONNACK {code}")),
            Err(Refused::Lost(error)) => Outcome::Lost(error),
        }
    }

    /// A CONNECT.
    pub fn connect(&self, device: &Device, clean: bool) -> Outcome<Mqtt> {
        self.connect_with(&device.id, &self.password(device, &device.id), clean)
    }

    /// Shows a password to the agent.
    pub fn validate_with(&self, client: &str, password: &[u8]) -> Outcome<()> {
        let body = json!({ "client_id": client, "password": base64url(password) });
        match read(self.agent.post("/v1/validate", &body)) {
            Outcome::Done(answer) if answer["allow"] == true => Outcome::Done(()),
            Outcome::Done(answer) => Outcome::Refused(answer["code"].to_string()),
            Outcome::Refused(code) => Outcome::Refused(code),
            Outcome::Lost(error) => Outcome::Lost(error),
        }
    }

    /// Shows a new password to the agent.
    pub fn validate(&self, device: &Device) -> Outcome<()> {
        self.validate_with(&device.id, &self.gateway_password(device))
    }
}

fn read(answer: io::Result<Answer>) -> Outcome<Value> {
    match answer {
        Err(error) => Outcome::Lost(error),
        Ok(answer) if answer.ok() => Outcome::Done(answer.json()),
        Ok(answer) => match answer.json()["code"].as_str() {
            Some(code) => Outcome::Refused(code.to_owned()),
            None => Outcome::Refused(format!("HTTP {}", answer.status)),
        },
    }
}

fn token_of(answer: io::Result<Answer>) -> Outcome<Vec<u8>> {
    match answer {
        Err(error) => Outcome::Lost(error),
        Ok(answer) if answer.ok() => match TokenAnswer::from_cbor(&answer.body) {
            Ok(token) => Outcome::Done(token.access_token),
            Err(_) => Outcome::Refused("an answer that is none".to_owned()),
        },
        Ok(answer) => {
            let told = tessera_token::messages::RefusalAnswer::from_cbor(&answer.body);
            Outcome::Refused(match told.map(|told| told.code) {
                Ok(Some(code)) => code.to_string(),
                _ => format!("HTTP {}", answer.status),
            })
        }
    }
}
