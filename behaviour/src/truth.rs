//! Ground truth: the attacks and the honest causes of a simulated run, so that alerts can be scored.

use serde::{Deserialize, Serialize};

use crate::observation::UnixMillis;

/// One line of ground truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Truth {
    /// A device of the run: one line each, before all others.
    Device {
        /// The tenant.
        tenant: String,
        /// The device.
        device: String,
        /// The persona.
        persona: String,
        /// The number of its group.
        group: u64,
        /// When it is first seen.
        begin: UnixMillis,
        /// When the run ends for it.
        end: UnixMillis,
    },
    /// An attack on one device, or by one.
    Attack {
        /// The tenant.
        tenant: String,
        /// The device; empty for an attack on the tenant.
        device: String,
        /// The class, as in `docs/detection.md`.
        class: String,
        /// `loud`, `medium` or `careful`, or the name of a blind spot.
        grade: String,
        /// The first hostile act.
        begin: UnixMillis,
        /// The last one.
        end: UnixMillis,
        /// Attacks of one cause have one number: an alert about the cause finds them all.
        instance: u64,
    },
    /// An honest cause of unusual behaviour.
    Cause {
        /// The tenant.
        tenant: String,
        /// `rollout`, `outage`, `season`, `newcomer`, `battery`, `reconfiguration`, `renamed`.
        cause: String,
        /// The devices.
        devices: Vec<String>,
        /// Whether an operator announced it.
        announced: bool,
        /// When it begins.
        begin: UnixMillis,
        /// When it ends.
        end: UnixMillis,
    },
}
