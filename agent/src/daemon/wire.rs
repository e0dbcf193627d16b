//! Messages of the HTTP API, apart from their meaning.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tessera_token::chain::{Admission, Refusal};
use tessera_token::ids::VerifierName;

/// `POST /v1/validate`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    pub(super) client_id: String,
    /// The MQTT password, as base64url without padding.
    pub(super) password: String,
    /// The peer's address, when the asker knows it: for behaviour alone.
    #[serde(default)]
    pub(super) address: Option<IpAddr>,
}

/// The answer, with status 200 for a refusal too.
#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) allow: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) words: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<Vec<Right>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<u64>,
    /// The verifier name that proofs must be made for here.
    pub(super) verifier: String,
    /// How old the trust data is on which this rests; `null` when there is none.
    pub(super) trust_age_seconds: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Right {
    filter: String,
    rights: &'static [&'static str],
}

impl Answer {
    pub(super) fn allow(
        admission: &Admission,
        verifier: &VerifierName,
        trust_age_seconds: Option<u64>,
    ) -> Self {
        let grant = &admission.grant;
        let scope = grant.scope().entries().iter().map(|entry| Right {
            filter: entry.filter.as_str().to_owned(),
            rights: entry.permission.words(),
        });
        Self {
            allow: true,
            code: None,
            words: None,
            tenant: Some(grant.tenant().to_string()),
            device: Some(grant.device().to_string()),
            scope: Some(scope.collect()),
            expires: Some(grant.expires().get()),
            verifier: verifier.to_string(),
            trust_age_seconds,
        }
    }

    pub(super) fn refuse(
        refusal: &Refusal,
        verifier: &VerifierName,
        trust_age_seconds: Option<u64>,
    ) -> Self {
        let subject = refusal.subject.as_ref();
        Self {
            allow: false,
            code: Some(refusal.code.as_str()),
            words: Some(refusal.code.words()),
            tenant: subject.map(|subject| subject.tenant.to_string()),
            device: subject.map(|subject| subject.device.to_string()),
            scope: None,
            expires: None,
            verifier: verifier.to_string(),
            trust_age_seconds,
        }
    }
}
