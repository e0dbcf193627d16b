//! The authorization server of Tessera: enrol → issue → refresh → revoke.
//!
//! A device shows a claim code and a key once and becomes a registered device; from then on its key alone gets it
//! short-lived tokens. Operators make tenants, roles, groups and claims, and revoke. Brokers and agents read the signed
//! trust feed. Everything that is answered is durable. It is not in the path of any MQTT packet.
//!
//! Reading order, which is the order of a device's life: `rest` (the door), `clock`, `admission`, `nonce`, `enrol`, `registry`,
//! `grant` and `issue` (from a device to a token), `refresh`, `revoke`, `room`, `keys`, `trust` (what verifiers hear),
//! `audit`, `operators`, `sweep` (what time ends), `heal` (what a wrong clock has left). `start` puts it together. Public: [`Provisioning::start`].

mod config;
pub mod limits;
mod start;
mod start_error;

mod rest;

mod admission;
mod clock;
mod nonce;

mod enrol;
mod grant;
mod issue;
mod records;
mod refresh;
mod registry;
mod revoke;
mod room;
mod rotation;

mod audit;
mod feed;
mod keys;
mod operators;
mod recovery;
mod trust;

mod heal;
mod metrics;
mod refused;
mod service;
mod settings;
mod strangers;
mod sweep;
mod tables;
mod write;

#[cfg(feature = "testing")]
pub mod driven;

pub use config::{HttpsFiles, ProvisioningConfig};
pub use limits::{AdmissionLimits, Rate};
pub use room::TrustLimits;
pub use settings::RawLimits;
pub use start::{reachable, renew_operator, FirstStart, Provisioning, ProvisioningHandle};
pub use start_error::{LostSeed, StartError};
pub use trust::restored::mark as mark_restored;
