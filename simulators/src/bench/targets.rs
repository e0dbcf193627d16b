//! Targets, compared with the measured figures.

use serde::Serialize;

use super::report::Row;
use super::server::Server;

/// One promise.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The figure.
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
        // None allowed: how far away is then the number itself.
        let (met, short) = (measured <= most, measured / if most > 0.0 { most } else { 1.0 });
        let wanted = format!("≤ {most} {unit}").trim_end().to_owned();
        Self { what: what.to_owned(), wanted, measured, met, short }
    }
}

/// Rates as multiples of a peer's in the same run: (measure, peer, least, what).
const RATES: [(&str, Server, f64, &str); 10] = [
    (
        "connect",
        Server::MosquittoPassword,
        1.5,
        "connects/s, first contact, token and proof verified",
    ),
    (
        "reconnect",
        Server::MosquittoPassword,
        1.5,
        "connects/s, device met before, token and proof verified",
    ),
    ("connect-tls", Server::Mosquitto, 1.3, "connects/s over TLS 1.3, token and proof verified"),
    ("storm", Server::Mosquitto, 1.2, "reconnect storm by resumption secret"),
    ("storm-restart", Server::Mosquitto, 1.2, "reconnect storm after a restart of the server"),
    ("fan-in-0", Server::Mosquitto, 1.2, "fan-in QoS 0, every publish authorised"),
    ("fan-in-1", Server::Mosquitto, 1.7, "fan-in QoS 1, every publish authorised"),
    ("command", Server::Mosquitto, 1.4, "command to each device, QoS 1"),
    ("fan-out-0", Server::Mosquitto, 5.0, "fan-out to 1,000, QoS 0"),
    ("fan-out-1", Server::Mosquitto, 5.0, "fan-out to 1,000, QoS 1"),
];

/// Values that must not be above a bound: (measure, value, most, unit, what).
const VALUES: [(&str, &str, f64, &str, &str); 23] = [
    ("hold", "session_kib", 4.0, "KiB", "memory of an idle authenticated session"),
    ("hold-tls", "session_kib", 24.0, "KiB", "memory of an idle authenticated session over TLS"),
    ("leave", "longest_wait_ms", 30.0, "ms", "others' longest wait while all devices disconnect"),
    ("revoke", "p99_ms", 100.0, "ms", "revocation acknowledged to socket closed, p99"),
    ("revoke-feed", "p99_ms", 250.0, "ms", "revocation acknowledged to applied at 50 readers, p99"),
    ("growth", "connect_growth", GROWTH, "×", "cost of a connect, many sessions by few"),
    ("growth", "subscribe_growth", GROWTH, "×", "cost of a subscribe, many sessions by few"),
    ("growth", "command_growth", GROWTH, "×", "cost of a command QoS 1, many sessions by few"),
    ("growth", "fan_in_growth", GROWTH, "×", "cost of a fan-in message, many sessions by few"),
    ("growth", "leave_growth", GROWTH, "×", "cost of a leave, many sessions by few"),
    ("flood", "p99_ms", 250.0, "ms", "honest message during a flood, p99"),
    ("flood", "connect_p99_ms", 250.0, "ms", "honest connect during a flood, p99"),
    ("flood", "disconnected", 0.0, "", "honest devices disconnected by a flood"),
    ("issue", "p99_ms", 100.0, "ms", "token over REST, durable, 96 at once, p99"),
    ("enrol", "p99_ms", 150.0, "ms", "enrolment over REST, durable, 96 at once, p99"),
    ("import", "seconds_100000", 20.0, "s", "100,000 devices imported as one stream, durable"),
    ("wear", "connect_bytes", 200.0, "B", "bytes to the disk for a connect"),
    ("wear", "refresh_bytes", 3_000.0, "B", "bytes to the disk for a refresh in a group"),
    ("wear", "gb_a_day_1000", 0.3, "GB", "bytes to the disk of 1,000 devices in a day"),
    ("wear", "gb_a_day_100000", 40.0, "GB", "bytes to the disk of 100,000 devices in a day"),
    ("push-refresh", "peak_by_mean", 1.3, "× the mean", "pushed tokens in the busiest second"),
    ("push-refresh", "ended", 0.0, "", "sessions that ended for want of a push"),
    ("flood", "connects_given_up", 0.0, "", "honest connects given up during a flood"),
];

/// Operations a second of provisioning: (measure, least by one process on SQLite, least by several on PostgreSQL, what).
const PROVISIONING: [(&str, f64, Option<f64>, &str); 2] = [
    ("issue", 5_000.0, Some(2_000.0), "tokens over REST, durable"),
    ("enrol", 2_000.0, None, "enrolments over REST, durable"),
];

/// Growth of cost from few sessions to many.
const GROWTH: f64 = 1.3;
/// A flood that offers less proves less.
const FLOOD: f64 = 30_000.0;
/// Nanoseconds of one authorisation.
const AUTHORISE: f64 = 100.0;

/// Refusals that must cost at most a fifth of an accepted CONNECT.
const REFUSALS: [(&str, &str); 3] = [
    ("garbage_us", "refused CONNECT: garbage"),
    ("unknown_kid_us", "refused CONNECT: unknown key id"),
    ("stale_proof_us", "refused CONNECT: stale proof"),
];

/// Everything that these rows can tell. `checks` are the microseconds of a connect's signature checks.
pub(super) fn judge(rows: &[Row], checks: f64, authorise: Option<f64>) -> Vec<Verdict> {
    let ours = |measure: &str| {
        rows.iter().find(|row| row.measure == measure && row.server == Server::Tessera.name())
    };
    let rates = RATES.iter().filter_map(|(measure, peer, least, what)| {
        let ratio = ours(measure)?.rate_ratio.get(peer.name())?;
        Some(Verdict::at_least(what, *least, &format!("× {}", peer.name()), *ratio))
    });
    let beyond = ["connect", "reconnect"].into_iter().filter_map(|measure| {
        let what =
            format!("server CPU of a {measure} beyond its signature checks of {checks:.1} µs");
        Some(Verdict::at_most(&what, 60.0, "µs", ours(measure)?.cpu_micros - checks))
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
    let offered = ours("flood").and_then(|row| {
        let offered = row.values.get("offered_a_second")?;
        Some(Verdict::at_least(
            "bad connects offered during the flood",
            FLOOD,
            "a second",
            *offered,
        ))
    });
    let provisioning = PROVISIONING.iter().filter_map(|(measure, alone, together, what)| {
        let row = ours(measure)?;
        let is_alone = row.values.get("processes").is_none_or(|processes| *processes < 2.0);
        let least = if is_alone { *alone } else { (*together)? };
        Some(Verdict::at_least(what, least, "a second", row.rate))
    });
    let authorise = authorise.map(|nanos| {
        Verdict::at_most("one publish against 10 scope entries", AUTHORISE, "ns", nanos)
    });
    let rates = rates.chain(provisioning).chain(beyond);
    rates.chain(values).chain(refusals).chain(offered).chain(authorise).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn row(measure: &'static str, ratio: f64, values: &[(&'static str, f64)]) -> Row {
        Row {
            measure,
            server: Server::Tessera.name(),
            operation: "connects",
            rate: 1.0,
            cpu_micros: 150.0,
            generator_micros: 1.0,
            peak_kib: 0.0,
            values: values.iter().copied().collect(),
            rate_ratio: BTreeMap::from([(Server::Mosquitto.name(), ratio)]),
            cpu_ratio: BTreeMap::new(),
            samples: Vec::new(),
        }
    }

    fn verdict(row: Row, word: &str) -> Verdict {
        let all = judge(&[row], 100.0, Some(120.0));
        all.into_iter().find(|verdict| verdict.what.contains(word)).unwrap()
    }

    #[test]
    fn bounds_are_those_of_the_promise() {
        assert!(verdict(row("connect-tls", 1.3, &[]), "over TLS").met);
        assert!(!verdict(row("connect-tls", 1.29, &[]), "over TLS").met);
        assert!(verdict(row("storm", 1.2, &[]), "resumption secret").met);
        assert!(!verdict(row("storm-restart", 1.1, &[]), "after a restart").met);
        assert!(verdict(row("hold-tls", 1.0, &[("session_kib", 24.0)]), "over TLS").met);
        assert!(!verdict(row("growth", 1.0, &[("leave_growth", 1.31)]), "leave").met);
        assert!(!verdict(row("flood", 1.0, &[("p99_ms", 251.0)]), "honest message").met);
        let gone = verdict(row("flood", 1.0, &[("disconnected", 2.0)]), "disconnected");
        assert!(!gone.met && gone.short == 2.0);
        assert!(!verdict(row("flood", 1.0, &[("offered_a_second", 29_000.0)]), "offered").met);
    }

    #[test]
    fn what_is_subtracted_is_named() {
        let own = verdict(row("connect", 1.0, &[]), "server CPU");
        assert!(own.met && own.measured == 50.0 && own.what.contains("100.0 µs"), "{}", own.what);
        assert!(!verdict(row("connect", 1.0, &[]), "10 scope entries").met);
    }
}
