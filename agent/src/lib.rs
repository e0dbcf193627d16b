//! Decides offline whether a device may connect, and tracks how it behaves.
//!
//! The broker uses it as a library; on a gateway it runs alone ([`daemon`]). Its decisions rest on signed, stored
//! trust data alone, so that it works without a network and never fails open.
//!
//! Reading order: [`trust`] (what is known), [`verifier`] (its own name), [`sync`] (how it arrives), [`ledger`] (which proofs were used),
//! [`validator`] (may this one connect), [`behaviour`] (does it behave as itself), [`start`] (all of it, started),
//! [`daemon`] (on a gateway); every limit is in [`limits`].
//!
//! An offline validator in a program of your own. Until the store holds trust data that the root key signed, every
//! credential is refused:
//!
//! ```
//! use tessera_agent::{Agent, AgentConfig};
//! use tessera_runtime::clock::SystemClock;
//! use tessera_runtime::metrics::Metrics;
//! use tessera_runtime::random::SystemRandom;
//! use tessera_runtime::stop::Stop;
//! use tessera_token::ids::Audience;
//! use tessera_token::key::SecretKey;
//! use tessera_token::refusal::RefusalCode;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let data_dir = folder.path().join("agent");
//! let root = SecretKey::from_seed(&[9; 32]).public().thumbprint(); // of the service's file `root.thumbprint`
//! let config = AgentConfig::new(data_dir, Audience::parse("mqtt")?, root); // with_feed: where trust data comes from
//! let stop = Stop::new();
//! let (clock, random) = (SystemClock::shared(), SystemRandom::shared());
//! let agent = Agent::start(config, clock, random, &Metrics::new(), &stop).await?;
//!
//! // A password and a client id, as CONNECT has them:
//! assert_eq!(agent.validator().ready(), Err(RefusalCode::TrustMissing));
//! let refused = agent.validator().admit(b"not a token", "d-17").await;
//! assert_eq!(refused.err().map(|refusal| refusal.code), Some(RefusalCode::TokenMalformed));
//!
//! stop.finish(std::time::Duration::from_secs(10)).await;
//! agent.close()?;
//! # Ok(())
//! # }
//! ```

mod error;
mod namesake;
pub mod trust;
mod uplink;

mod delivery;
mod inventory;
pub mod ledger;
pub mod location;
pub mod sync;

pub mod validator;

pub mod behaviour;

pub mod config;
pub mod daemon;
pub mod settings;
pub mod start;
pub mod verifier;

mod actor_thread;
mod announced;
pub mod limits;
pub mod rulebook;
#[cfg(test)]
mod testing;

pub use config::AgentConfig;
#[cfg(feature = "testing")]
pub use start::driven;
pub use start::Agent;
