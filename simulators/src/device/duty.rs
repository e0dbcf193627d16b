//! Work of a virtual device while it is connected.

use crate::mqtt::Link;
use crate::report::Tally;

/// Work of a device while it is connected; [`super::life::Device`] does the rest.
pub trait Duty: Send {
    /// The filters that it subscribes to.
    fn filters(&self) -> Vec<String>;
    /// A message for it.
    fn message(&mut self, topic: &str, payload: &[u8], tally: &Tally);
    /// The moment to act.
    fn tick(&mut self, link: &Link, tally: &Tally);
}
