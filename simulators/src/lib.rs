//! Thousands of virtual devices, honest and hostile, from one seed, and the client side that they share with the
//! command line.
//!
//! A virtual device speaks to the product over the wire alone: HTTP to provisioning, MQTT to the broker. Nothing here
//! is linked to either server. Keys come from the seed, so the seed of a run gives away its keys: runs are for
//! test systems.
//!
//! Reading order: [`mqtt`] (MQTT), [`device`] (one device), [`personas`] (what devices do), [`fleet`] (many of them),
//! [`operator`] (the operator API), [`scenario`] (a whole run with its expectations), [`report`], [`credentials`],
//! [`mod@bench`] (measures, and Tessera beside a peer), [`load`] (load on a running system), [`detection`] (fleets on a
//! virtual clock, for the detection of odd behaviour), [`play`] (the same fleets on real MQTT clients).

pub mod detection;
pub mod limits;
pub mod mqtt;

pub mod device;
pub mod operator;
pub mod personas;

pub mod fleet;
pub mod report;

pub mod bench;
pub mod credentials;
pub mod scenario;

pub mod load;

pub mod play;
