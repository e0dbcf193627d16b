//! Webhooks: events of a tenant are sent to a receiver over HTTPS, signed.
//!
//! An event is an entry of the audit log, which is in the write of its change: no event is without its change, and none is
//! lost. [`queue`] makes a message of each entry that a webhook wants, once over all processes. [`deliver`] sends it
//! until a receiver has taken it, at least once, always under the same id. [`message`] is its form, [`retry`] the times. [`past`] has the attempts that operators read.

mod deliver;
mod message;
mod past;
mod queue;
mod registry;
mod retry;
mod run;

pub(crate) use self::message::Signing;
pub(crate) use self::past::{attempts, replay};
pub(crate) use self::queue::{sweep, Swept};
pub(crate) use self::registry::{
    change, create, delete, known, list, rotate, signing, test, Changed, Created, Wanted,
};
pub(crate) use self::run::run;
