//! Records at rest, and how each stands in its table.

use serde::{Deserialize, Serialize};
use tessera_token::chain::{StalenessBudget, TenantTrust};
use tessera_token::claims::{ConfirmationForm, Epochs};
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::PublicKey;
use tessera_token::trust::{Change, RegisteredKey};

pub(crate) mod alert_lines;
mod announcement;
pub(crate) mod api_tokens;
pub(crate) mod approvals;
pub(crate) mod attributes;
pub(crate) mod audit;
pub(crate) mod claim_counts;
pub(crate) mod claim_imports;
mod device_rows;
pub(crate) mod families;
pub(crate) mod findings;
pub(crate) mod heads;
pub(crate) mod kept;
pub(crate) mod keys;
pub(crate) mod marks;
pub(crate) mod octets;
pub(crate) mod operators;
mod page;
pub(crate) mod partners;
pub(crate) mod push;
pub(crate) mod rekey;
pub(crate) mod restraints;
mod rows;
pub(crate) mod rules;
mod suspension;
pub(crate) mod trl;
pub(crate) mod uses;
pub(crate) mod verifiers;
pub(crate) mod ways;
pub(crate) mod webhooks;
mod words;

/// A sum that the database can hold.
pub(crate) fn capped(sum: u64, more: u64) -> u64 {
    sum.saturating_add(more).min(1 << 60)
}

pub(crate) use announcement::Announcement;
pub use attributes::Attributes;
pub(crate) use page::Page;
pub(crate) use suspension::Suspension;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantRecord {
    pub(crate) epoch: u64,
    pub(crate) suspended: bool,
    pub(crate) bearer: bool,
    /// Number of the next group: numbers stand in tokens and are never given twice.
    pub(crate) next_group: u64,
    pub(crate) created: u64,
    /// How new tokens name the device key.
    pub(crate) confirmation: Confirmation,
    /// Whether verifiers hear of every device key. It stays on: tokens that need it may still live.
    pub(crate) keys_published: bool,
    /// How old trust data may be; `None`: as the token crate says.
    pub(crate) staleness: Option<Staleness>,
}

/// Seconds for which trust data may be old, by class of scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Staleness {
    /// Scopes that only publish, on exact topics.
    pub(crate) telemetry: u64,
    /// Scopes that also receive on exact topics.
    pub(crate) command: u64,
    /// Scopes with a wildcard: services.
    pub(crate) actuation: u64,
}

impl From<StalenessBudget> for Staleness {
    fn from(budget: StalenessBudget) -> Self {
        let StalenessBudget { telemetry, command, actuation } = budget;
        Self { telemetry, command, actuation }
    }
}

impl From<Staleness> for StalenessBudget {
    fn from(budget: Staleness) -> Self {
        let Staleness { telemetry, command, actuation } = budget;
        Self { telemetry, command, actuation }
    }
}

/// How `cnf` names the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Confirmation {
    /// The whole key.
    #[default]
    Key,
    /// Its key id.
    Kid,
    /// Its thumbprint.
    Thumbprint,
}

impl From<Confirmation> for ConfirmationForm {
    fn from(confirmation: Confirmation) -> Self {
        match confirmation {
            Confirmation::Key => Self::Key,
            Confirmation::Kid => Self::KeyId,
            Confirmation::Thumbprint => Self::Thumbprint,
        }
    }
}

impl TenantRecord {
    pub(crate) fn new(bearer: bool, now: u64) -> Self {
        Self {
            epoch: 0,
            suspended: false,
            bearer,
            next_group: 0,
            created: now,
            confirmation: Confirmation::default(),
            keys_published: false,
            staleness: None,
        }
    }

    /// How old trust data may be.
    pub(crate) fn staleness(&self) -> Staleness {
        self.staleness.unwrap_or_else(|| StalenessBudget::default().into())
    }

    pub(crate) fn trust(&self, tenant: &TenantId) -> TenantTrust {
        TenantTrust {
            tenant: tenant.clone(),
            epoch: self.epoch,
            suspended: self.suspended,
            bearer: self.bearer,
            staleness: self.staleness().into(),
        }
    }
}

/// The limits of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RoleClass {
    /// Its own topics only.
    Device,
    /// Wildcards.
    Service,
    /// Exact topics of another party.
    Partner,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleRecord {
    pub(crate) class: RoleClass,
    pub(crate) publish: Vec<String>,
    pub(crate) subscribe: Vec<String>,
    /// Seconds of a token's life; `None`: as configured.
    pub(crate) token_seconds: Option<u64>,
    /// Whether devices that cannot sign may have refresh tokens.
    pub(crate) refresh_tokens: bool,
    pub(crate) progress: RoleProgress,
}

/// The progress of a change of a role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RoleProgress {
    /// Number of its changes of rights.
    pub(crate) revision: u64,
    /// The revision for which tokens with former rights are still to be ended.
    pub(crate) ending: Option<u64>,
    /// It is being deleted: it is given to none.
    pub(crate) leaving: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupRecord {
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    pub(crate) created: u64,
    /// None of its devices gets a token while it is there.
    pub(crate) suspended: Option<Suspension>,
    /// The claims by which a device of it may enrol with another key; `None` is none.
    pub(crate) reenrol: Option<Reenrol>,
    /// A change of its devices that an operator announced.
    pub(crate) announced: Option<Announcement>,
}

/// Fresh claims that give a device another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reenrol {
    /// A claim that names the device.
    Device,
    /// Any claim of the group of the device.
    Group,
}

impl Reenrol {
    /// The word of the setting.
    pub(crate) fn word(setting: Option<Self>) -> &'static str {
        match setting {
            None => "off",
            Some(Self::Device) => "device",
            Some(Self::Group) => "group",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimRecord {
    pub(crate) role: String,
    pub(crate) group: String,
    /// The only device id that may use it.
    pub(crate) device: Option<String>,
    pub(crate) created: u64,
    pub(crate) expires: u64,
    pub(crate) by: String,
    /// Attributes of the device that uses it.
    pub(crate) attributes: Attributes,
    /// The use of a claim for one device.
    pub(crate) used: Option<ClaimUse>,
    /// The number of devices, and how many have used it; `None`: one device.
    pub(crate) counted: Option<Counted>,
    /// The pattern of the ids that may use it.
    pub(crate) pattern: Option<String>,
}

/// The uses of a claim that several devices may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) uses: u64,
    pub(crate) made: u64,
}

impl ClaimRecord {
    /// Whether another device may still use it.
    pub(crate) fn is_open(&self, now: u64) -> bool {
        let has_room = self.counted.is_none_or(|counted| counted.made < counted.uses);
        self.used.is_none() && has_room && self.expires > now
    }

    /// Whether no device has used it.
    pub(crate) fn is_unused(&self) -> bool {
        self.used.is_none() && self.counted.is_none_or(|counted| counted.made == 0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimUse {
    pub(crate) device: String,
    pub(crate) thumbprint: [u8; 32],
    pub(crate) at: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceRecord {
    pub(crate) role: String,
    pub(crate) group: String,
    /// Record form of the public key.
    pub(crate) key: Vec<u8>,
    pub(crate) epoch: u64,
    pub(crate) revoked: bool,
    pub(crate) enrolled: u64,
    /// Id of the claim that entitled it.
    pub(crate) claim: String,
    pub(crate) attributes: Attributes,
    /// Families of refresh tokens that began at a lower epoch have ended; `None`: none have.
    pub(crate) refresh_from: Option<u64>,
    /// Its own suspension; its group may have another.
    pub(crate) suspended: Option<Suspension>,
    /// The name of its key, by which it is found. A row of a former version has none until a start names it.
    pub(crate) thumbprint: Option<[u8; 32]>,
}

impl DeviceRecord {
    /// The thumbprint of its key.
    pub(crate) fn name_of_key(&self) -> Option<[u8; 32]> {
        let computed = || {
            let key = PublicKey::from_known_good(&self.key).ok()?;
            Some(*key.thumbprint().as_bytes())
        };
        self.thumbprint.or_else(computed)
    }

    /// The change that verifiers of a tenant with published keys must know.
    pub(crate) fn key_change(&self, tenant: &TenantId, device: &DeviceId) -> Change {
        Change::DeviceKey(RegisteredKey {
            tenant: tenant.clone(),
            device: device.clone(),
            key: self.key.clone(),
        })
    }
}

/// A token that left the house: by it a single token can be revoked.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct IssuedRecord {
    pub(crate) tenant: String,
    pub(crate) device: String,
    /// RFC 9770 token hash.
    pub(crate) hash: [u8; 33],
    pub(crate) issued: u64,
    pub(crate) expires: u64,
    pub(crate) key_id: [u8; 8],
    /// Those that stand in it; `None` in rows of a former version.
    pub(crate) epochs: Option<Epochs>,
    /// The answer of a refresh, for the same request once more; an enrolment has none.
    pub(crate) answer: Option<AnsweredRequest>,
}

/// A request for a token, and its answer.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AnsweredRequest {
    pub(crate) nonce: Vec<u8>,
    /// When it was asked: the time of the request, or that of the service where a nonce stands in its place.
    pub(crate) asked_at: u64,
    /// The time that the request bears.
    pub(crate) time: u64,
    pub(crate) bearer: bool,
    /// From then on the request is stale by itself.
    pub(crate) until: u64,
    pub(crate) token: Vec<u8>,
    pub(crate) scope: Vec<u8>,
    /// The name of the token's symmetric key, which is derived again and never stored; empty when it has none.
    pub(crate) kid: Vec<u8>,
}

/// A device whose epoch moved within the longest token life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MovedDevice {
    pub(crate) epoch: u64,
    pub(crate) at: u64,
}

/// A device that was deleted. The row stays until another device has the id: a gateway that seldom runs remembers an epoch
/// for any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeletedDevice {
    /// All of its tokens are below it.
    pub(crate) epoch: u64,
    pub(crate) at: u64,
    /// From then on another device may have its id.
    pub(crate) free: u64,
}

/// A token that was revoked by its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RevokedRow {
    pub(crate) tenant: String,
    pub(crate) device: String,
}

/// An event of the feed as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedEvent(pub(crate) Vec<u8>);
