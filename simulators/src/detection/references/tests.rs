use tessera_behaviour::observation::{
    Connected, Denial, Event, Messages, Network, Observation, SubjectKind,
};
use tessera_token::refusal::RefusalCode;

use super::*;

const MINUTE: UnixMillis = 60_000;
const START: UnixMillis = 20_000 * 24 * HOUR;

/// Forty devices that send 100 bytes each ten minutes for ten days, one of which does something else from day eight on.
fn run(name: &str, odd: impl Fn(UnixMillis, &mut Vec<Event<'static>>)) -> Vec<Alert> {
    let mut reference = Reference::named(name, aws::Profile::examples().unwrap()).unwrap();
    let names: Vec<String> = (0..40).map(|number| format!("d-{number}")).collect();
    let mut alerts = Vec::new();
    let connected = Connected {
        network: Network::Address("10.0.0.1".parse().unwrap()),
        key: 1,
        group: 7,
        kind: SubjectKind::Device,
        fingerprint: 1,
        keep_alive: 60,
        client: "c",
        place: None,
    };
    let mut events = Vec::new();
    for minute in 0..10 * 24 * 60 {
        let at = START + minute * MINUTE;
        for (number, device) in names.iter().enumerate() {
            events.clear();
            let number = number as u64;
            if minute == number {
                events.push(Event::Connected(connected));
            }
            if (minute + number).is_multiple_of(10) {
                // Sizes and numbers vary a little, as those of real devices do.
                let bytes = 95 + (minute * 7 + number * 13) % 11;
                let count = 1 + u32::from((minute / 10 * 31 + number * 17).is_multiple_of(23));
                events.push(Event::Published(Messages { topic: "d/x/telemetry", count, bytes }));
            }
            if number == 5 && minute >= 8 * 24 * 60 {
                odd(minute, &mut events);
            }
            for event in &events {
                let seen = Observation { at, tenant: "t", device, session: 1, event: *event };
                reference.observe(&seen, &mut alerts);
            }
        }
    }
    reference.advance(START + 10 * 24 * HOUR, &mut alerts);
    alerts
}

fn connects(minute: UnixMillis, events: &mut Vec<Event<'static>>, each: usize) {
    if minute % 60 < 30 {
        for _ in 0..each {
            events.push(Event::Connected(Connected {
                network: Network::Local,
                key: 1,
                group: 7,
                kind: SubjectKind::Device,
                fingerprint: 1,
                keep_alive: 60,
                client: "c",
                place: None,
            }));
        }
    }
}

fn bytes(_: UnixMillis, events: &mut Vec<Event<'static>>) {
    events.push(Event::Published(Messages { topic: "d/x/telemetry", count: 20, bytes: 40_000 }));
}

fn devices(alerts: &[Alert]) -> Vec<&str> {
    let mut found: Vec<&str> = alerts
        .iter()
        .map(|alert| match &alert.subject {
            Subject::Device(name) => name.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Each finds the case for which it was made, after it began, and tells only the device that did it.
#[test]
fn each_reference_finds_its_own_case() {
    let cases = [
        ("device defender", run("device defender", bytes)),
        ("flapping", run("flapping", |minute, events| connects(minute, events, 16))),
        ("z-score", run("z-score", bytes)),
        ("fleet p99", run("fleet p99", bytes)),
        ("EWMA and MAD", run("EWMA and MAD", bytes)),
    ];
    for (name, alerts) in &cases {
        let late: Vec<Alert> =
            alerts.iter().filter(|alert| alert.t >= START + 8 * 24 * HOUR).cloned().collect();
        assert!(devices(&late).contains(&"d-5"), "{name}: {:?}", devices(&late));
        // The deviations name others too, now and then: that is their known fault.
        if matches!(*name, "device defender" | "flapping" | "fleet p99") {
            assert_eq!(devices(alerts), ["d-5"], "{name}");
        }
    }
}

/// A row far out in all numbers is told from rows like those of the first week.
#[test]
fn the_forest_isolates_a_row_that_is_far_out() {
    let mut forest = forest::Forest::default();
    let mut dice = super::super::dice::Dice::of(3, "test", 0);
    let mut scores = Vec::new();
    let (mut honest, mut odd) = (Vec::new(), Vec::new());
    for hour in 0..180 {
        let mut rows: Vec<(u64, Features)> = (0..40)
            .map(|_| (1, std::array::from_fn(|_| 100.0 * (0.3 * dice.normal()).exp())))
            .collect();
        if hour >= 168 {
            rows[5].1 = [4_000.0; FEATURES];
        }
        scores.clear();
        forest.hour(hour, &rows, &mut scores);
        assert_eq!(scores.len(), if hour < 168 { 0 } else { 40 });
        for (device, score) in &scores {
            if *device == 5 {
                odd.push(*score)
            } else {
                honest.push(*score)
            }
        }
    }
    let usual = forest.usual();
    assert!(odd.iter().all(|score| *score > usual), "{odd:?}");
    let above = honest.iter().filter(|score| **score > usual).count();
    assert!(above * 50 < honest.len(), "{above} of {}", honest.len());
}

#[test]
fn rules_with_a_fixed_bound_are_silent_about_honest_devices() {
    let nothing = |_: UnixMillis, _: &mut Vec<Event<'static>>| {};
    for name in ["device defender", "flapping", "fleet p99"] {
        assert_eq!(devices(&run(name, nothing)), [""; 0], "{name}");
    }
    // Fourteen connects in a minute, and thirteen more in the next: never fifteen in one.
    let few = run("flapping", |minute, events| {
        if minute.is_multiple_of(5) {
            connects(0, events, 14);
        }
    });
    assert_eq!(devices(&few), [""; 0]);
}

#[test]
fn a_profile_is_read_and_its_rules_hold() {
    let profile = aws::Profile::read(
        r#"{"securityProfileName": "p", "securityProfileArn": "arn:x", "behaviors": [
            {"name": "denied", "metric": "aws:num-authorization-failures", "criteria":
                {"comparisonOperator": "less-than-equals", "value": {"count": 5}, "durationSeconds": 300,
                 "consecutiveDatapointsToAlarm": 2, "consecutiveDatapointsToClear": 1}},
            {"name": "from", "metric": "aws:source-ip-address", "criteria":
                {"comparisonOperator": "in-cidr-set", "value": {"cidrs": ["10.0.0.0/8", "fd00::/8"]}}},
            {"name": "size", "metric": "aws:message-byte-size", "criteria":
                {"comparisonOperator": "less-than", "statisticalThreshold": {"statistic": "p50"}, "durationSeconds": 300}},
            {"name": "out", "metric": "aws:all-bytes-out", "criteria":
                {"comparisonOperator": "less-than", "value": {"count": 5}}},
            {"name": "model", "metric": "aws:num-messages-sent", "criteria":
                {"mlDetectionConfig": {"confidenceLevel": "HIGH"}}}
        ]}"#,
    )
    .unwrap();
    assert_eq!(profile.behaviors.len(), 3);
    assert_eq!(profile.skipped.len(), 2, "{:?}", profile.skipped);
    assert_eq!(profile.behaviors[2].threshold, aws::Threshold::Percentile(0.5));

    let mut reference = Reference::named("device defender", profile).unwrap();
    let mut alerts = Vec::new();
    let mut tell = |at, event, alerts: &mut Vec<Alert>| {
        let seen = Observation { at, tenant: "t", device: "d", session: 1, event };
        reference.observe(&seen, alerts);
    };
    let refused = Event::Refused {
        code: RefusalCode::PublishNotAuthorised,
        topic: Some("x"),
        denial: Some(Denial::Own),
    };
    let connect = |address: &str| {
        Event::Connected(Connected {
            network: Network::Address(address.parse().unwrap()),
            key: 1,
            group: 1,
            kind: SubjectKind::Device,
            fingerprint: 1,
            keep_alive: 60,
            client: "d",
            place: None,
        })
    };
    tell(START, connect("10.9.8.7"), &mut alerts);
    tell(START + 1, connect("fd12::1"), &mut alerts);
    // Six refusals in one window are one datapoint; the alarm needs two in a row.
    for second in 0..6 {
        tell(START + 1_000 * second, refused, &mut alerts);
    }
    tell(START + 400 * 1_000, refused, &mut alerts);
    tell(START + 20 * MINUTE, refused, &mut alerts);
    assert_eq!(alerts, []);
    for second in 0..12 {
        tell(START + HOUR + 50_000 * second, refused, &mut alerts);
    }
    tell(START + HOUR + 11 * MINUTE, refused, &mut alerts);
    assert_eq!(alerts.len(), 1);
    tell(START + 30 * HOUR, connect("192.0.2.1"), &mut alerts);
    assert_eq!(alerts.len(), 2, "an address outside of the list");
}

#[test]
fn wrong_profiles_are_refused_with_the_behavior() {
    let with = |criteria: &str| {
        format!(
            r#"{{"behaviors": [{{"name": "b", "metric": "aws:num-messages-sent", "criteria": {criteria}}}]}}"#
        )
    };
    for (text, words) in [
        ("no JSON".to_owned(), "no security profile"),
        (r#"{"behaviors": []}"#.to_owned(), "no behavior can be judged"),
        (with(r#"{"comparisonOperator": "less-than"}"#), "neither value nor statisticalThreshold"),
        (with(r#"{"comparisonOperator": "less-than", "value": {}}"#), "value has no count"),
        (
            with(
                r#"{"comparisonOperator": "less-than", "value": {"count": 1}, "durationSeconds": 7}"#,
            ),
            "durationSeconds 7: use 300",
        ),
        (
            with(r#"{"comparisonOperator": "in-cidr-set", "value": {"cidrs": ["10.0.0.0/8"]}}"#),
            "aws:source-ip-address alone",
        ),
        (
            with(
                r#"{"comparisonOperator": "less-than", "statisticalThreshold": {"statistic": "p0"}}"#,
            ),
            "use p0.1 to p100",
        ),
    ] {
        let error = aws::Profile::read(&text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    assert_eq!(aws::Profile::examples().unwrap().behaviors.len(), 4);
}

#[test]
fn cidrs_hold_their_addresses_alone() {
    let (op, limit) = (aws::Operator::LessOrEqual, 5.0);
    assert!(op.score(5.0, limit) < 1.0 && op.score(6.0, limit) > 1.0);
    assert!(aws::Operator::Greater.score(5.0, limit) >= 1.0);
    assert!(aws::Operator::Greater.score(6.0, limit) < 1.0);
    assert!(aws::Operator::GreaterOrEqual.score(5.0, limit) < 1.0);
    assert!(aws::Operator::Less.score(0.0, 0.0) >= 1.0);
    assert!(aws::Operator::LessOrEqual.score(0.0, 0.0) < 1.0);
}
