//! Requests of devices that prove no key: all of them get one answer, and the true reason is not told to the peer.
//!
//! A stranger that asks for tokens or offers claim codes would learn from codes and times which tenants and devices
//! there are. The code that is told and counted in metrics, which are public, is the same for all; the true one goes to
//! the log, a few lines a second, and as a sum to the audit log, once a minute at most.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;

use crate::limits::{REFUSAL_BUCKET, STRANGERS_AUDITED_EVERY, STRANGER_LINES_PER_SECOND};
use crate::refused::Refused;

/// Refusals of strangers, by their true codes.
#[derive(Default)]
pub(crate) struct Strangers(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// The second in which lines were written last, how many, and how many were left out since.
    second: u64,
    lines: u32,
    left_out: u64,
    /// Refusals that the audit log does not have yet, and when it was told last.
    counts: BTreeMap<&'static str, u64>,
    audited: Option<Duration>,
}

impl Strangers {
    /// Notes the true reason, and gives the one that is told.
    pub(crate) fn refused(
        &self,
        true_code: RefusalCode,
        told: RefusalCode,
        (tenant, device): (&TenantId, &DeviceId),
        now: Duration,
    ) -> Refused {
        if let Some(left_out) = self.note(true_code, now) {
            let code = true_code.as_str();
            // The names were shown: nothing proves them.
            tracing::info!(code, shown_tenant = %tenant, shown_device = %device, left_out, "a request without proof was refused");
        }
        told.into()
    }

    /// Counts it, and gives how many lines were left out before, when there may be one now.
    fn note(&self, code: RefusalCode, now: Duration) -> Option<u64> {
        let mut seen = self.0.lock();
        *seen.counts.entry(code.as_str()).or_default() += 1;
        if seen.second != now.as_secs() {
            (seen.second, seen.lines) = (now.as_secs(), 0);
        }
        if seen.lines >= STRANGER_LINES_PER_SECOND {
            seen.left_out += 1;
            return None;
        }
        seen.lines += 1;
        Some(std::mem::take(&mut seen.left_out))
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
    let bucket = REFUSAL_BUCKET.as_micros();
    let over = passed.as_micros() % bucket;
    Duration::from_micros(u64::try_from(bucket - over).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_writes_few_lines_and_one_sum() {
        let strangers = Strangers::default();
        let at = |seconds: u64| Duration::from_secs(seconds);
        let lines = |code, second, count: u64| {
            (0..count).filter_map(|_| strangers.note(code, at(second))).collect::<Vec<_>>()
        };
        assert_eq!(lines(RefusalCode::DeviceUnknown, 7, 1_000), [0; 5]);
        assert_eq!(lines(RefusalCode::TenantUnknown, 8, 1), [995]);
        let sum = "device_unknown 1000, tenant_unknown 1";
        assert_eq!(strangers.due(at(8)).as_deref(), Some(sum));
        assert_eq!(strangers.due(at(9)), None);
        lines(RefusalCode::DeviceUnknown, 9, 2);
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
