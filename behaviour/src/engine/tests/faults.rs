//! The faults of the tracker that this engine replaces, F1 to F21 (`docs/detection.md`): each is an input that it missed,
//! or that it cried at.

use super::*;

/// A sensor with a week of habits, whose session is open.
fn learned(period: u64) -> Run {
    let mut run = Run::new();
    run.connect("a", 1, net(10, 0, 0), 5);
    run.sensor("a", 8 * DAY, period);
    assert_eq!(run.alerts, [], "honest");
    run
}

#[test]
fn f1_ramp_of_bytes_by_the_day_is_told() {
    let mut run = learned(MINUTE);
    let mut bytes = 100.0;
    for _ in 0..14 {
        bytes *= 1.8;
        for _ in 0..24 * 60 {
            run.publish("a", 1, "d/a/data", 1, bytes as u64);
            run.pass(MINUTE);
        }
    }
    assert!(run.of("a").contains(&"size"), "{:?}", run.of("a"));
}

#[test]
fn f1_ramp_of_messages_within_hours_is_told() {
    let mut run = learned(MINUTE);
    let mut count = 1;
    for _ in 0..8 {
        count *= 3;
        for _ in 0..60 {
            run.publish("a", 1, "d/a/data", count, 100 * u64::from(count));
            run.pass(10 * SECOND);
        }
    }
    let told = run.of("a");
    assert!(
        told.iter().any(|name| ["flood", "burst", "burst_of_messages"].contains(name)),
        "{told:?}"
    );
}

#[test]
fn f2_bytes_and_messages_below_the_old_floors_are_told() {
    let mut run = learned(MINUTE);
    for _ in 0..6 {
        run.publish("a", 1, "d/a/data", 1, 250_000);
        run.pass(10 * SECOND);
    }
    assert!(run.of("a").contains(&"burst"), "{:?}", run.of("a"));
    let mut run = learned(10 * SECOND);
    for _ in 0..6 {
        run.publish("a", 1, "d/a/data", 99, 9_900);
        run.pass(10 * SECOND);
    }
    assert!(run.of("a").contains(&"flood"), "{:?}", run.of("a"));
}

#[test]
fn f3_silence_saves_bytes_and_not_messages() {
    let mut run = learned(MINUTE);
    run.pass(3 * HOUR);
    run.publish("a", 1, "d/a/data", 180, 18_000);
    assert_eq!(run.of("a"), [] as [&str; 0], "what was saved may come at once");
    let mut run = learned(MINUTE);
    run.pass(3 * HOUR);
    run.publish("a", 1, "d/a/data", 180, 180 * 60_000);
    assert!(run.of("a").contains(&"burst"), "{:?}", run.of("a"));
}

#[test]
fn f4_thousands_of_new_own_topics_are_told() {
    let mut run = learned(MINUTE);
    for number in 0..5_000 {
        run.publish("a", 1, &format!("d/a/x{number}"), 1, 100);
        run.pass(10 * SECOND);
    }
    assert!(run.of("a").contains(&"new_topics"), "{:?}", run.of("a"));
}

#[test]
fn f5_patient_probes_are_told_by_the_third_owner() {
    for gap in [151 * SECOND, HOUR, DAY] {
        let mut run = learned(MINUTE);
        for number in 0..3 {
            // One alone may be an old name of its own.
            assert!(number > 1 || run.of("a").is_empty(), "gap {gap}");
            let owner = format!("victim-{number}");
            run.denied("a", 1, &format!("d/{owner}/cmd"), Denial::Owner(&owner));
            run.pass(gap);
        }
        assert!(run.of("a").contains(&"foreign_topics"), "gap {gap}");
        let alert = run.alerts.iter().find(|alert| alert.state == State::Open).unwrap();
        assert!(alert.topics.contains(&"d/victim-0/cmd".to_owned()), "{alert:?}");
        assert_eq!(alert.address.as_deref(), Some("10.0.0.9"));
        assert!(!alert.advice.is_empty());
    }
}

#[test]
fn f5_mistakes_with_own_topics_are_not_told() {
    let mut run = learned(MINUTE);
    for number in 0..40 {
        run.denied("a", 1, &format!("d/a/old{number}"), Denial::Own);
        run.sensor("a", HOUR, MINUTE);
    }
    assert_eq!(run.of("a"), [] as [&str; 0]);
}

#[test]
fn f6_one_foreign_topic_without_end_is_told() {
    let mut run = learned(MINUTE);
    for _ in 0..HOUR / 345 {
        run.denied("a", 1, "d/victim/cmd", Denial::Owner("victim"));
        run.pass(345);
    }
    assert!(run.of("a").contains(&"refusals"), "{:?}", run.of("a"));
}

#[test]
fn f7_two_sessions_at_work_in_one_network_are_told() {
    let mut run = learned(MINUTE);
    run.connect("a", 2, net(10, 0, 0), 5);
    for _ in 0..30 {
        run.publish("a", 1, "d/a/data", 1, 100);
        run.pass(20 * SECOND);
        run.publish("a", 2, "d/a/data", 1, 100);
        run.pass(20 * SECOND);
    }
    assert!(run.of("a").contains(&"shared_credential"), "{:?}", run.of("a"));
}

#[test]
fn f7_overlap_from_another_network_is_told_within_a_minute() {
    let mut run = learned(10 * SECOND);
    run.connect("a", 2, net(203, 0, 113), 6);
    for _ in 0..3 {
        run.publish("a", 2, "d/a/data", 1, 100);
        run.pass(10 * SECOND);
        run.publish("a", 1, "d/a/data", 1, 100);
        run.pass(10 * SECOND);
    }
    assert!(run.of("a").contains(&"shared_credential"), "{:?}", run.of("a"));
}

#[test]
fn f7_turns_that_leave_cleanly_are_told() {
    let mut run = learned(MINUTE);
    run.tell("a", 1, Event::Disconnected { clean: true });
    for turn in 0..200_u64 {
        let network = if turn % 2 == 0 { net(203, 0, 113) } else { net(10, 0, 0) };
        run.connect("a", 2 + turn, network, 5);
        run.publish("a", 2 + turn, "d/a/data", 1, 100);
        run.pass(6 * MINUTE);
        run.tell("a", 2 + turn, Event::Disconnected { clean: true });
        run.pass(MINUTE);
    }
    assert!(run.of("a").contains(&"alternation"), "{:?}", run.of("a"));
}

#[test]
fn f8_tracker_on_a_train_is_not_told() {
    let mut run = learned(MINUTE);
    let mut session = 1;
    for turn in 0..90 {
        let next = session + 1;
        run.connect("a", next, net(100, turn, 0), 5);
        run.tell("a", session, Event::Disconnected { clean: false });
        session = next;
        run.publish("a", session, "d/a/data", 1, 100);
        run.pass(40 * SECOND);
    }
    run.pass(12 * HOUR);
    assert_eq!(run.of("a"), [] as [&str; 0]);
}

#[test]
fn f9_replay_once_a_day_from_home_is_told_within_a_week() {
    let mut run = learned(MINUTE);
    for _ in 0..7 {
        run.outside("a", RefusalCode::ProofReplayed, net(10, 0, 0));
        run.sensor("a", DAY, 5 * MINUTE);
    }
    assert!(run.of("a").contains(&"replayed_proof"), "{:?}", run.of("a"));
    let mut run = learned(MINUTE);
    run.outside("a", RefusalCode::ProofReplayed, net(10, 0, 0));
    run.sensor("a", 3 * DAY, 5 * MINUTE);
    assert_eq!(run.of("a"), [] as [&str; 0], "a flat battery");
}

#[test]
fn f10_one_thief_with_many_tokens_is_one_campaign() {
    let mut run = Run::new();
    for number in 0..5_000 {
        run.outside(&format!("d-{number}"), RefusalCode::ProofMissing, net(203, 0, 113));
        run.pass(SECOND);
    }
    let campaigns = run.campaigns("stolen_tokens");
    assert_eq!(campaigns.len(), 1);
    assert_eq!(campaigns[0].address.as_deref(), Some("203.0.113.9"));
    assert!(run.opened() <= 4, "{}", run.opened());
}

#[test]
fn f10_bare_tokens_for_two_weeks_are_told_a_few_times_a_day_at_most() {
    let mut run = learned(MINUTE);
    for _ in 0..14 * 72 {
        run.outside("a", RefusalCode::ProofMissing, net(10, 0, 0));
        run.pass(20 * MINUTE);
    }
    let told = run.of("a").len();
    assert!((1..=14).contains(&told), "{told}");
}

#[test]
fn f11_firmware_of_a_group_is_told_once() {
    let mut run = Run::new();
    let devices = names(300);
    devices.iter().for_each(|device| run.connect(device, 1, net(10, 0, 0), 5));
    run.fleet(&devices, 6 * DAY, 10 * MINUTE);
    run.alerts.clear();
    for _ in 0..60 {
        for device in &devices {
            run.publish(device, 1, &format!("d/{device}/data"), 120, 12_000);
        }
        run.pass(MINUTE);
    }
    run.pass(10 * HOUR);
    let groups = run.alerts.iter().filter(|alert| matches!(alert.subject, Subject::Group(_)));
    assert!(groups.count() >= 1);
    // The first devices are told before it is known that the others follow.
    let single = run.alerts.iter().filter(|alert| matches!(alert.subject, Subject::Device(_)));
    assert!(single.count() <= 3 * 15, "{}", run.alerts.len());
}

#[test]
fn f12_honest_night_update_is_not_told() {
    let mut run = learned(MINUTE);
    run.pass(2 * HOUR);
    run.connect("a", 2, net(10, 0, 1), 6);
    run.tell("a", 1, Event::Disconnected { clean: false });
    for topic in ["version", "log", "boot", "state"] {
        run.publish("a", 2, &format!("d/a/{topic}"), 1, 120);
        run.pass(21 * SECOND);
    }
    for _ in 0..600 {
        run.publish("a", 2, "d/a/data", 1, 100);
        run.pass(MINUTE);
    }
    assert_eq!(run.of("a"), [] as [&str; 0]);
}

#[test]
fn f13_hourly_device_that_publishes_every_ten_seconds_is_told() {
    let mut run = learned(HOUR);
    for _ in 0..180 {
        run.publish("a", 1, "d/a/data", 1, 100);
        run.pass(10 * SECOND);
    }
    let told = run.of("a");
    assert!(told.contains(&"burst_of_messages") || told.contains(&"burst"), "{told:?}");
}

#[test]
fn f14_service_that_commands_all_devices_is_told() {
    let mut run = Run::new();
    run.connect_as("s", 1, net(10, 0, 0), 5, SubjectKind::Service);
    for number in 0..5 * 24 * 60 {
        run.publish("s", 1, &format!("d/d-{}/cmd", number % 25), 1, 60);
        run.pass(MINUTE);
    }
    run.alerts.clear();
    for number in 0..600 {
        run.publish("s", 1, &format!("d/x-{number}/cmd"), 1, 60);
        run.pass(10 * SECOND);
    }
    assert!(run.of("s").contains(&"new_targets"), "{:?}", run.of("s"));
}

#[test]
fn f15_hostile_from_its_first_minute_is_told() {
    let mut run = Run::new();
    let devices = names(40);
    devices.iter().for_each(|device| run.connect(device, 1, net(10, 0, 0), 5));
    run.fleet(&devices, 5 * DAY, 10 * MINUTE);
    run.connect("new", 1, net(10, 0, 0), 5);
    for _ in 0..20 {
        for device in &devices {
            run.publish(device, 1, &format!("d/{device}/data"), 1, 100);
        }
        for _ in 0..60 {
            run.publish("new", 1, "d/new/data", 499, 499 * 500);
            run.pass(10 * SECOND);
        }
    }
    assert!(run.of("new").contains(&"above_group"), "{:?}", run.of("new"));
}

#[test]
fn f16_connects_subscriptions_and_withdrawn_tokens_are_told() {
    let mut run = learned(MINUTE);
    for turn in 0..12 {
        for number in 0..28 {
            run.connect("a", 10 + turn * 28 + number, net(10, 0, 0), 5);
            run.tell("a", 10 + turn * 28 + number, Event::Disconnected { clean: false });
        }
        run.pass(10 * MINUTE);
    }
    run.pass(10 * HOUR);
    assert!(run.of("a").contains(&"connects"), "{:?}", run.of("a"));
    let mut run = learned(MINUTE);
    for number in 0..100_000 {
        run.tell("a", 1, Event::Subscribed { filter: &format!("d/a/{number}") });
    }
    assert!(run.of("a").contains(&"subscriptions"), "{:?}", run.of("a"));
    let mut run = learned(MINUTE);
    for _ in 0..20_000 {
        run.outside("a", RefusalCode::TokenRevoked, net(10, 0, 0));
    }
    assert!(run.of("a").contains(&"refusals"), "{:?}", run.of("a"));
}

#[test]
fn f17_clock_a_year_ahead_and_back_mutes_nothing() {
    let mut run = learned(MINUTE);
    run.now += 365 * DAY;
    run.outside("a", RefusalCode::ProofInvalid, net(203, 0, 113));
    run.pass(MINUTE);
    run.now -= 365 * DAY;
    let before = run.alerts.len();
    run.engine.advance(run.now, &mut run.alerts);
    run.pass(2 * DAY);
    for _ in 0..48 {
        run.outside("a", RefusalCode::ProofInvalid, net(203, 0, 113));
        run.pass(HOUR);
    }
    let later = &run.alerts[before..];
    assert!(later.iter().any(|alert| alert.state == State::Open), "{later:?}");
    assert!(later.iter().all(|alert| alert.t < BEGIN + 100 * DAY));
}

#[test]
fn f18_names_of_outsiders_let_no_profile_go() {
    let mut run = Run::with(Config { most_devices: 50, ..Config::default() });
    let devices = names(50);
    devices.iter().for_each(|device| run.connect(device, 1, net(10, 0, 0), 5));
    for number in 0..10_000_u32 {
        let network = net(203, (number / 200) as u8, (number % 200) as u8);
        run.outside(&format!("x-{number}"), RefusalCode::ProofMissing, network);
    }
    assert_eq!(run.engine.totals().evicted, 0);
    assert_eq!(run.engine.len(), 50);
}

#[test]
fn f19_gateway_that_reports_connects_alone_tells_two_holders() {
    let mut run = Run::new();
    let mut session = 0;
    let mut once = |run: &mut Run, network, program| {
        session += 1;
        run.connect("a", session, network, program);
        run.tell("a", session, Event::Disconnected { clean: true });
    };
    for _ in 0..7 * 24 {
        once(&mut run, net(10, 0, 0), 5);
        run.pass(HOUR);
    }
    assert_eq!(run.of("a"), [] as [&str; 0]);
    for _ in 0..24 {
        once(&mut run, net(203, 0, 113), 6);
        run.pass(30 * MINUTE);
        once(&mut run, net(10, 0, 0), 5);
        run.pass(30 * MINUTE);
    }
    assert!(run.of("a").contains(&"two_holders"), "{:?}", run.of("a"));
}

#[test]
fn f20_another_client_id_keeps_what_is_held_against_a_device() {
    let mut run = learned(MINUTE);
    let session = |run: &mut Run, number: u64, client: &str| {
        let connected = Connected {
            network: net(10, 0, 0),
            key: 1,
            group: GROUP,
            kind: SubjectKind::Device,
            fingerprint: 5,
            keep_alive: 60,
            client,
            place: None,
        };
        run.tell("a", number, Event::Connected(connected));
    };
    for number in 0..3 {
        session(&mut run, 10 + number, &format!("a~{number}"));
        let owner = format!("victim-{number}");
        run.denied("a", 10 + number, &format!("d/{owner}/cmd"), Denial::Owner(&owner));
        run.tell("a", 10 + number, Event::Disconnected { clean: true });
        run.pass(HOUR);
    }
    assert!(run.of("a").contains(&"foreign_topics"), "{:?}", run.of("a"));
    let alert = run.alerts.iter().find(|alert| alert.state == State::Open).unwrap();
    assert!(alert.client.as_deref().is_some_and(|client| client.starts_with("a~")), "{alert:?}");
}

#[test]
fn f21_restart_in_the_middle_of_an_attack_forgets_nothing() {
    let mut run = learned(MINUTE);
    run.denied("a", 1, "d/v-1/cmd", Denial::Owner("v-1"));
    run.pass(HOUR);
    let mut next = records::restarted(&mut run);
    next.pass(10 * MINUTE);
    next.denied("a", 1, "d/v-2/cmd", Denial::Owner("v-2"));
    next.denied("a", 1, "d/v-3/cmd", Denial::Owner("v-3"));
    assert!(next.of("a").contains(&"foreign_topics"), "{:?}", next.of("a"));
}
