use super::*;

fn ask(rig: &Rig, device: &DeviceHandle, topic: &str) {
    let code = RefusalCode::SubscribeNotAuthorised;
    rig.observer.observe(device, Observation::Refused { code, topic });
}

#[test]
fn a_device_that_asks_for_topics_of_others_is_told_by_name() {
    let mut rig = Rig::new();
    let device = rig.handle("d-1");
    rig.connect(&device, HOME);
    // Mistakes with its own name are none.
    (0..100).for_each(|n| ask(&rig, &device, &format!("d/d-1/x{n}")));
    ask(&rig, &device, "d/victim-1/cmd");
    assert_eq!(rig.told(), [""; 0]);
    ask(&rig, &device, "d/victim-2/cmd");
    ask(&rig, &device, "$SYS/#");
    assert_eq!(rig.told(), ["d-1: foreign_topics"]);
    assert_eq!(rig.shown("tessera_behaviour_alerts_total{signal=\"foreign_topics\"}"), 1);
}

#[test]
fn a_token_without_its_key_is_told_of_the_device_and_not_of_another() {
    let mut rig = Rig::new();
    let device = rig.handle("d-1");
    rig.connect(&device, HOME);
    rig.wait(3600);
    rig.outside("d-1", RefusalCode::ProofMissing, AWAY);
    let alert = {
        while rig.parts.tick() {}
        rig.alerts.try_recv().unwrap()
    };
    assert_eq!(alert.subject, Subject::Device("d-1".to_owned()));
    assert_eq!(
        (alert.tenant.as_str(), alert.state, alert.severity),
        ("acme", State::Open, Severity::High)
    );
    assert_eq!(alert.address.as_deref(), Some(HOME));
    assert_eq!(alert.t, rig.clock.unix_millis());
    // A reader of JSON may hold numbers as floating point.
    assert!(alert.alert < 1 << 53);
    assert!(alert.advice.contains("d-1"), "{}", alert.advice);
}

#[test]
fn a_device_without_habits_has_a_ceiling_and_a_service_a_higher_one() {
    let mut rig = Rig::new();
    let device = rig.handle("d-1");
    rig.connect(&device, HOME);
    (0..500).for_each(|_| rig.publish(&device, "d/d-1/t", 1));
    assert_eq!(rig.told(), [""; 0]);
    rig.publish(&device, "d/d-1/t", 1);
    assert_eq!(rig.told(), ["d-1: flood"]);
}

#[test]
fn a_learned_flood_is_told_within_the_step_of_its_messages() {
    let mut rig = Rig::new();
    let device = rig.handle("d-1");
    rig.connect(&device, HOME);
    rig.learn(&device, 48);
    assert_eq!(rig.told(), [""; 0]);
    (0..100).for_each(|_| rig.publish(&device, "d/d-1/telemetry", 60));
    let told = rig.told();
    assert!(told.iter().any(|told| told.contains("flood")), "{told:?}");
}

#[test]
fn broken_packets_count_and_timeouts_do_not() {
    let mut rig = Rig::new();
    let device = rig.handle("d-1");
    for (fault, is_told) in [(Fault::KeepAlive, false), (Fault::Malformed, true)] {
        for _ in 0..5 {
            let connection = rig.connect(&device, HOME);
            rig.observer.observe(&device, Observation::Faulted(fault));
            rig.observer.disconnected(&device, connection, false);
            rig.wait(3600);
        }
        let told = rig.told();
        assert_eq!(told.iter().any(|told| told.contains("protocol_faults")), is_told, "{told:?}");
    }
}

#[test]
fn what_a_clock_ahead_told_is_told_again_and_has_the_time_of_the_wall_clock() {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let mut rig = Rig::new();
    let device = rig.handle("d-1");
    rig.connect(&device, HOME);
    rig.wait(60);
    let right = rig.clock.unix();
    rig.clock.skip_unix(YEAR);
    rig.wait(60);
    rig.outside("d-1", RefusalCode::ProofMissing, AWAY);
    assert_eq!(rig.told(), ["d-1: stolen_token"]);
    rig.clock.set_unix(right.plus(120));
    // The alert closes after a day without news.
    (0..60).for_each(|_| rig.wait(3600));
    rig.told();
    rig.outside("d-1", RefusalCode::ProofMissing, AWAY);
    while rig.parts.tick() {}
    let alert = rig.alerts.try_recv().unwrap();
    assert_eq!((alert.state, alert.t), (State::Open, rig.clock.unix_millis()));
}

/// An announced change of a group excuses a flood of its devices, and nothing that is evidence by itself.
#[test]
fn an_announced_change_excuses_habits_and_no_evidence() {
    for (announced, flood) in [(None, true), (Some(3600), false), (Some(0), true)] {
        let mut rig = Rig::new();
        let device = rig.handle("d-1");
        rig.connect(&device, HOME);
        rig.learn(&device, 48);
        let announce = |until| {
            let name = ("acme".parse().unwrap(), 1);
            *rig.announced.lock() = Arc::new([(name, rig.clock.unix().plus(until))].into());
        };
        // A later word takes the place of an earlier one: the last case ends its announcement.
        if let Some(until) = announced {
            announce(90_000);
            rig.parts.tick();
            rig.clock.advance(Duration::from_secs(1));
            if until == 0 {
                *rig.announced.lock() = Arc::default();
                rig.parts.tick();
                // The hours in which a change is learned are over.
                rig.learn(&device, 25);
            }
        }
        rig.told();
        (0..100).for_each(|_| rig.publish(&device, "d/d-1/telemetry", 60));
        let told = rig.told();
        assert_eq!(
            told.iter().any(|told| told.contains("flood")),
            flood,
            "{announced:?}: {told:?}"
        );
        rig.outside("d-1", RefusalCode::ProofMissing, AWAY);
        assert!(rig.told().iter().any(|told| told.contains("stolen_token")), "{announced:?}");
    }
}

/// A ceiling is no habit.
#[test]
fn an_announced_change_does_not_excuse_a_device_without_habits() {
    let mut rig = Rig::new();
    let device = rig.handle("d-1");
    rig.connect(&device, HOME);
    let name = ("acme".parse().unwrap(), 1);
    *rig.announced.lock() = Arc::new([(name, rig.clock.unix().plus(3600))].into());
    rig.parts.tick();
    (0..501).for_each(|_| rig.publish(&device, "d/d-1/t", 1));
    assert_eq!(rig.told(), ["d-1: flood"]);
}

#[test]
fn a_clock_that_is_set_by_little_goes_on_with_the_time_that_passed() {
    let rig = Rig::new();
    let mut reading = super::super::reading::Reading::new(rig.clock.clone());
    let first = reading.now();
    rig.clock.set_unix(UnixSeconds::new(START - 300));
    rig.clock.advance(Duration::from_secs(7));
    assert_eq!(reading.now(), first + 7_000);
    rig.clock.set_unix(UnixSeconds::new(START - 7_200));
    // A step of hours is believed once it has lasted.
    for _ in 0..600 {
        rig.clock.advance(Duration::from_secs(1));
        reading.now();
    }
    assert_eq!(reading.now(), rig.clock.unix_millis());
}

#[test]
fn a_thief_is_noticed_before_the_device_ever_connected_here() {
    let mut rig = Rig::new();
    (0..5).for_each(|_| rig.outside("d-1", RefusalCode::ProofInvalid, AWAY));
    assert_eq!(rig.told(), ["d-1: stolen_token"]);
}
