use std::sync::atomic::{AtomicU64, Ordering};

use tessera_token::time::UnixSeconds;

use crate::limits::LATE_PROOFS_PER_SECOND;

/// How many proofs that came too late were judged in full in this second, so that a flood of them costs no signatures.
#[derive(Default)]
pub(super) struct Late {
    /// The second, and below it 16 bits of how many.
    taken: AtomicU64,
}

impl Late {
    /// Takes one of this second, if any is left.
    pub(super) fn take(&self, now: UnixSeconds) -> bool {
        let second = now.get() << 16;
        let next = |taken: u64| match taken.checked_sub(second) {
            Some(count) if count < LATE_PROOFS_PER_SECOND => Some(taken + 1),
            Some(_) => None,
            None => Some(second + 1),
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
        for second in [7, 8, 2_000_000_000] {
            let now = UnixSeconds::new(second);
            let taken = (0..1_000).filter(|_| late.take(now)).count();
            assert_eq!(taken as u64, LATE_PROOFS_PER_SECOND);
        }
        // The time of a validator never goes back; if it did, nothing would be given away.
        assert!(!late.take(UnixSeconds::new(7)));
    }
}
