//! A claim as a line of JSON, in imports.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{json, Map, Value};
use tessera_token::ids::DeviceId;

use super::imports::{unread, Lined};
use crate::limits::CLAIM_SECONDS;
use crate::records::Attributes;
use crate::refused::Refused;
use crate::registry::imports::claims::{Told, WantedClaim};
use crate::registry::imports::Fault;
use crate::registry::pattern::IdPattern;
use crate::registry::tenants::DEFAULT_GROUP;
use crate::rest::input::{id, json as read_json};

/// The members of a body for new claims, but for those of several claims at once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimLine {
    role: String,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    device: Option<String>,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    uses: Option<u64>,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

impl ClaimLine {
    fn wanted(self) -> Result<WantedClaim, Fault> {
        let at = |field| move |refused: Refused| Fault::of(field, refused);
        let values = self.attributes.into_iter().map(|(name, value)| (name, Some(value)));
        let group = self.group.as_deref().unwrap_or(DEFAULT_GROUP);
        let pattern = self.pattern.as_deref().map(IdPattern::parse).transpose();
        let wanted = WantedClaim {
            device: self.device.as_deref().map(id).transpose().map_err(at("device"))?,
            role: id(&self.role).map_err(at("role"))?,
            group: id(group).map_err(at("group"))?,
            pattern: pattern.map_err(at("pattern"))?,
            uses: self.uses.unwrap_or(1),
            life: self.expires_in.unwrap_or(CLAIM_SECONDS),
            attributes: Attributes::default().with(&values.collect()).map_err(at("attributes"))?,
        };
        wanted.check()?;
        Ok(wanted)
    }
}

impl Lined for WantedClaim {
    fn read(bytes: &[u8]) -> (Option<String>, Result<Self, Fault>) {
        match read_json::<ClaimLine>(bytes) {
            Ok(line) => {
                let device =
                    line.device.as_ref().and_then(|device| device.parse::<DeviceId>().ok());
                (device.map(|device| device.as_str().to_owned()), line.wanted())
            }
            Err(refused) => (None, Err(unread(refused, &["role"]))),
        }
    }

    /// The one answer that shows the code.
    fn show(told: &Option<Told>, answer: &mut Map<String, Value>) {
        if let Some(Told { claim, code, expires }) = told {
            answer.insert("claim".to_owned(), json!(claim));
            answer.insert("claim_code".to_owned(), json!(code.expose()));
            answer.insert("expires".to_owned(), json!(expires));
        }
    }
}
