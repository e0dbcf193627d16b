//! Roles of the virtual devices: honest duties, and hostile ones that hold something valid.

use crate::report::Tally;
use crate::wire::Link;

pub mod backend;
pub mod flooder;
pub mod prober;
pub mod revoked;
pub mod sensor;
pub mod thief;

pub use backend::Backend;
pub use flooder::Flooder;
pub use sensor::Sensor;

/// The work of a device while it is connected; [`crate::device::life::Device`] does the rest.
pub trait Duty: Send {
    /// The filters that it subscribes to.
    fn filters(&self) -> Vec<String>;
    /// A message for it.
    fn message(&mut self, topic: &str, payload: &[u8], tally: &Tally);
    /// The moment to act.
    fn tick(&mut self, link: &Link, tally: &Tally);
}
