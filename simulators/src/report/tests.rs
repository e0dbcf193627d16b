use std::time::Duration;

use super::*;
use crate::limits;

#[test]
fn percentiles_are_exact_to_three_digits() {
    let histogram = Histogram::default();
    assert_eq!(histogram.latency(), None);
    for millis in 1..=1000u64 {
        histogram.observe(Duration::from_millis(millis));
    }
    let latency = histogram.latency().unwrap();
    assert_eq!(latency.count, 1000);
    for (found, exact) in [(latency.p50, 500.0), (latency.p95, 950.0), (latency.p99, 990.0)] {
        assert!((exact..=exact * 1.001).contains(&found), "{exact}: {latency:?}");
    }
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

#[test]
fn a_duration_has_the_unit_that_suits_it() {
    let shown = [0.01, 0.48, 0.9994, 1.08, 9.94, 34.44, 999.0, 2_500.0].map(render::millis);
    assert_eq!(
        shown,
        ["10 µs", "480 µs", "999 µs", "1.1 ms", "9.9 ms", "34 ms", "999 ms", "2.5 s"]
    );
    assert_eq!(render::duration(Duration::from_micros(840)), "840 µs");
    let histogram = Histogram::default();
    histogram.observe(Duration::from_micros(123));
    // Microseconds are not rounded away.
    assert_eq!(histogram.latency().unwrap().max, 0.123);
}

#[test]
fn counts_and_status_hold_no_debug_text_and_fit_80_columns() {
    let tally = Tally::default();
    assert_eq!(render::inline(&tally.report(1, 1, Duration::ZERO).failures_by_code), "none");
    tally.failure("connection_lost");
    let mut report = tally.report(1, 9_999, Duration::ZERO);
    assert_eq!(render::inline(&report.failures_by_code), "1 connection_lost");
    (report.online, report.refreshed) = (9_999, 9_999);
    (report.published, report.delivered) = (999_999, 999_999);
    for line in render::status(&report) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}
