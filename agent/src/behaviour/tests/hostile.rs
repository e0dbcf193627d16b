use super::*;

fn speaks(rig: &mut Rig, device: &str, signal: &str) {
    let told = rig.told();
    let found =
        told.iter().any(|alert| alert.starts_with(&format!("{device}:")) && alert.contains(signal));
    assert!(found, "{signal} of {device} is not in {told:?}");
}

fn silent(rig: &mut Rig) {
    assert_eq!(rig.told(), Vec::<String>::new());
}

#[test]
fn a_thief_with_a_copied_token_is_noticed_under_the_victims_name() {
    for (code, address) in [
        (RefusalCode::ProofMissing, AWAY),
        (RefusalCode::ProofMissing, HOME),
        (RefusalCode::ProofInvalid, AWAY),
        (RefusalCode::ProofInvalid, HOME),
    ] {
        let mut rig = Rig::new();
        rig.connect("victim", HOME);
        rig.tick();
        rig.outside("victim", code, address);
        speaks(&mut rig, "victim", "stolen_token");
        let words = rig.alerts[0].words();
        assert!(words.contains("presented once without its key"), "{words}");
        assert_eq!(words.contains("from a network it never used"), address == AWAY, "{words}");
    }
}

#[test]
fn a_thief_is_noticed_before_the_victim_ever_connected_here() {
    let mut rig = Rig::new();
    rig.outside("victim", RefusalCode::ProofMissing, AWAY);
    speaks(&mut rig, "victim", "stolen_token");
}

#[test]
fn a_replayed_proof_from_elsewhere_is_noticed_and_one_from_home_forgiven_once() {
    let mut rig = Rig::new();
    rig.connect("victim", HOME);
    rig.tick();
    rig.outside("victim", RefusalCode::ProofReplayed, HOME);
    silent(&mut rig);
    rig.outside("victim", RefusalCode::ProofReplayed, HOME);
    speaks(&mut rig, "victim", "replayed_proof");

    let mut rig = Rig::new();
    rig.connect("victim", HOME);
    rig.tick();
    rig.outside("victim", RefusalCode::ProofReplayed, AWAY);
    speaks(&mut rig, "victim", "replayed_proof");
}

#[test]
fn a_device_that_claims_to_be_another_is_noticed() {
    let mut rig = Rig::new();
    rig.outside("liar", RefusalCode::ClientIdMismatch, HOME);
    speaks(&mut rig, "liar", "impersonation");
}

#[test]
fn a_scope_prober_is_noticed_by_distinct_topics() {
    let mut rig = Rig::new();
    let prober = rig.connect("prober", HOME);
    for number in 0..12 {
        rig.refuse(&prober, RefusalCode::SubscribeNotAuthorised, &format!("d/other-{number}/cmd"));
        rig.wait(500);
    }
    speaks(&mut rig, "prober", "scope_probe");
}

#[test]
fn one_wrong_topic_again_and_again_is_no_probe() {
    let mut rig = Rig::new();
    let device = rig.connect("wrong-setting", HOME);
    for _ in 0..500 {
        rig.refuse(&device, RefusalCode::PublishNotAuthorised, "old/topic");
        rig.wait(5_000);
    }
    silent(&mut rig);
}

#[test]
fn a_flood_in_the_first_minute_is_noticed_within_ten_seconds() {
    let mut rig = Rig::new();
    let device = rig.connect("flooder", HOME);
    let began = rig.now_ms;
    while rig.alerts.is_empty() && rig.now_ms < began + 60_000 {
        (0..20).for_each(|_| rig.publish(&device, "d/flooder/telemetry", 60));
        rig.wait(100);
    }
    speaks(&mut rig, "flooder", "publish_flood");
    assert!(rig.now_ms - began <= 10_000, "{}", rig.now_ms - began);
}

#[test]
fn a_flood_is_told_in_multiples_of_the_devices_own_p99() {
    let mut rig = Rig::new();
    let device = rig.learn("flooder");
    let began = rig.now_ms;
    while rig.alerts.is_empty() && rig.now_ms < began + 60_000 {
        (0..5).for_each(|_| rig.publish(&device, "d/flooder/telemetry", 60));
        rig.wait(100);
    }
    speaks(&mut rig, "flooder", "publish_flood");
    assert!(rig.now_ms - began <= 10_000);
    assert!(rig.alerts[0].words().contains("times its own p99"), "{}", rig.alerts[0].words());
}

#[test]
fn a_newcomer_is_measured_by_its_group() {
    let mut rig = Rig::new();
    let group: Vec<_> =
        (0..10).map(|number| rig.connect(&format!("peer-{number}"), HOME)).collect();
    for _ in 0..20 {
        group.iter().for_each(|device| rig.publish(device, "t", 60));
        rig.wait(10_000);
    }
    let device = rig.connect("newcomer", HOME);
    for _ in 0..60 {
        (0..3).for_each(|_| rig.publish(&device, "t", 60));
        rig.wait(100);
    }
    speaks(&mut rig, "newcomer", "publish_flood");
    assert!(rig.alerts[0].words().contains("its group's p99"));
}

#[test]
fn much_data_in_few_messages_is_noticed() {
    let mut rig = Rig::new();
    let device = rig.learn("leak");
    for _ in 0..20 {
        rig.publish(&device, "d/leak/telemetry", 60_000);
        rig.wait(1_000);
    }
    speaks(&mut rig, "leak", "data_volume");
}

#[test]
fn a_key_at_work_in_two_networks_at_once_is_noticed() {
    // A clone with a name of its own beside the device.
    let mut rig = Rig::new();
    let own = rig.connect("cloned", HOME);
    rig.publish(&own, "t", 60);
    rig.wait(5_000);
    let clone = rig.connect("cloned", AWAY);
    for _ in 0..4 {
        rig.publish(&own, "t", 60);
        rig.wait(5_000);
        rig.publish(&clone, "t", 60);
        rig.wait(5_000);
    }
    speaks(&mut rig, "cloned", "shared_key");
}

#[test]
fn two_that_throw_each_other_out_are_noticed() {
    let mut rig = Rig::new();
    for turn in 0..6 {
        let address = if turn % 2 == 0 { HOME } else { AWAY };
        rig.connect("cloned", address);
        rig.wait(15_000);
    }
    speaks(&mut rig, "cloned", "shared_key");
}

#[test]
fn many_networks_within_a_minute_are_noticed() {
    let mut rig = Rig::new();
    for number in 0..4 {
        let device = rig.connect("sprayed", &format!("198.51.{number}.7"));
        rig.observer.observe(&device, Observation::Disconnected { clean: true });
        rig.wait(4_000);
    }
    speaks(&mut rig, "sprayed", "networks");
    let words = rig.alerts[0].words();
    assert!(words.contains("fourth network within 12 s"), "{words}");
}

#[test]
fn a_flapping_device_is_noticed() {
    let mut rig = Rig::new();
    for _ in 0..70 {
        let device = rig.connect("flapping", HOME);
        rig.wait(2_000);
        rig.observer.observe(&device, Observation::Disconnected { clean: false });
        rig.wait(2_000);
    }
    speaks(&mut rig, "flapping", "flapping");
}

#[test]
fn new_topics_add_to_the_score_and_are_counted_in_words() {
    let mut rig = Rig::new();
    let device = rig.learn("odd");
    (0..3).for_each(|number| rig.publish(&device, &format!("d/odd/new-{number}"), 60));
    silent(&mut rig);
    rig.outside("odd", RefusalCode::ProofMissing, AWAY);
    speaks(&mut rig, "odd", "new_topics");
    assert!(rig.alerts[0].words().contains("3 topics never seen"), "{}", rig.alerts[0].words());
}

#[test]
fn a_jumping_counter_and_a_wrong_clock_are_only_hints() {
    let mut rig = Rig::new();
    let subject = Subject { tenant: tenant(), device: DeviceId::parse("odd").unwrap() };
    rig.observer.observe_gap(&subject, 500_000);
    (0..5).for_each(|_| rig.outside("odd", RefusalCode::ProofNotFresh, HOME));
    silent(&mut rig);
    rig.outside("odd", RefusalCode::ProofInvalid, HOME);
    speaks(&mut rig, "odd", "counter_gap");
    speaks(&mut rig, "odd", "wrong_clock");
}

#[test]
fn an_hour_never_used_is_a_hint() {
    let mut rig = Rig::new();
    for _ in 0..20 {
        let device = rig.connect("worker", HOME);
        rig.publish(&device, "t", 60);
        rig.wait(3_600_000);
        rig.publish(&device, "t", 60);
        rig.observer.observe(&device, Observation::Disconnected { clean: true });
        rig.wait(23 * 3_600_000);
    }
    rig.wait(12 * 3_600_000);
    rig.connect("worker", HOME);
    rig.tick();
    rig.outside("worker", RefusalCode::ProofMissing, HOME);
    speaks(&mut rig, "worker", "odd_hour");
}

#[test]
fn a_flood_does_not_become_the_baseline() {
    let mut rig = Rig::new();
    let device = rig.learn("flooder");
    for episode in 1..=2 {
        for _ in 0..600 {
            (0..50).for_each(|_| rig.publish(&device, "d/flooder/telemetry", 60));
            rig.wait(1_000);
        }
        assert_eq!(rig.told().len(), episode, "{:?}", rig.told());
        for _ in 0..180 {
            rig.publish(&device, "d/flooder/telemetry", 60);
            rig.wait(10_000);
        }
    }
}

#[test]
fn a_device_whose_requests_for_tokens_are_refused_again_and_again_is_noticed() {
    let mut rig = Rig::new();
    let device = rig.connect("asker", HOME);
    let refuse = |rig: &Rig, code| {
        rig.observer.observe(&device, Observation::RequestRefused { code });
    };
    for _ in 0..9 {
        refuse(&rig, RefusalCode::ProofNotFresh);
    }
    silent(&mut rig);
    refuse(&rig, RefusalCode::RateLimited);
    speaks(&mut rig, "asker", "refused_requests");
}
