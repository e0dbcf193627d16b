//! Does a device behave as itself? The side of the sessions, and the thread on which the engine of `tessera-behaviour` runs.
//!
//! Sessions call [`Observer::observe`], which never waits: messages are counted in the session itself, the rest goes
//! through a bounded queue that counts what it drops. The `actor` hands all of it to the engine with its times, keeps the
//! profiles in the store, and tells alerts.

pub use observation::{kind, NewConnection, Observation};
pub use observer::{DeviceHandle, Observer};
pub use stranger::{Mark, Refused};
pub use tessera_behaviour::alert::{Alert, Severity, Signal, State, Subject};
pub use tessera_behaviour::engine::{Config as BehaviourConfig, Policy, SignalName};
pub use tessera_behaviour::observation::{Fault, Network, SubjectKind};

mod actor;
mod announcements;
mod counters;
mod counts;
mod kept;
mod observation;
mod observer;
mod reading;
mod recording;
mod step;
mod store;
mod stranger;

#[cfg(test)]
mod tests;

pub(crate) use actor::{start, BehaviourActor, BehaviourParts, StartError};
pub(crate) use kept::KeptAlerts;
pub(crate) use recording::Recording;
