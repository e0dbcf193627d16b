//! Decides offline whether a device may connect, and tracks how it behaves.
//!
//! The broker uses it as a library; on a gateway it runs alone ([`daemon`]). What it decides rests on signed, stored
//! trust data alone, so that it works without a network and never fails open.
//!
//! Reading order: [`trust`] (what is known), [`verifier`] (its own name), [`sync`] (how it arrives), [`ledger`] (which proofs were used),
//! [`validator`] (may this one connect), [`behaviour`] (does it behave as itself), [`agent`] (all of it, started),
//! [`daemon`] (on a gateway); every limit is in [`limits`].

mod error;
mod namesake;
pub mod trust;

pub mod ledger;
pub mod sync;

pub mod validator;

pub mod behaviour;

pub mod agent;
pub mod config;
pub mod daemon;
pub mod verifier;

mod host;
pub mod limits;
#[cfg(test)]
mod testing;

#[cfg(feature = "testing")]
pub use agent::driven;
pub use agent::Agent;
pub use config::AgentConfig;
