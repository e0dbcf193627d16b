use std::time::Duration;

use super::*;
use crate::limits;

#[test]
fn percentiles_are_within_a_bucket() {
    let histogram = Histogram::default();
    assert_eq!(histogram.latency(), None);
    for millis in 1..=1000u64 {
        histogram.observe(Duration::from_millis(millis));
    }
    let latency = histogram.latency().unwrap();
    assert_eq!(latency.count, 1000);
    assert!((500.0..=550.0).contains(&latency.p50), "{latency:?}");
    assert!((950.0..=1000.0).contains(&latency.p95), "{latency:?}");
    assert!((990.0..=1000.0).contains(&latency.p99), "{latency:?}");
    assert_eq!(latency.max, 1000.0);
}

#[test]
fn extremes_do_not_fall_out() {
    let histogram = Histogram::default();
    histogram.observe(Duration::ZERO);
    histogram.observe(Duration::from_secs(100_000_000));
    assert_eq!(histogram.latency().unwrap().count, 2);
}

#[test]
fn kinds_of_refusal_are_bounded() {
    let tally = Tally::default();
    for i in 0..limits::REFUSAL_KINDS * 2 {
        tally.refusal(&format!("kind-{i}"));
    }
    let report = tally.report(1, 1, Duration::from_secs(1));
    assert_eq!(report.refusals.len(), limits::REFUSAL_KINDS + 1);
    assert_eq!(report.refusals["other"], limits::REFUSAL_KINDS as u64);
}

#[test]
fn the_table_says_what_was_counted() {
    let tally = Tally::default();
    tally.enrolled.one();
    tally.online.one();
    tally.online.less();
    tally.failure("proof_not_fresh");
    tally.enrol_latency.observe(Duration::from_millis(3));
    let alert = Alert { device: "thief-1".into(), signal: "proofs".into(), words: String::new() };
    tally.alert(alert);
    let report = tally.report(42, 2, Duration::from_millis(1500));
    let text = render::table(&report);
    for part in ["1 of 2", "proof_not_fresh", "thief-1 proofs", "seed 42, 1.5 s", "enrol"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(render::progress(&report).contains("failures 1"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["enrolled"], 1);
    assert_eq!(json["online"], 0);
    assert_eq!(json["latencies"]["enrol"]["count"], 1);
}
