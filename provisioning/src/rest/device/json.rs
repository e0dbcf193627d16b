//! The device messages as JSON, with the names of RFC 9200 and binary as base64url.

use serde::{Deserialize, Serialize};
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::key::Thumbprint;
use tessera_token::messages::{
    ClaimCheck, ClaimCode, EnrolRequest, FormerKey, NonceAnswer, RekeyRequest, ShownMembers,
    TokenAnswer, TokenKind, TokenRequest, Way,
};
use tessera_token::time::UnixSeconds;

use crate::refused::Refused;
use crate::rest::input::{id, json};
use crate::rest::jwk::Jwk;

#[derive(Serialize)]
pub(super) struct NonceJson {
    cnonce: String,
    expires_in: u64,
    server_time: u64,
}

impl From<&NonceAnswer> for NonceJson {
    fn from(answer: &NonceAnswer) -> Self {
        Self {
            cnonce: base64url(&answer.nonce),
            expires_in: answer.expires_in,
            server_time: answer.server_time.get(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolJson {
    client_id: String,
    req_cnf: Cnf,
    tenant: String,
    #[serde(default)]
    way: Option<String>,
    #[serde(default)]
    claim: Option<String>,
    #[serde(default)]
    secret_mac: Option<String>,
    #[serde(default)]
    certificates: Option<Vec<String>>,
    #[serde(default)]
    certificate_signature: Option<String>,
    nonce: String,
    signature: String,
}

/// `{"jwk": …}` as in RFC 7800.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cnf {
    jwk: Jwk,
}

/// An OKP key (RFC 8037), or an EC key on P-256 (RFC 7518).
impl Cnf {
    fn key(&self) -> Result<Vec<u8>, Refused> {
        self.jwk.key().map_err(|fault| Refused::malformed(format!("req_cnf.jwk {fault}")))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RekeyJson {
    client_id: String,
    req_cnf: Cnf,
    tenant: String,
    nonce: String,
    signature: String,
    #[serde(default)]
    former_thumbprint: Option<String>,
    #[serde(default)]
    former_signature: Option<String>,
}

pub(super) fn rekey_request(bytes: &[u8]) -> Result<RekeyRequest, Refused> {
    let wire: RekeyJson = json(bytes)?;
    let former = match (&wire.former_thumbprint, &wire.former_signature) {
        (None, None) => None,
        (Some(name), Some(proof)) => {
            let name = binary("former_thumbprint", name)?;
            let name =
                name.try_into().map_err(|_| Refused::malformed("former_thumbprint is 32 bytes"))?;
            let thumbprint = Thumbprint::from_bytes(name);
            Some(FormerKey { thumbprint, signature: signature(proof)? })
        }
        _ => return Err(Refused::malformed("former_thumbprint goes with former_signature")),
    };
    Ok(RekeyRequest {
        tenant: id(&wire.tenant)?,
        device: id(&wire.client_id)?,
        key: wire.req_cnf.key()?,
        nonce: nonce("nonce", &wire.nonce)?,
        signature: signature(&wire.signature)?,
        former,
    })
}

pub(super) fn enrol_request(bytes: &[u8]) -> Result<EnrolRequest, Refused> {
    let wire: EnrolJson = json(bytes)?;
    let way = wire.way.as_deref().map(|name| {
        Way::parse(name).ok_or_else(|| {
            Refused::malformed("way is claim, key, group_key, certificate or approval")
        })
    });
    let mac = wire.secret_mac.map(|mac| {
        let mac = binary("secret_mac", &mac)?;
        mac.try_into().map_err(|_| Refused::malformed("secret_mac is 32 bytes"))
    });
    let chain = wire.certificates.map(|chain| {
        let chain = chain.iter().map(|one| binary("certificates", one));
        chain.collect::<Result<Vec<_>, _>>()
    });
    let shown = ShownMembers {
        way: way.transpose()?,
        claim: wire.claim,
        mac: mac.transpose()?,
        chain: chain.transpose()?,
        signature: wire.certificate_signature.as_deref().map(signature).transpose()?,
    };
    Ok(EnrolRequest {
        entitlement: shown.entitlement().map_err(|error| Refused::malformed(error.to_string()))?,
        tenant: id(&wire.tenant)?,
        device: id(&wire.client_id)?,
        key: wire.req_cnf.key()?,
        nonce: nonce("nonce", &wire.nonce)?,
        signature: signature(&wire.signature)?,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckJson {
    client_id: String,
    tenant: String,
    claim: String,
}

pub(super) fn claim_check(bytes: &[u8]) -> Result<ClaimCheck, Refused> {
    let CheckJson { client_id, tenant, claim } = json(bytes)?;
    let claim =
        ClaimCode::parse(&claim).ok_or_else(|| Refused::malformed("claim is no claim code"));
    Ok(ClaimCheck { tenant: id(&tenant)?, device: id(&client_id)?, claim: claim? })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenJson {
    grant_type: String,
    client_id: String,
    tenant: String,
    #[serde(default)]
    iat: Option<u64>,
    #[serde(default)]
    cnonce: Option<String>,
    nonce: String,
    signature: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    pop_key: Option<String>,
    #[serde(default)]
    answer_key: Option<String>,
}

pub(super) fn token_request(bytes: &[u8]) -> Result<TokenRequest, Refused> {
    let wire: TokenJson = json(bytes)?;
    if wire.grant_type != "client_credentials" {
        return Err(Refused::malformed("grant_type is client_credentials"));
    }
    let bearer = match wire.token_type.as_deref() {
        None | Some("PoP") => false,
        Some("Bearer") => true,
        Some(_) => return Err(Refused::malformed("token_type is PoP or Bearer")),
    };
    let kind = TokenKind::of(bearer, wire.pop_key.as_deref())
        .ok_or_else(|| Refused::malformed("pop_key is symmetric, for a PoP token"))?;
    let (time, cnonce) = match (wire.iat, wire.cnonce) {
        (Some(iat), None) => (iat, None),
        (None, Some(cnonce)) => (0, Some(nonce("cnonce", &cnonce)?)),
        _ => return Err(Refused::malformed("either iat or cnonce")),
    };
    let answer_key = wire.answer_key.map(|key| {
        let key = binary("answer_key", &key)?;
        key.try_into().map_err(|_| Refused::malformed("answer_key is 32 bytes"))
    });
    let answer_key = answer_key.transpose()?;
    if answer_key.is_some() && kind != TokenKind::Symmetric {
        return Err(Refused::malformed("answer_key goes with pop_key symmetric"));
    }
    Ok(TokenRequest {
        tenant: id(&wire.tenant)?,
        device: id(&wire.client_id)?,
        time: UnixSeconds::new(time),
        cnonce,
        nonce: nonce("nonce", &wire.nonce)?,
        kind,
        answer_key,
        signature: signature(&wire.signature)?,
    })
}

#[derive(Serialize)]
pub(super) struct TokenAnswerJson {
    access_token: String,
    expires_in: u64,
    token_type: &'static str,
    audience: String,
    /// The CBOR of `cnf`, sealed to the `answer_key` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed_cnf: Option<String>,
    /// AIF-MQTT: `[[filter, ["pub", "sub"]], …]`.
    scope: Vec<(String, &'static [&'static str])>,
    server_time: u64,
}

impl TokenAnswerJson {
    pub(super) fn new(answer: &TokenAnswer, sealed: Option<&[u8]>) -> Self {
        let entries = answer.scope.entries().iter();
        Self {
            access_token: base64url(&answer.access_token),
            expires_in: answer.expires_in,
            token_type: match answer.bearer {
                true => "Bearer",
                false => "PoP",
            },
            audience: answer.audience.as_str().to_owned(),
            sealed_cnf: sealed.map(base64url),
            scope: entries
                .map(|entry| (entry.filter.as_str().to_owned(), entry.permission.words()))
                .collect(),
            server_time: answer.server_time.get(),
        }
    }
}

fn nonce(name: &str, text: &str) -> Result<Vec<u8>, Refused> {
    let bytes = binary(name, text)?;
    match tessera_token::limits::NONCE_BYTES.contains(&bytes.len()) {
        true => Ok(bytes),
        false => Err(Refused::malformed(format!("{name} is 8 to 32 bytes"))),
    }
}

fn signature(text: &str) -> Result<[u8; 64], Refused> {
    binary("signature", text)?.try_into().map_err(|_| Refused::malformed("signature is 64 bytes"))
}

fn binary(name: &str, text: &str) -> Result<Vec<u8>, Refused> {
    from_base64url(text)
        .ok_or_else(|| Refused::malformed(format!("{name} is base64url without padding")))
}
