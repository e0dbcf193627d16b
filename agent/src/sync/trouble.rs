//! Steps after an answer that brought nothing: whether that is an outage, or a feed that cannot be followed.

use std::time::Duration;

use tessera_runtime::store::StoreError;
use tessera_token::time::UnixSeconds;

use super::{whose, Ask, FetchError, Next, SyncCore};
use crate::trust::TrustRefusal;

/// The cause, for log and metric.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// No usable answer came.
    Fetch(&'static str),
    /// The answer was not taken.
    Trust(TrustRefusal),
    /// It could not be stored.
    Store,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch(reason) => reason,
            Self::Trust(refusal) => refusal.as_str(),
            Self::Store => "store",
        }
    }
}

/// Why an answer brought nothing.
pub(super) struct Trouble {
    reason: Reason,
    /// Whether the feed was heard and cannot be followed.
    lapse: bool,
    /// The remedy; `None` asks again as before.
    help: Option<Help>,
    /// Whether asking again brings the same.
    is_final: bool,
}

enum Help {
    Snapshot,
    Show,
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        let help = match error {
            FetchError::Gone => Some(Help::Snapshot),
            FetchError::Beyond => Some(Help::Show),
            _ => None,
        };
        let is_final = matches!(error, FetchError::Refused | FetchError::TooLarge);
        Self { reason: Reason::Fetch(error.reason()), lapse: error.is_lapse(), help, is_final }
    }
}

impl From<TrustRefusal> for Trouble {
    fn from(refusal: TrustRefusal) -> Self {
        let help = match refusal {
            TrustRefusal::Beyond => Help::Show,
            _ => Help::Snapshot,
        };
        Self { reason: Reason::Trust(refusal), lapse: true, help: Some(help), is_final: false }
    }
}

/// A revocation that could not be stored holds all the same, as long as the process lives.
impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "trust data not stored");
        Self { reason: Reason::Store, lapse: true, help: None, is_final: false }
    }
}

impl SyncCore {
    pub(super) fn trouble(&mut self, ask: Ask, trouble: Trouble) -> Next {
        self.counters.errors.inc(&[trouble.reason.as_str()]);
        self.failures = self.failures.saturating_add(1);
        self.settled = false;
        if trouble.lapse {
            self.lapse(trouble.reason);
        }
        if self.failures == 1 || self.failures.is_power_of_two() {
            let (failures, url) = (self.failures, self.url.as_str());
            let (until, seconds) = self.serves_until();
            let reason = trouble.reason.as_str();
            tracing::warn!(reason, failures, url, until, seconds, "trust feed brought nothing");
        }
        let ask = match (ask, trouble.help) {
            // A service that cannot take it in loses nothing by giving its snapshot.
            (Ask::Show, _) if trouble.is_final => Ask::Snapshot(None),
            // Data that are known here and nowhere else are shown until they are taken in.
            (Ask::Show, _) => Ask::Show,
            (_, Some(Help::Show)) => Ask::Show,
            // It asks for the missing data as before, and for the snapshot once more after that.
            (Ask::Snapshot(_), Some(Help::Snapshot)) | (_, None) => self.soon().ask,
            (_, Some(Help::Snapshot)) => self.whole(),
        };
        Next { wait: self.backoff(), ask }
    }

    /// Notes that the feed was heard and cannot be followed, and tells each reason once.
    pub(super) fn lapse(&mut self, cause: Reason) {
        let (before, reason) = (self.trust.lapse(), cause.as_str());
        if !self.trust.lapsed(reason, Duration::ZERO) {
            return;
        }
        self.counters.not_followed.inc(&[reason]);
        if before.is_none() {
            if let Err(error) = self.store.save_lapsed(Some(self.trust.now())) {
                tracing::error!(%error, "not stored that the trust feed cannot be followed");
            }
        }
        let (until, seconds) = self.serves_until();
        let url = self.url.as_str();
        tracing::error!(
            reason,
            url,
            until,
            seconds,
            "the trust feed cannot be followed: not ready, and no device is let in after that time"
        );
        if cause == Reason::Trust(TrustRefusal::Tenants) {
            let tenants = whose(self.tenants.as_ref());
            tracing::error!(
                tenants,
                url,
                "the account of the feed token belongs to other tenants than this verifier: compare option --feed-tenant with `tessera operator list`"
            );
        }
    }

    /// Notes that it is followed.
    pub(super) fn following(&mut self) {
        if !self.trust.follows() {
            return;
        }
        self.ended = false;
        if let Err(error) = self.store.save_lapsed(None) {
            tracing::error!(%error, "not stored that the trust feed is followed again");
        }
        tracing::info!(url = self.url, "the trust feed is followed again");
    }

    /// Tells once that the short budget is over.
    pub(super) fn tell_the_end(&mut self) {
        let over = self.trust.lapse().filter(|lapse| lapse.left.is_zero());
        let Some(lapse) = over.filter(|_| !self.ended) else { return };
        self.ended = true;
        let (reason, url) = (lapse.reason, self.url.as_str());
        tracing::error!(reason, url, "no device is let in until the trust feed is followed again");
    }

    /// Until when devices are still let in, as a time and in seconds from now.
    fn serves_until(&self) -> (u64, u64) {
        let now: UnixSeconds = self.trust.now();
        let budget = self.trust.load().longest_budget();
        let fresh = self.trust.age().map_or(0, |age| budget.saturating_sub(age));
        let left = self.trust.lapse().map_or(fresh, |lapse| lapse.left.as_secs().min(fresh));
        (now.plus(left).get(), left)
    }
}
