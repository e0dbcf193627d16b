//! Does a device behave as itself? Per device, in fixed memory, against its own learned baseline and its group's.
//!
//! Sessions call [`Observer::observe`], which never waits: counts go to the session's own atomics, the rest through a
//! bounded queue that counts what it drops. The `tracker` takes them in as a synchronous step; `signals` are pure
//! functions; an [`Alert`] names the device and says in words which signals spoke.

pub use alert::{Alert, Signal, SignalName};
pub use config::BehaviourConfig;
pub use observation::{Network, NewConnection, Observation, SubjectKind};
pub use observer::{DeviceHandle, Observer};

mod actor;
mod alert;
mod config;
mod observation;
mod observer;
mod profile;
mod signals;
mod steady;
mod store;
mod tracker;

#[cfg(test)]
mod tests;

pub(crate) use actor::{start, BehaviourActor, BehaviourParts, StartError};
