//! The authorization server of Tessera: enrol → issue → refresh → revoke.
//!
//! A device shows a claim code and a key once and becomes a registered device; from then on its key alone gets it
//! short-lived tokens. Operators make tenants, roles, groups and claims, and revoke. Brokers and agents read the signed
//! trust feed. Everything that is answered is durable. It is not in the path of any MQTT packet.
//!
//! Modules stand by level, from above: each names only modules below it (`ARCHITECTURE.md`). To follow a request of a
//! device, read `rest`, `enrol` or `refresh`, `token_for_device`, `issue`; to follow a revocation, `rest`, `revoke`,
//! `service`, `trust`, `feed`. Public: [`Provisioning::start`].

#[cfg(feature = "testing")]
pub mod driven;

mod start;

mod rest;
mod sweep;

mod alerts;
mod api_tokens;
mod enrol;
mod feed;
mod heal;
mod introspect;
mod inventory;
mod partners;
mod preview;
mod push;
mod recovery;
mod refresh;
mod refresh_grant;
mod rekey;
mod rules;
mod signed_head;
mod webhooks;

mod families;
mod operators;
mod reenrol;
mod restraints;
mod revoke;
mod rotation;
mod token_for_device;

mod registry;

mod once;
mod warrant;

mod service;

mod trust;

mod issue;
mod settings;

mod nonce;

mod clock;
mod config;
mod keys;

mod database_settings;
mod key_schedule;
mod push_settings;
mod webhook_settings;

mod audit;
mod former;
mod room;
mod start_error;

mod revision;
mod tables;

mod admission;
mod attempts;
mod records;
mod strangers;
mod turns;
mod write;

pub mod limits;
mod mac;
mod metrics;
mod refused;

pub use config::{HttpsFiles, ProvisioningConfig};
pub use database_settings::DatabaseSettings;
pub use key_schedule::KeySchedule;
pub use limits::{AdmissionLimits, Rate};
pub use push_settings::{PushBroker, PushSettings};
pub use records::Attributes;
pub use registry::templates::{scope_of_device, Placeholders};
pub use rest::openapi;
pub use room::TrustLimits;
pub use settings::RawLimits;
pub use start::{check_stopped, copy_stopped, mark_restored, mark_restored_on, Checked};
pub use start::{move_to_server, Moved};
pub use start::{reachable, renew_operator, FirstStart, Provisioning, ProvisioningHandle};
pub use start::{root_accept, root_request, OfflineRoot, RootAccepted, RootChange};
pub use start_error::{LostSeed, StartError};
pub use webhook_settings::WebhookSettings;
