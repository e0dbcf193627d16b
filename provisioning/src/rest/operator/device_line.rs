//! A device as a line of JSON, in imports and exports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::ids::DeviceId;
use tessera_token::key::PublicKey;
use tessera_token::refusal::RefusalCode;

use super::imports::{unread, Lined};
use crate::records::{Attributes, DeviceRecord};
use crate::refused::Refused;
use crate::registry::imports::devices::WantedDevice;
use crate::registry::imports::Fault;
use crate::registry::standing::State;
use crate::registry::tenants::DEFAULT_GROUP;
use crate::rest::input::{id, json};
use crate::rest::jwk::Jwk;

/// A device as a line of an import or an export. It holds no secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceLine {
    device: String,
    /// A COSE_Key as base64url; in an import a JWK too.
    key: Value,
    role: String,
    #[serde(default = "default_group")]
    group: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    state: StateWord,
}

fn default_group() -> String {
    DEFAULT_GROUP.to_owned()
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateWord {
    #[default]
    Active,
    Suspended,
    Revoked,
}

/// A public key, judged as at an enrolment.
fn key(form: Value) -> Result<PublicKey, Refused> {
    let refused = |why: &str| Refused::because(RefusalCode::ConfirmationKey, why);
    let key = match form {
        Value::String(text) => {
            let bytes = from_base64url(&text).ok_or_else(|| refused("key is base64url"))?;
            PublicKey::from_cose_key(&bytes)
        }
        form => {
            let form = serde_json::from_value::<Jwk>(form);
            let form = form.map_err(|error| refused(&error.to_string()))?;
            let bytes = form.key().map_err(|fault| refused(&format!("key {fault}")))?;
            PublicKey::from_bytes(&bytes)
        }
    };
    key.map_err(|error| refused(&error.to_string()))
}

impl DeviceLine {
    pub(super) fn of(device: String, record: DeviceRecord) -> Result<Self, Refused> {
        let key = PublicKey::from_known_good(&record.key).map_err(|_| RefusalCode::Internal)?;
        Ok(Self {
            device,
            key: Value::String(base64url(&key.to_cose_key())),
            state: match State::of(&record, None) {
                State::Active => StateWord::Active,
                State::Suspended => StateWord::Suspended,
                State::Revoked => StateWord::Revoked,
            },
            role: record.role,
            group: record.group,
            attributes: record.attributes.values().clone(),
        })
    }

    fn wanted(self) -> Result<WantedDevice, Fault> {
        let at = |field| move |refused: Refused| Fault::of(field, refused);
        let values = self.attributes.into_iter().map(|(name, value)| (name, Some(value)));
        Ok(WantedDevice {
            device: id(&self.device).map_err(at("device"))?,
            key: key(self.key).map_err(at("key"))?,
            role: id(&self.role).map_err(at("role"))?,
            group: id(&self.group).map_err(at("group"))?,
            attributes: Attributes::default().with(&values.collect()).map_err(at("attributes"))?,
            state: match self.state {
                StateWord::Active => State::Active,
                StateWord::Suspended => State::Suspended,
                StateWord::Revoked => State::Revoked,
            },
        })
    }
}

impl Lined for WantedDevice {
    fn read(bytes: &[u8]) -> (Option<String>, Result<Self, Fault>) {
        match json::<DeviceLine>(bytes) {
            Ok(line) => {
                let named = line.device.parse::<DeviceId>().ok();
                (named.map(|device| device.as_str().to_owned()), line.wanted())
            }
            Err(refused) => (None, Err(unread(refused, &["device", "key", "role"]))),
        }
    }

    fn show((): &(), _answer: &mut Map<String, Value>) {}
}
