//! The MQTT front: bytes → packet → authenticate → authorise → route.
//!
//! It speaks MQTT 3.1.1 and 5.0 over TCP, TLS, WebSocket and QUIC, lets in no client whose token and proof the agent's
//! validator does not accept, asks the grant on every publish, subscription, will and delivery, and ends the sessions
//! that a trust event revokes. It issues nothing, and it decides nothing about tokens by itself.
//!
//! Reading order is the way of a connection:
//!
//! 1. [`admission`] limits sockets before the first byte is read; [`transport`] carries the bytes; [`codec`] makes
//!    packets of them. `connection` has the steps of a CONNECT in their order.
//! 2. [`authentication`] verifies the credentials. [`resumption`] makes the next CONNECT cheap, [`authz_info`] stores
//!    tokens that came before their connection, [`shares`] bounds devices and tenants. [`enrolment`] lets devices in
//!    that have a claim code and no token yet.
//! 3. [`session`] is the MQTT session, found by name in [`registry`]; [`authorisation`] says what it may do.
//! 4. [`routing`] finds the subscribers of a message; [`persistence`] stores what must survive a crash.
//! 5. `revocation` and `deadlines` end sessions; `control_topics` and [`alerts`] are the broker's own messages; `http`
//!    and [`metrics`] are for operators.
//!
//! [`Broker::start`] puts it together; every limit is in [`limits`].

pub mod config;
mod config_error;
pub mod limits;
mod refusals;

mod admission;
mod authz_info;
mod challenges;
mod enrolment;
mod guard;
mod partners;
mod shares;
pub mod transport;
mod uplinks;
mod visits;

mod authentication;
pub mod authorisation;
pub mod codec;
mod push;
pub mod registry;
pub mod resumption;
pub mod session;

pub mod message;
mod persistence;
pub mod routing;

mod connection;
mod control_topics;
mod deadlines;
mod hub;
mod relay;
mod revocation;

mod alerts;
mod http;
mod metrics;

mod server;

pub use config::{BrokerConfig, RawBrokerConfig};
pub use config_error::ConfigError;
pub use server::{Broker, BrokerHandle, StartError};
