//! Provisioning's REST interface as a device and as an operator, for tests that need speed.

use std::net::SocketAddr;

use serde_json::{json, Value};
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_runtime::http::{HttpClient, HttpError};
use tessera_runtime::secret::Secret;
use tessera_token::cbor::Reader;
use tessera_token::encoding::base64url;
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::messages::{
    EnrolRequest, NonceAnswer, TokenAnswer, TokenKind, TokenRequest, ACE_CBOR,
};

/// A client of one provisioning service.
pub struct Api {
    device: HttpClient,
    operator: HttpClient,
    clock: SystemClock,
}

/// The tenant of every first start.
pub fn tenant() -> TenantId {
    TenantId::parse("default").unwrap()
}

impl Api {
    /// A client for the service at `http`.
    pub fn new(http: SocketAddr, operator_token: &str) -> Self {
        let base = format!("http://{http}");
        let client = |bearer| HttpClient::new(&base, bearer, Default::default()).unwrap();
        Self {
            device: client(None),
            operator: client(Some(Secret::new(operator_token.to_owned()))),
            clock: SystemClock::new(),
        }
    }

    /// Claim codes for a role.
    pub async fn claims(&self, role: &str, count: usize) -> Result<Vec<String>, HttpError> {
        let body = json!({ "role": role, "count": count });
        let answer = self.operator.post_json("/v1/tenants/default/claims", &body).await?;
        let answer: Value = answer.json()?;
        let codes = answer["claims"].as_array().unwrap().iter();
        Ok(codes.map(|c| c["code"].as_str().unwrap().to_owned()).collect())
    }

    /// Enrols a device: nonce, proof, token.
    pub async fn enrol(
        &self,
        key: &SecretKey,
        device: &DeviceId,
        claim: &str,
    ) -> Result<TokenAnswer, HttpError> {
        let nonce = self.device.post("/v1/enrol/nonce", ACE_CBOR, Vec::new()).await?;
        let nonce = NonceAnswer::from_cbor(&nonce.body).unwrap().nonce;
        let request = EnrolRequest::sign(key, &tenant(), device, claim, &nonce);
        let answer = self.device.post("/v1/enrol", ACE_CBOR, request.to_cbor()).await?;
        Ok(TokenAnswer::from_cbor(&answer.body).unwrap())
    }

    /// Pulls the next token with proof.
    pub async fn refresh(
        &self,
        key: &SecretKey,
        device: &DeviceId,
        nonce: &[u8],
    ) -> Result<TokenAnswer, HttpError> {
        let now = self.clock.unix();
        let request = TokenRequest::sign(key, &tenant(), device, now, nonce, TokenKind::Key);
        let answer = self.device.post("/v1/token", ACE_CBOR, request.to_cbor()).await?;
        Ok(TokenAnswer::from_cbor(&answer.body).unwrap())
    }

    /// Revokes a device.
    pub async fn revoke(&self, device: &DeviceId) -> Result<(), HttpError> {
        let path = format!("/v1/tenants/default/devices/{device}/revoke");
        self.operator.post_json(&path, &json!({})).await.map(drop)
    }

    /// Record of a device in the registry.
    pub async fn device(&self, device: &DeviceId) -> Result<Value, HttpError> {
        let answer = self.operator.get(&format!("/v1/tenants/default/devices/{device}")).await?;
        answer.json()
    }

    /// Revokes one token by its name.
    pub async fn revoke_token(&self, token: &[u8]) -> Result<(), HttpError> {
        let name = base64url(TokenHash::of(token).as_bytes());
        let path = "/v1/tenants/default/tokens/revoke";
        self.operator.post_json(path, &json!({ "token_hash": name })).await.map(drop)
    }
}

/// The serial (`cti`) of a token, read without verifying it.
pub fn serial_of(token: &[u8]) -> Vec<u8> {
    let mut outer = Reader::new(&token[3..]);
    outer.array_of(4).unwrap();
    outer.skip().unwrap();
    outer.skip().unwrap();
    let payload = outer.bytes().unwrap();
    let mut claims = Reader::new(payload);
    for _ in 0..claims.map().unwrap() {
        if claims.label().unwrap() == Some(7) {
            return claims.bytes().unwrap().to_vec();
        }
        claims.skip().unwrap();
    }
    panic!("the token has no cti");
}
