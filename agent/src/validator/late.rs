use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::LATE_PROOFS_PER_SECOND;

/// How many proofs that came too late were judged in full in this second, so that a flood of them costs no signatures.
/// Seconds are those of monotonic time.
#[derive(Default)]
pub(super) struct Late {
    /// The second, and below it 16 bits of how many.
    taken: AtomicU64,
}

impl Late {
    /// Takes one of this second, if any is left.
    pub(super) fn take(&self, monotonic: Duration) -> bool {
        let second = monotonic.as_secs() << 16;
        let next = |taken: u64| match taken.checked_sub(second) {
            Some(count) if count < LATE_PROOFS_PER_SECOND => Some(taken + 1),
            Some(count) if count <= u64::from(u16::MAX) => None,
            // Another second. A monotonic time that a tool brought ahead and back begins there anew.
            _ => Some(second + 1),
        };
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_so_many() {
        let late = Late::default();
        for second in [7, 8, 2_000_000_000, 9] {
            let now = Duration::from_secs(second);
            let taken = (0..1_000).filter(|_| late.take(now)).count();
            assert_eq!(taken as u64, LATE_PROOFS_PER_SECOND);
        }
    }
}
