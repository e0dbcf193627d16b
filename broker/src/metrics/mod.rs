//! Metrics of the broker. Names begin with `tessera_broker_`.

mod labels;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use tessera_runtime::http::server::ServerMetrics;
use tessera_runtime::metrics::{
    Counter, Gauge, Histogram, Metrics, MetricsError, Stripes, SECONDS,
};
use tessera_token::refusal::RefusalCode;

use crate::admission::Rejected;
use crate::codec::QoS;
use crate::routing::{retained::Limit, Tally};
use crate::shares::Kind;

/// The broker's metrics. Cheap to clone.
#[derive(Clone)]
#[allow(missing_docs, reason = "the help texts below say what they are")]
pub(crate) struct BrokerMetrics {
    pub http: ServerMetrics,
    pub connects: Counter,
    pub refusals: Counter,
    pub turned_away: Counter,
    pub guesses: Counter,
    pub door_steps: Counter,
    pub broken: Counter,
    pub ended: Counter,
    pub dropped: Counter,
    pub limits_hit: Counter,
    pub rule_matches: Counter,
    pub token_requests: Counter,
    /// Answers on `$tessera/trust`, by outcome.
    pub uplinks: Counter,
    pub resumption: Counter,
    pub authz_info: Counter,
    pub enrolments: Counter,
    pub verification_restarts: Counter,
    pub sockets: Gauge,
    pub half_open: Gauge,
    pub sessions: Gauge,
    pub retained: Gauge,
    pub restraints: Gauge,
    pub rules: Gauge,
    pub fleet: Gauge,
    wildcard: Counter,
    pub shares: Gauge,
    pub connect_seconds: Histogram,
    pub revocation_seconds: Histogram,
    pub hot: Arc<Hot>,
    flows: Counter,
    routed: Counter,
    bytes: Counter,
    registry: Metrics,
}

/// Counts of the data path: plain atomics, carried over to the registry when it is read.
#[derive(Default)]
pub(crate) struct Hot(Stripes<Counts>);

#[derive(Default)]
struct Counts {
    received: [AtomicU64; 3],
    sent: [AtomicU64; 3],
    lanes: [AtomicU64; 3],
    bytes: [AtomicU64; 2],
}

impl Hot {
    /// A PUBLISH came in and was authorised.
    pub(crate) fn received(&self, qos: QoS) {
        if let Some(count) = self.0.here().received.get(qos as usize) {
            add(count, 1);
        }
    }

    /// Where a PUBLISH found subscribers.
    pub(crate) fn routed(&self, tally: &Tally) {
        let [device, fleet, none] = &self.0.here().lanes;
        add(device, u64::from(tally.taken + tally.full > 0));
        add(fleet, u64::from(tally.filters > 0));
        add(none, u64::from(tally.no_matching_subscribers()));
    }

    /// PUBLISH packets went out, by QoS.
    pub(crate) fn sent(&self, counts: &[u64; 3]) {
        for (total, count) in self.0.here().sent.iter().zip(counts) {
            add(total, *count);
        }
    }

    /// Bytes were read.
    pub(crate) fn read(&self, bytes: usize) {
        let [read, _] = &self.0.here().bytes;
        add(read, bytes as u64);
    }

    /// Bytes were written.
    pub(crate) fn written(&self, bytes: usize) {
        let [_, written] = &self.0.here().bytes;
        add(written, bytes as u64);
    }
}

fn add(total: &AtomicU64, count: u64) {
    if count > 0 {
        total.fetch_add(count, Ordering::Relaxed);
    }
}

impl BrokerMetrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A name is taken: two brokers on one registry.
    pub(crate) fn new(m: &Metrics) -> Result<Self, MetricsError> {
        let n = |name: &str| format!("tessera_broker_{name}");
        let own = Self {
            http: ServerMetrics::register(m, "tessera_broker")?,
            connects: m.counter(
                &n("connects_total"),
                "Accepted CONNECTs",
                &["version", "session"],
            )?,
            refusals: m.counter(&n("refusals_total"), "Refusals", &["what", "code"])?,
            turned_away: m.counter(&n("turned_away_total"), "Sockets closed unread", &["limit"])?,
            guesses: m.counter(
                &n("guesses_total"),
                "CONNECTs with a wrong credential: pairs of name and credential that are new to their network in this hour, and those that came again",
                &["pair"],
            )?,
            door_steps: m.counter(
                &n("door_steps_total"),
                "Networks whose wrong credentials are answered slowly, or checked at a bounded rate, from then on",
                &["step"],
            )?,
            broken: m.counter(
                &n("broken_packets_total"),
                "Packets that MQTT forbids",
                &["rule"],
            )?,
            ended: m.counter(&n("connections_ended_total"), "Ended connections", &["why"])?,
            dropped: m.counter(&n("dropped_total"), "Messages not delivered", &["why", "qos"])?,
            limits_hit: m.counter(&n("limits_hit_total"), "Limits that were hit", &["limit"])?,
            rule_matches: m.counter(
                &n("rule_matches_total"),
                "Matches of rules that were told of, by action",
                &["action"],
            )?,
            token_requests: m.counter(
                &n("token_requests_total"),
                "Requests on $tessera/token",
                &["outcome"],
            )?,
            uplinks: m.counter(
                &n("uplink_total"),
                "Answers of the trust feed to gateways on $tessera/trust",
                &["outcome"],
            )?,
            resumption: m.counter(
                &n("resumption_total"),
                "Resumption secrets handed out and accepted, ticket keys replaced",
                &["what"],
            )?,
            authz_info: m.counter(
                &n("authz_info_total"),
                "Connections without credentials, and tokens kept from them",
                &["what"],
            )?,
            enrolments: m.counter(
                &n("enrolments_total"),
                "Connections that enrol by a claim code, and the answers to their requests",
                &["what"],
            )?,
            verification_restarts: m.counter(
                &n("verification_restarts_total"),
                "Verification actors that were restarted after a panic",
                &[],
            )?,
            sockets: m.gauge(&n("sockets"), "Open MQTT sockets", &[])?,
            half_open: m.gauge(&n("half_open_sockets"), "Sockets without CONNECT yet", &[])?,
            sessions: m.gauge(&n("sessions"), "Sessions", &["state"])?,
            retained: m.gauge(&n("retained_messages"), "Retained messages", &[])?,
            restraints: m.gauge(
                &n("restraints_of_rules"),
                "Devices that rules hold back on this broker",
                &[],
            )?,
            rules: m.gauge(
                &n("rules"),
                "Rules of all tenants: applied, unread (of another version of the language) and suspended",
                &["state"],
            )?,
            shares: m.gauge(
                &n("shares_held"),
                "Amount of each shared resource that all clients together hold",
                &["what"],
            )?,
            fleet: m.gauge(
                &n("fleet_lane"),
                "Counters of wildcard and shared routes since start, and the state of their router",
                &["what"],
            )?,
            wildcard: m.counter(
                &n("wildcard_total"),
                "Events of wildcard and shared routes",
                &["what"],
            )?,
            connect_seconds: m.histogram(
                &n("connect_seconds"),
                "CONNECT to decision",
                &["outcome"],
                SECONDS,
            )?,
            revocation_seconds: m.histogram(
                &n("revocation_seconds"),
                "Trust effect to the sessions told",
                &[],
                SECONDS,
            )?,
            flows: m.counter(&n("publishes_total"), "PUBLISH packets", &["way", "qos"])?,
            routed: m.counter(
                &n("routed_total"),
                "PUBLISH packets by the routes that found subscribers",
                &["lane"],
            )?,
            bytes: m.counter(&n("bytes_total"), "Bytes on MQTT sockets", &["way"])?,
            hot: Arc::default(),
            registry: m.clone(),
        };
        own.present();
        Ok(own)
    }

    /// The series whose first count may be an alert.
    fn present(&self) {
        let turned_away = Rejected::ALL.iter().map(|rejected| rejected.as_str());
        for limit in turned_away.chain(labels::TURNED_AWAY) {
            self.turned_away.present(&[limit]);
        }
        let kinds = Kind::ALL.iter().flat_map(|kind| kind.limits());
        let retained = Limit::ALL.iter().map(|limit| limit.label());
        for limit in kinds.chain(retained).chain(labels::LIMITS) {
            self.limits_hit.present(&[limit]);
        }
        for why in labels::DROPPED {
            ["0", "1", "2"].iter().for_each(|qos| self.dropped.present(&[why, qos]));
        }
        ["slow", "closed"].iter().for_each(|step| self.door_steps.present(&[step]));
        self.refusals.present(&["connect", RefusalCode::TokenRevoked.as_str()]);
        self.token_requests.present(&["not_ready"]);
        self.enrolments.present(&["not_ready"]);
        self.resumption.present(&["key_not_replaced"]);
    }

    /// Messages found no room in a queue, or no share, by QoS.
    pub(crate) fn found_no_room(&self, counts: [u64; 3]) {
        for (count, qos) in counts.into_iter().zip(["0", "1", "2"]) {
            if count > 0 {
                self.dropped.add(&["queue_full", qos], count);
            }
        }
    }

    /// An event of wildcard routes has happened so often since the start.
    pub(crate) fn wildcard(&self, what: &str, count: u64) {
        let before = self.wildcard.value(&[what]);
        self.wildcard.add(&[what], count.saturating_sub(before));
    }

    /// All metrics of the process as text.
    pub(crate) fn render(&self) -> String {
        self.carry_over();
        self.registry.render()
    }

    fn carry_over(&self) {
        for counts in self.hot.0.all() {
            for (way, counts) in [("in", &counts.received), ("out", &counts.sent)] {
                for (count, qos) in counts.iter().zip(["0", "1", "2"]) {
                    self.flows.add(&[way, qos], count.swap(0, Ordering::Relaxed));
                }
            }
            for (count, lane) in counts.lanes.iter().zip(["device", "fleet", "none"]) {
                self.routed.add(&[lane], count.swap(0, Ordering::Relaxed));
            }
            for (count, way) in counts.bytes.iter().zip(["in", "out"]) {
                self.bytes.add(&[way], count.swap(0, Ordering::Relaxed));
            }
        }
    }
}

/// The QoS as a label.
pub(crate) const fn qos_label(qos: QoS) -> &'static str {
    match qos {
        QoS::AtMostOnce => "0",
        QoS::AtLeastOnce => "1",
        QoS::ExactlyOnce => "2",
    }
}
