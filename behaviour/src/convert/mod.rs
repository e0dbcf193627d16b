//! Observations from the logs of others: a log of mosquitto, and the fields that `tshark` prints of a capture.
//!
//! Such a source has no keys, groups and refusal codes: what it does not say is left out.

pub mod mosquitto;
mod sessions;
pub mod tshark;

use crate::observation::Observation;

/// A converter: lines go in, observations come out.
pub trait Converter {
    /// Takes in one line. Lines that say nothing about a client are passed over; the answer is whether this one was
    /// used.
    fn line(&mut self, text: &str, take: &mut dyn FnMut(&Observation<'_>)) -> bool;
}
