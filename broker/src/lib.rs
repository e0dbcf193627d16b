//! The MQTT front: bytes → packet → authenticate → authorise → route.
//!
//! It speaks MQTT 3.1.1 and 5.0 over TCP, TLS and WebSocket, lets in no client whose token and proof the agent's validator does not accept,
//! asks the grant on every publish, subscription, will and delivery, and ends what a trust event ends. It issues
//! nothing, and it decides nothing about tokens by itself.
//!
//! Reading order is the way of a connection: [`admission`] (limits before the first byte is read), [`transport`] (the
//! carrier of the bytes), [`codec`] (bytes to packets), [`authentication`] (authentication; [`resumption`] makes the next time cheap,
//! [`authz_info`] keeps tokens that came before their connection), [`shares`] (bounds of devices and tenants), [`registry`]
//! and [`session`] (the MQTT session), [`authorisation`] (authorisation), [`routing`] (delivery), [`persistence`] (data that survive a
//! crash), [`revocation`] and [`deadlines`] (rights that end), [`control_topics`], [`alerts`], [`http`] and [`metrics`] for operators.
//! [`Broker::start`] puts it together; every limit is in [`limits`].

pub mod config;
mod config_error;
pub mod limits;
pub mod refusals;

pub mod admission;
pub mod authz_info;
mod challenges;
pub mod shares;
pub mod transport;

pub mod authentication;
pub mod authorisation;
pub mod codec;
pub mod registry;
pub mod resumption;
pub mod session;

pub mod message;
pub mod persistence;
pub mod routing;

mod connection;
mod control_topics;
mod deadlines;
mod hub;
mod relay;
mod revocation;

pub mod alerts;
mod http;
pub mod metrics;

mod server;

pub use config::{BrokerConfig, RawBrokerConfig};
pub use config_error::ConfigError;
pub use server::{Broker, BrokerHandle, StartError};
