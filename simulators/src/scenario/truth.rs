//! Ground truth: who was who, so that detection can be scored against it.

use serde::Serialize;
use tessera_token::ids::DeviceId;

use super::expectations::Found;
use super::Plan;

/// The participants.
#[derive(Debug, Clone, Serialize)]
pub struct Truth {
    /// The seed.
    pub seed: u64,
    /// The tenant.
    pub tenant: String,
    /// All devices.
    pub cast: Vec<Part>,
}

/// One device and its part.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    /// The device id.
    pub device: String,
    /// The persona.
    pub persona: &'static str,
    /// Whether an alert about it is right.
    pub hostile: bool,
}

impl Truth {
    pub(super) fn of(plan: &Plan, honest: &[DeviceId], found: &Found) -> Self {
        let part =
            |device: &str, persona, hostile| Part { device: device.to_owned(), persona, hostile };
        let mut cast: Vec<Part> =
            honest.iter().map(|device| part(device.as_str(), "sensor", false)).collect();
        cast.push(part(&format!("{}backend", plan.prefix), "backend", false));
        if plan.hostile {
            let named = &found.named;
            cast.extend([
                part(&named.thief, "thief", true),
                part(&named.victim, "victim of the thief", true),
                part(&named.prober, "prober", true),
                part(&named.flooder, "flooder", true),
                part(&named.revoked, "revoked", false),
            ]);
        }
        Self { seed: plan.seed, tenant: plan.tenant.to_string(), cast }
    }
}
