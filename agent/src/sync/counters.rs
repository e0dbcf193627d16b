use tessera_runtime::metrics::{Counter, Gauge, Metrics, MetricsError};

/// Counters of the synchronisation.
pub(super) struct Counters {
    pub(super) age: Gauge,
    pub(super) ahead: Gauge,
    pub(super) seq: Gauge,
    pub(super) root_set: Gauge,
    pub(super) following: Gauge,
    pub(super) not_followed: Counter,
    pub(super) errors: Counter,
    pub(super) changes: Counter,
}

impl Counters {
    pub(super) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            age: metrics.gauge(
                "tessera_trust_age_seconds",
                "Seconds since a heartbeat last answered this verifier; -1 before the first",
                &[],
            )?,
            ahead: metrics.gauge(
                "tessera_clock_ahead_seconds",
                "Seconds that this clock is ahead of the signed time of the trust service; negative when behind",
                &[],
            )?,
            seq: metrics.gauge("tessera_trust_seq", "Number of the newest trust event", &[])?,
            root_set: metrics.gauge(
                "tessera_trust_root_set",
                "Number of the root set that is trusted: 0 is the pinned one, and each link adds one",
                &[],
            )?,
            following: metrics.gauge(
                "tessera_trust_following",
                "1 while the trust feed is followed or not heard at all, 0 while it is heard and cannot be followed",
                &[],
            )?,
            not_followed: metrics.counter(
                "tessera_trust_not_followed_total",
                "Times the trust feed was heard and could not be followed, by reason",
                &["reason"],
            )?,
            errors: metrics.counter(
                "tessera_trust_sync_errors_total",
                "Answers of the trust feed that brought nothing, by reason",
                &["reason"],
            )?,
            changes: metrics.counter(
                "tessera_trust_changes_total",
                "Trust changes taken in, by kind",
                &["kind"],
            )?,
        })
    }
}
