//! A detector: observations in the order of their times go in, alerts come out.

use crate::alert::Alert;
use crate::observation::{Observation, UnixMillis};

/// The engine, and each reference beside which it is measured.
pub trait Detector {
    /// Takes in one observation. Alerts that follow from it, or from the time that passed until it, are appended.
    fn observe(&mut self, observation: &Observation<'_>, alerts: &mut Vec<Alert>);

    /// The time has come to `at`, and nothing was seen until then.
    fn advance(&mut self, at: UnixMillis, alerts: &mut Vec<Alert>);
}
