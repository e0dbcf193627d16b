//! The reader of the alerts: a device of the run that may subscribe to them.

use std::sync::Arc;

use parking_lot::Mutex;
use tessera_behaviour::alert::{Alert, Subject};

use super::limits;
use crate::device::Duty;
use crate::mqtt::Link;
use crate::personas::backend::ALERTS_TOPIC;
use crate::report::Tally;

/// The alerts so far.
#[derive(Clone, Default)]
pub(super) struct Alerts(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    alerts: Vec<Alert>,
    dropped: u64,
}

impl Alerts {
    /// Those that are kept, and how many there was no room for.
    pub(super) fn take(&self) -> (Vec<Alert>, u64) {
        let mut kept = self.0.lock();
        (std::mem::take(&mut kept.alerts), kept.dropped)
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().alerts.len()
    }
}

/// See the module.
pub(super) struct Watcher(pub(super) Alerts);

impl Duty for Watcher {
    fn filters(&self) -> Vec<String> {
        vec![ALERTS_TOPIC.to_owned()]
    }

    fn message(&mut self, _topic: &str, payload: &[u8], tally: &Tally) {
        match serde_json::from_slice::<Alert>(payload) {
            Ok(alert) => {
                let mut kept = self.0 .0.lock();
                match kept.alerts.len() < limits::ALERTS {
                    true => kept.alerts.push(alert),
                    false => kept.dropped += 1,
                }
            }
            Err(_) => tally.failure("alert_not_understood"),
        }
    }

    fn tick(&mut self, _link: &Link, _tally: &Tally) {}
}

/// Whether an alert is about devices of the run alone. Others of the tenant are not judged: no ground truth names them.
pub(super) fn is_of_run(alert: &Alert, prefix: &str, watcher: &str) -> bool {
    let is_ours = |device: &String| device.starts_with(prefix) && device != watcher;
    match &alert.subject {
        Subject::Device(device) => is_ours(device),
        Subject::Group(_) | Subject::Campaign(_) => alert.devices.iter().all(is_ours),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_of_others_are_not_judged() {
        let of = |subject, devices: &[&str]| Alert {
            subject,
            devices: devices.iter().map(|one| (*one).to_owned()).collect(),
            ..Alert::default()
        };
        let judged = |alert: &Alert| is_of_run(alert, "p-", "p-watcher");
        assert!(judged(&of(Subject::Device("p-dev-1".into()), &[])));
        assert!(!judged(&of(Subject::Device("other".into()), &[])));
        assert!(!judged(&of(Subject::Device("p-watcher".into()), &[])));
        assert!(judged(&of(Subject::Campaign("stuffing".into()), &[])));
        assert!(!judged(&of(Subject::Group(1), &["p-dev-1", "other"])));
    }
}
