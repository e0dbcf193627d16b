//! Whether a verifier may decide by what it knows: whether a heartbeat ever answered its nonce, how long ago the last one
//! did, and whether it can follow the feed. Read without a lock on the connect path.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tessera_token::refusal::RefusalCode;

use crate::limits::TRUST_NOT_FOLLOWED_SECONDS;

/// That a verifier cannot follow the feed although it hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// Why: the word of the log and the metric.
    pub reason: &'static str,
    /// How long it has lasted.
    pub lasts: Duration,
    /// How long it is still decided; zero when no more.
    pub left: Duration,
}

/// The fact itself; times are monotonic milliseconds of this process, and lie before its start for what earlier runs saw.
pub(super) struct Freshness {
    established: AtomicBool,
    /// When the age of the trust data was zero; [`NEVER`] when nothing was confirmed.
    fresh_at: AtomicI64,
    lapse: ArcSwapOption<(&'static str, i64)>,
    budget_millis: AtomicU64,
}

const NEVER: i64 = i64::MIN;

impl Freshness {
    /// `age` is what earlier runs leave behind: how old their last answered heartbeat is; `None` when there was none.
    pub(super) fn new(age: Option<u64>, now: Duration) -> Self {
        let fresh_at = age.map_or(NEVER, |age| millis(now) - whole(age.saturating_mul(1000)));
        Self {
            established: AtomicBool::new(age.is_some()),
            fresh_at: AtomicI64::new(fresh_at),
            lapse: ArcSwapOption::empty(),
            budget_millis: AtomicU64::new(TRUST_NOT_FOLLOWED_SECONDS * 1000),
        }
    }

    pub(super) fn set_budget(&self, seconds: u64) {
        self.budget_millis.store(seconds.saturating_mul(1000), Ordering::Relaxed);
    }

    /// A heartbeat answered the nonce that was sent at `asked`.
    pub(super) fn beat(&self, asked: Duration) {
        self.fresh_at.fetch_max(millis(asked), Ordering::Relaxed);
        self.established.store(true, Ordering::Release);
    }

    pub(super) fn age(&self, now: Duration) -> Option<u64> {
        let fresh_at = self.fresh_at.load(Ordering::Relaxed);
        let age = millis(now).checked_sub(fresh_at).filter(|_| fresh_at != NEVER)?;
        Some(u64::try_from(age).unwrap_or(0) / 1000)
    }

    pub(super) fn is_established(&self) -> bool {
        self.established.load(Ordering::Acquire)
    }

    /// The feed cannot be followed; `lasts` is how long that is so already. True when it is new.
    pub(super) fn lapsed(&self, reason: &'static str, now: Duration, lasts: Duration) -> bool {
        let before = self.lapse.load_full();
        let since = before.as_ref().map_or(millis(now) - millis(lasts), |before| before.1);
        let new = before.is_none_or(|before| before.0 != reason);
        self.lapse.store(Some(Arc::new((reason, since))));
        new
    }

    /// The feed is followed again. True when it was not.
    pub(super) fn follows(&self) -> bool {
        self.lapse.swap(None).is_some()
    }

    pub(super) fn lapse(&self, now: Duration) -> Option<Lapse> {
        let lapse = self.lapse.load_full()?;
        let (reason, since) = *lapse;
        let lasts = Duration::from_millis(u64::try_from(millis(now) - since).unwrap_or(0));
        let budget = Duration::from_millis(self.budget_millis.load(Ordering::Relaxed));
        Some(Lapse { reason, lasts, left: budget.saturating_sub(lasts) })
    }

    pub(super) fn may_decide(&self, now: Duration) -> Result<(), RefusalCode> {
        if !self.is_established() {
            return Err(RefusalCode::TrustMissing);
        }
        if self.lapse.load().is_none() {
            return Ok(());
        }
        match self.lapse(now) {
            Some(lapse) if lapse.left.is_zero() => Err(RefusalCode::TrustNotFollowed),
            _ => Ok(()),
        }
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_is_decided_before_the_first_answer() {
        let freshness = Freshness::new(None, at(100));
        assert_eq!(freshness.age(at(100)), None);
        assert_eq!(freshness.may_decide(at(100)), Err(RefusalCode::TrustMissing));
        freshness.beat(at(103));
        assert_eq!((freshness.age(at(103)), freshness.age(at(110))), (Some(0), Some(7)));
        assert_eq!(freshness.may_decide(at(110)), Ok(()));
    }

    #[test]
    fn an_established_verifier_goes_on_with_the_age_that_was_stored() {
        let freshness = Freshness::new(Some(500), at(3));
        assert_eq!((freshness.age(at(3)), freshness.age(at(13))), (Some(500), Some(510)));
        assert_eq!(freshness.may_decide(at(3)), Ok(()));
        freshness.beat(at(20));
        assert_eq!(freshness.age(at(21)), Some(1));
        // An answer that was asked for earlier makes nothing older.
        freshness.beat(at(10));
        assert_eq!(freshness.age(at(21)), Some(1));
        assert_eq!(Freshness::new(Some(u64::MAX), at(3)).age(at(3)), Some(i64::MAX as u64 / 1000));
    }

    #[test]
    fn who_cannot_follow_decides_for_a_short_budget_and_again_once_it_can() {
        let freshness = Freshness::new(Some(0), at(0));
        freshness.set_budget(60);
        assert!(freshness.lapsed("order", at(10), Duration::ZERO));
        assert!(!freshness.lapsed("order", at(20), Duration::ZERO));
        // Another reason does not begin anew.
        assert!(freshness.lapsed("older", at(30), Duration::ZERO));
        let lapse = freshness.lapse(at(30)).unwrap();
        assert_eq!(lapse, Lapse { reason: "older", lasts: at(20), left: at(40) });
        assert_eq!(freshness.may_decide(at(69)), Ok(()));
        assert_eq!(freshness.may_decide(at(70)), Err(RefusalCode::TrustNotFollowed));
        assert!(freshness.follows() && !freshness.follows());
        assert_eq!(freshness.may_decide(at(70)), Ok(()));
        // Rows of an earlier run count.
        assert!(freshness.lapsed("store", at(80), at(60)));
        assert_eq!(freshness.may_decide(at(80)), Err(RefusalCode::TrustNotFollowed));
    }
}
