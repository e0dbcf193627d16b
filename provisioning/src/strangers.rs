//! Requests of devices that prove no key: all of them get one answer, and the true reason is not told to the peer.
//!
//! A stranger that asks for tokens or offers claim codes would learn from codes and times which tenants and devices there
//! are. The code that is told and counted in metrics, which are public, is the same for all; the true one goes to the line
//! of the log about the refusal, and as a sum to the audit log, once a minute at most.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_token::refusal::RefusalCode;

use crate::limits::{APPROVAL_BUCKET, REFUSAL_BUCKET, STRANGERS_AUDITED_EVERY};
use crate::refused::Refused;

/// Refusals of strangers, by their true codes.
#[derive(Default)]
pub(crate) struct Strangers(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// Refusals that the audit log does not have yet, and when it was told last.
    counts: BTreeMap<&'static str, u64>,
    audited: Option<Duration>,
}

impl Strangers {
    /// Counts the true reason, and gives the refusal that is told in its place.
    pub(crate) fn refused(&self, truth: RefusalCode, told: RefusalCode) -> Refused {
        *self.0.lock().counts.entry(truth.as_str()).or_default() += 1;
        Refused { truth: Some(truth), ..told.into() }
    }

    /// Counts a wrong token of an operator.
    pub(crate) fn wrong_token(&self) {
        *self.0.lock().counts.entry(RefusalCode::OperatorUnknown.as_str()).or_default() += 1;
    }

    /// The text for the audit log, when it is due.
    pub(crate) fn due(&self, now: Duration) -> Option<String> {
        let mut seen = self.0.lock();
        let waits = |at: Duration| now.saturating_sub(at) < STRANGERS_AUDITED_EVERY;
        if seen.counts.is_empty() || seen.audited.is_some_and(waits) {
            return None;
        }
        seen.audited = Some(now);
        let mut sum = String::new();
        for (code, count) in std::mem::take(&mut seen.counts) {
            let _ = write!(sum, "{}{code} {count}", if sum.is_empty() { "" } else { ", " });
        }
        Some(sum)
    }
}

/// How long to wait before a refusal is told, when so much time has passed since the request.
pub(crate) fn hold_back(passed: Duration) -> Duration {
    tessera_runtime::hold_back::hold_back(passed, REFUSAL_BUCKET)
}

/// As [`hold_back`], for the one answer to requests that an operator must approve.
pub(crate) fn hold_back_asked(passed: Duration) -> Duration {
    tessera_runtime::hold_back::hold_back(passed, APPROVAL_BUCKET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_sum_and_the_true_code_is_apart_from_the_told() {
        let strangers = Strangers::default();
        let at = |seconds: u64| Duration::from_secs(seconds);
        let refuse = |truth, count: u64| {
            for _ in 0..count {
                let refused = strangers.refused(truth, RefusalCode::ProofInvalid);
                assert_eq!((refused.code, refused.truth), (RefusalCode::ProofInvalid, Some(truth)));
                assert_eq!(refused.detail, None);
            }
        };
        refuse(RefusalCode::DeviceUnknown, 1_000);
        refuse(RefusalCode::TenantUnknown, 1);
        let sum = "device_unknown 1000, tenant_unknown 1";
        assert_eq!(strangers.due(at(8)).as_deref(), Some(sum));
        assert_eq!(strangers.due(at(9)), None);
        refuse(RefusalCode::DeviceUnknown, 2);
        assert_eq!(strangers.due(at(67)), None);
        assert_eq!(strangers.due(at(68)).as_deref(), Some("device_unknown 2"));
        assert_eq!(strangers.due(at(500)), None);
    }

    #[test]
    fn refusals_fall_on_the_bucket() {
        assert_eq!(hold_back(Duration::ZERO), REFUSAL_BUCKET);
        assert_eq!(
            hold_back(REFUSAL_BUCKET + Duration::from_millis(1)),
            REFUSAL_BUCKET - Duration::from_millis(1)
        );
    }
}
