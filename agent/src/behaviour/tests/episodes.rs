use super::*;

#[test]
fn trouble_is_told_once_and_again_after_quiet() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        rig.outside("victim", RefusalCode::ProofMissing, AWAY);
        rig.wait(10_000);
    }
    assert_eq!(rig.told(), ["victim: stolen_token"]);
    rig.wait(1_300_000);
    rig.outside("victim", RefusalCode::ProofMissing, AWAY);
    assert_eq!(rig.told().len(), 2);
}

#[test]
fn a_further_strong_signal_is_told_within_the_same_trouble() {
    let mut rig = Rig::new();
    let device = rig.connect("victim", HOME);
    rig.outside("victim", RefusalCode::ProofMissing, HOME);
    rig.wait(1_000);
    (0..12).for_each(|number| {
        rig.refuse(&device, RefusalCode::PublishNotAuthorised, &format!("x/{number}"));
    });
    let told = rig.told();
    assert_eq!(told[0], "victim: stolen_token");
    assert!(told[1..].iter().all(|alert| alert.contains("scope_probe")), "{told:?}");
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn an_alert_says_who_why_and_how_much() {
    let mut rig = Rig::new();
    rig.outside("victim", RefusalCode::ProofInvalid, AWAY);
    rig.tick();
    let json = rig.alerts[0].to_json();
    assert_eq!(json["tenant"], "acme");
    assert_eq!(json["device"], "victim");
    assert_eq!(json["at"], rig.now_ms / 1000);
    assert_eq!(json["signals"][0]["name"], "stolen_token");
    assert_eq!(json["score"], json["signals"][0]["weight"]);
    assert!(json["words"].as_str().unwrap().contains("1 with a wrong proof"));
}

#[test]
fn signal_names_are_distinct() {
    let mut names: Vec<&str> = SignalName::ALL.iter().map(|name| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SignalName::ALL.len());
    assert!(SignalName::ALL.len() <= 32);
}

#[test]
fn time_that_goes_back_is_survived() {
    let mut rig = Rig::new();
    let device = rig.learn("sane");
    rig.now_ms -= 86_400_000;
    for _ in 0..50 {
        rig.publish(&device, "d/sane/telemetry", 60);
        rig.wait(10_000);
    }
    assert_eq!(rig.told(), Vec::<String>::new());
}

/// A clock that was ahead and is right again: the next trouble is told at once.
#[test]
fn a_time_that_was_ahead_silences_no_device() {
    const DAY_MS: u64 = 86_400_000;
    for ahead in [7_200_000, 40 * DAY_MS, 365 * DAY_MS] {
        let mut rig = Rig::new();
        rig.learn("victim");
        rig.now_ms += ahead;
        rig.outside("victim", RefusalCode::ProofMissing, AWAY);
        rig.wait(13_000);
        assert_eq!(rig.told().len(), 1);
        rig.now_ms -= ahead;
        rig.outside("victim", RefusalCode::ProofMissing, AWAY);
        rig.wait(1_000);
        assert_eq!(rig.told().len(), 2, "{ahead}");
        // The window moves on: its events are forgotten as ever.
        rig.wait(1_300_000);
        rig.outside("victim", RefusalCode::ProofMissing, AWAY);
        rig.tick();
        let last = rig.alerts.last().unwrap();
        assert!(
            last.words().contains("1 with none") || last.words().contains("once"),
            "{}",
            last.words()
        );
        assert_eq!(rig.alerts.len(), 3);
    }
}
