use tessera_runtime::http::server::ServerMetrics;
use tessera_runtime::metrics::{Counter, Gauge, Histogram, Metrics, MetricsError, SECONDS};
use tessera_runtime::pkcs11::ModuleError;
use tessera_token::refusal::RefusalCode;

/// The metrics of provisioning.
#[derive(Clone)]
pub(crate) struct ServiceMetrics {
    pub(crate) http: ServerMetrics,
    pub(crate) requests: Counter,
    pub(crate) seconds: Histogram,
    pub(crate) refusals: Counter,
    pub(crate) issued: Counter,
    pub(crate) revoked: Counter,
    pub(crate) trust_seq: Gauge,
    pub(crate) pollers: Gauge,
    pub(crate) views: Counter,
    pub(crate) names_shared: Gauge,
    pub(crate) swept: Counter,
    pub(crate) limits_hit: Counter,
    pub(crate) trust_taken: Gauge,
    pub(crate) restorations: Counter,
    pub(crate) findings: Counter,
    pub(crate) restored: Gauge,
    pub(crate) clock_ahead: Gauge,
    pub(crate) pushes: Counter,
    pub(crate) push_waiting: Gauge,
    pub(crate) push_connected: Gauge,
    pub(crate) webhook_messages: Counter,
    pub(crate) key_age: Gauge,
    pub(crate) key_overdue: Gauge,
    pub(crate) key_rotations: Counter,
    pub(crate) key_faults: Counter,
    pub(crate) readers_ahead: Gauge,
    pub(crate) module_up: Gauge,
    pub(crate) module_faults: Counter,
}

impl ServiceMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        let own = Self {
            http: ServerMetrics::register(metrics, "tessera_provisioning")?,
            requests: metrics.counter(
                "tessera_provisioning_requests_total",
                "HTTP requests by route and status",
                &["method", "route", "status"],
            )?,
            seconds: metrics.histogram(
                "tessera_provisioning_request_seconds",
                "Time to answer by route; long polls wait on purpose",
                &["route"],
                SECONDS,
            )?,
            refusals: metrics.counter(
                "tessera_provisioning_refusals_total",
                "Refusals by code",
                &["code"],
            )?,
            issued: metrics.counter(
                "tessera_provisioning_issued_total",
                "Tokens issued by occasion",
                &["occasion"],
            )?,
            revoked: metrics.counter(
                "tessera_provisioning_revocations_total",
                "Revocations by subject",
                &["subject"],
            )?,
            trust_seq: metrics.gauge(
                "tessera_provisioning_trust_seq",
                "Number of the newest trust event",
                &[],
            )?,
            pollers: metrics.gauge(
                "tessera_provisioning_pollers",
                "Readers waiting for trust events",
                &[],
            )?,
            views: metrics.counter(
                "tessera_provisioning_trust_views_total",
                "Answers of the trust feed to accounts of some tenants that were signed, by whether events of theirs are in it",
                &["events"],
            )?,
            names_shared: metrics.gauge(
                "tessera_provisioning_verifier_names_shared",
                "Verifier names under which more than one process reads the trust feed: each of them takes a connect proof once",
                &[],
            )?,
            clock_ahead: metrics.gauge(
                "tessera_provisioning_clock_ahead_seconds",
                "Seconds that the clock is ahead of the accepted time; negative when behind; 0 when right",
                &[],
            )?,
            pushes: metrics.counter(
                "tessera_provisioning_pushes_total",
                "Pushes of next tokens to connected devices, by outcome; late ones are counted so when they leave",
                &["outcome"],
            )?,
            push_waiting: metrics.gauge(
                "tessera_provisioning_push_waiting",
                "Sessions at a broker whose next push waits for its time",
                &["broker"],
            )?,
            push_connected: metrics.gauge(
                "tessera_provisioning_push_connected",
                "Whether this process pushes tokens to a broker: 1, or 0",
                &["broker"],
            )?,
            webhook_messages: metrics.counter(
                "tessera_provisioning_webhook_messages_total",
                "Attempts to deliver events to webhooks by outcome, and events for which there was no room",
                &["outcome"],
            )?,
            key_age: metrics.gauge(
                "tessera_provisioning_key_age_seconds",
                "Seconds for which the oldest issuer key of all tenants is in its state",
                &["state"],
            )?,
            key_overdue: metrics.gauge(
                "tessera_provisioning_key_overdue_seconds",
                "The longest time for which a rotation by schedule is due and not possible; 0 when none is",
                &[],
            )?,
            key_rotations: metrics.counter(
                "tessera_provisioning_key_rotations_total",
                "Rotations of issuer keys by what asked for them: schedule, operator or expiry",
                &["by"],
            )?,
            key_faults: metrics.counter(
                "tessera_provisioning_key_faults_total",
                "Tenants whose issuer keys were passed over because of a fault, by what was due: rotate or retire",
                &["step"],
            )?,
            readers_ahead: metrics.gauge(
                "tessera_provisioning_readers_ahead_root_sets",
                "By how many root sets a reader was ahead of this process since its start; 0 when none was",
                &[],
            )?,
            module_up: metrics.gauge(
                "tessera_provisioning_module_up",
                "Whether the security module of issuer keys answers: 1, or 0; 1 without a module",
                &[],
            )?,
            module_faults: metrics.counter(
                "tessera_provisioning_module_faults_total",
                "Looks every 5 s at which the security module of issuer keys did not answer, by why",
                &["code"],
            )?,
            swept: metrics.counter(
                "tessera_provisioning_swept_total",
                "Rows removed after expiry",
                &["table"],
            )?,
            limits_hit: metrics.counter(
                "tessera_provisioning_limits_hit_total",
                "Requests refused or widened because verifiers can hold no more, by limit",
                &["limit"],
            )?,
            trust_taken: metrics.gauge(
                "tessera_provisioning_trust_taken",
                "Entries that verifiers have to hold, an upper bound, by limit",
                &["limit"],
            )?,
            restorations: metrics.counter(
                "tessera_provisioning_restorations_total",
                "Times the service noticed that it came back from an older copy, by how",
                &["why"],
            )?,
            findings: metrics.counter(
                "tessera_provisioning_restored_findings_total",
                "Entries that readers knew and a restored service did not, by the action taken",
                &["done"],
            )?,
            restored: metrics.gauge(
                "tessera_provisioning_restored",
                "Restorations from an older copy that no operator has looked at yet",
                &[],
            )?,
        };
        own.names_shared.set(&[], 0);
        own.module_up.set(&[], 1);
        own.pushes.present(&["failed"]);
        // Its first count is an alert.
        own.refusals.present(&[RefusalCode::ProofInvalid.as_str()]);
        Ok(own)
    }

    /// The outcome of a look at the security module.
    pub(crate) fn module(&self, fault: Option<&ModuleError>) {
        self.module_up.set(&[], i64::from(fault.is_none()));
        if let Some(fault) = fault {
            self.module_faults.inc(&[fault.code()]);
        }
    }
}
