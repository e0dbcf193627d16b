//! Parts that every Tessera process needs once: clock, randomness, durable store, HTTP client, metrics, logs, stop.
//!
//! It is the floor under `agent`, `broker`, `provisioning`, `simulators` and `cli`, so that each foreign library
//! has one facade instead of four. It is not a place for anything that knows what a device, a tenant or a topic is.
//!
//! Reading order: [`clock`] and [`random`] (all other code is handed both), [`held`] and [`lived`] (what is made of a
//! clock that may be wrong), [`store`] (acknowledged means durable), `sql` (the same in tables, feature `sql`), [`stop`]
//! (named tasks), [`secret`], [`credential`], [`derivation`], [`device_folder`] (key, token and counter of a device), [`pkcs11`] (keys in security modules), [`tls`], [`proxy`], [`http`], `mqtt` (connections to brokers, feature `mqtt`), [`metrics`], [`log`], [`service_manager`];
//! every limit is in [`limits`].

pub mod boxed;
pub mod clock;
pub mod held;
pub mod lived;
pub mod random;
#[cfg(feature = "sql")]
pub mod sql;
pub mod store;

pub mod stop;

pub mod credential;
pub mod derivation;
pub mod device_folder;
pub mod hold_back;
pub mod http;
pub mod inherited;
pub mod kernel;
pub mod log;
pub mod metrics;
#[cfg(feature = "mqtt")]
pub mod mqtt;
pub mod pkcs11;
pub mod proxy;
pub mod ready;
pub mod secret;
pub mod service_manager;
pub mod tls;
pub mod x509;

pub mod limits;
