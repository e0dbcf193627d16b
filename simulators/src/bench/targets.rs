//! What was promised, held against what was measured.

use serde::Serialize;

use super::report::Row;
use super::server::Server;

/// One promise.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What of.
    pub what: String,
    /// The bound, in words.
    pub wanted: String,
    /// The median.
    pub measured: f64,
    /// Whether it held.
    pub met: bool,
    /// By which factor it was missed; 1 at the bound, below it when met.
    pub short: f64,
}

impl Verdict {
    fn at_least(what: &str, least: f64, unit: &str, measured: f64) -> Self {
        let (met, short) = (measured >= least, least / measured.max(1e-9));
        Self { what: what.to_owned(), wanted: format!("≥ {least} {unit}"), measured, met, short }
    }

    fn at_most(what: &str, most: f64, unit: &str, measured: f64) -> Self {
        let (met, short) = (measured <= most, measured / most);
        Self { what: what.to_owned(), wanted: format!("≤ {most} {unit}"), measured, met, short }
    }
}

/// Rates as multiples of a peer's in the same run: (measure, peer, least, what).
const RATES: [(&str, Server, f64, &str); 6] = [
    ("connect", Server::MosquittoPassword, 1.5, "connects/s, token and proof verified"),
    ("fan-in-0", Server::Mosquitto, 1.2, "fan-in QoS 0, every publish authorised"),
    ("fan-in-1", Server::Mosquitto, 1.7, "fan-in QoS 1, every publish authorised"),
    ("command", Server::Mosquitto, 1.4, "command to each device, QoS 1"),
    ("fan-out-0", Server::Mosquitto, 5.0, "fan-out to 1,000, QoS 0"),
    ("fan-out-1", Server::Mosquitto, 5.0, "fan-out to 1,000, QoS 1"),
];

/// Values that must not be above a bound: (measure, value, most, unit, what).
const VALUES: [(&str, &str, f64, &str, &str); 3] = [
    ("hold", "session_kib", 4.0, "KiB", "memory of an idle authenticated session"),
    ("leave", "longest_wait_ms", 30.0, "ms", "others' longest wait while everybody disconnects"),
    ("revoke", "p99_ms", 100.0, "ms", "revocation acknowledged to socket closed, p99"),
];

/// Refusals that must cost at most a fifth of an accepted CONNECT.
const REFUSALS: [(&str, &str); 3] = [
    ("garbage_us", "refused CONNECT: garbage"),
    ("unknown_kid_us", "refused CONNECT: unknown key id"),
    ("stale_proof_us", "refused CONNECT: stale proof"),
];

/// Everything that these rows can tell.
pub(super) fn judge(rows: &[Row], signature_micros: f64) -> Vec<Verdict> {
    let ours = |measure: &str| {
        rows.iter().find(|row| row.measure == measure && row.server == Server::Tessera.name())
    };
    let rates = RATES.iter().filter_map(|(measure, peer, least, what)| {
        let ratio = ours(measure)?.rate_ratio.get(peer.name())?;
        Some(Verdict::at_least(what, *least, &format!("× {}", peer.name()), *ratio))
    });
    let beyond = ours("connect").map(|row| {
        let own = row.cpu_micros - 2.0 * signature_micros;
        Verdict::at_most("server CPU of a connect beyond two signature checks", 60.0, "µs", own)
    });
    let values = VALUES.iter().filter_map(|(measure, value, most, unit, what)| {
        let measured = ours(measure)?.values.get(value)?;
        Some(Verdict::at_most(what, *most, unit, *measured))
    });
    let refusals = REFUSALS.iter().filter_map(|(name, what)| {
        let values = &ours("refused")?.values;
        let share = values.get(name)? / values.get("accepted_us")?.max(1e-9);
        Some(Verdict::at_most(what, 0.2, "of an accepted one", share))
    });
    rates.chain(beyond).chain(values).chain(refusals).collect()
}
