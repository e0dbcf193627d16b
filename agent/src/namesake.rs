//! Whether another reader of the feed answers to the name of this verifier. A connect proof is good once for each replay
//! ledger, and every process has a ledger of its own: of two verifiers with one name, each takes the same proof.
//!
//! The service sees it (`provisioning/src/trust/readers.rs`) and says it in a header of its answers. The header is not
//! signed: it makes this verifier say so, and changes no decision.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::{Gauge, Metrics, MetricsError};
use tessera_token::ids::VerifierName;
use tessera_token::trust::{BROKER, GATEWAY};

use crate::limits;

/// The warning of `/readyz` beside `ready` while another reader of the feed has the name of this verifier.
pub const VERIFIER_NAME_SHARED: &str = "another reader of the trust feed has this verifier name: a connect proof that was used there is good once more here; give each verifier its own name (setting `verifier`, option --verifier)";

/// The name of this verifier, and what the service last said about it.
pub(crate) struct Namesake {
    name: VerifierName,
    /// This process, in 32 hexadecimal digits: a new one for each start.
    reader: String,
    kind: &'static str,
    shared: AtomicBool,
    told: Mutex<Option<Duration>>,
    gauge: Gauge,
    clock: SharedClock,
}

impl Namesake {
    pub(crate) fn new(
        name: VerifierName,
        reader: [u8; 16],
        clock: SharedClock,
        metrics: &Metrics,
    ) -> Result<Self, MetricsError> {
        let gauge = metrics.gauge(
            "tessera_verifier_name_shared",
            "1 while another reader of the trust feed has the verifier name of this one: a connect proof is then good once at each",
            &[],
        )?;
        gauge.set(&[], 0);
        let reader = format!("{:032x}", u128::from_be_bytes(reader));
        let (shared, told) = (AtomicBool::new(false), Mutex::new(None));
        Ok(Self { name, reader, kind: BROKER, shared, told, gauge, clock })
    }

    /// The same for a verifier that serves no devices itself.
    pub(crate) fn of_gateway(self) -> Self {
        Self { kind: GATEWAY, ..self }
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn name(&self) -> &VerifierName {
        &self.name
    }

    pub(crate) fn reader(&self) -> &str {
        &self.reader
    }

    /// Whether the last answer of the service said so.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// Takes in what an answer of the service says.
    pub(crate) fn hear(&self, shared: bool) {
        let before = self.shared.swap(shared, Ordering::Relaxed);
        self.gauge.set(&[], i64::from(shared));
        let name = self.name.as_str();
        if !shared {
            *self.told.lock() = None;
            if before {
                tracing::info!(
                    verifier = name,
                    "no other reader of the trust feed has this verifier name any more"
                );
            }
            return;
        }
        let now = self.clock.monotonic();
        let mut told = self.told.lock();
        if told.is_some_and(|at| now.saturating_sub(at) < limits::NAMESAKE_TOLD_EVERY) {
            return;
        }
        *told = Some(now);
        tracing::error!(verifier = name, "{VERIFIER_NAME_SHARED}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_runtime::clock::ManualClock;
    use tessera_token::time::UnixSeconds;

    #[test]
    fn what_the_last_answer_said_holds() {
        let metrics = Metrics::new();
        let clock = ManualClock::at(UnixSeconds::new(1));
        let name = VerifierName::parse("gw-1").unwrap();
        let namesake = Namesake::new(name, [0xab; 16], clock, &metrics).unwrap();
        assert_eq!(namesake.reader(), "ab".repeat(16));
        for shared in [false, true, true, false] {
            namesake.hear(shared);
            assert_eq!(namesake.is_shared(), shared);
            let line = format!("tessera_verifier_name_shared {}", i32::from(shared));
            assert!(metrics.render().contains(&line));
        }
    }
}
