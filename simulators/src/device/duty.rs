//! Work of a virtual device while it is connected.

use crate::mqtt::{Link, Qos};
use crate::report::Tally;

/// Work of a device while it is connected; [`super::life::Device`] does the rest.
pub trait Duty: Send {
    /// The filters that it subscribes to.
    fn filters(&self) -> Vec<String>;
    /// A message for it.
    fn message(&mut self, topic: &str, payload: &[u8], tally: &Tally);
    /// The moment to act.
    fn tick(&mut self, link: &Link, tally: &Tally);
    /// The quality of service of its subscriptions.
    fn qos(&self) -> Qos {
        Qos::One
    }
    /// The broker granted one of the subscriptions, in their order; the one for tokens is the last.
    fn subscribed(&mut self, tally: &Tally) {
        tally.subscribed.one();
    }
    /// A publish with QoS 1 was acknowledged, in the order of the publishes; those of tokens are among them.
    fn acknowledged(&mut self, tally: &Tally) {
        tally.acknowledged.one();
    }
    /// A publish with QoS 2 was completed.
    fn completed(&mut self, tally: &Tally) {
        tally.acknowledged.one();
    }
    /// A publish was refused, for this reason.
    fn refused(&mut self, why: &str, tally: &Tally) {
        tally.failure(&format!("publish:{why}"));
    }
    /// A token or a request for one was published with QoS 1.
    fn asked(&mut self) {}
    /// The connection is gone, with all that was not acknowledged.
    fn disconnected(&mut self) {}
}
