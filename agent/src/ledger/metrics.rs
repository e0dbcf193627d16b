use tessera_runtime::metrics::{Counter, Metrics, MetricsError};

/// Counters of the ledger.
pub struct LedgerMetrics {
    limits: Counter,
    undecided: Counter,
}

impl LedgerMetrics {
    /// Counters in `metrics`.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            limits: metrics.counter(
                "tessera_ledger_limits_hit_total",
                "Limits of the ledger of connect proofs that were hit",
                &["limit"],
            )?,
            undecided: metrics.counter(
                "tessera_ledger_undecided_total",
                "Connect proofs of seconds of which it is not known which were used",
                &[],
            )?,
        })
    }

    pub(super) fn limit(&self, limit: &str) {
        self.limits.inc(&[limit]);
    }

    pub(super) fn undecided(&self) {
        self.undecided.inc(&[]);
    }
}
