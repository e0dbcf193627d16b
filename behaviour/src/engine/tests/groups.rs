use super::*;

fn fleet(days: u64) -> (Run, Vec<String>) {
    let mut run = Run::new();
    let devices = names(60);
    devices.iter().for_each(|device| run.connect(device, 1, net(10, 0, 0), 5));
    run.fleet(&devices, days * DAY, 5 * MINUTE);
    assert_eq!(run.alerts, []);
    (run, devices)
}

#[test]
fn honest_fleet_has_no_alert_and_an_announced_change_neither() {
    let (mut run, devices) = fleet(7);
    let until = run.now + 6 * HOUR;
    run.tell("", 0, Event::Announced { group: GROUP, until });
    for _ in 0..12 * 12 {
        for device in &devices {
            run.publish(device, 1, &format!("d/{device}/data"), 3, 900);
        }
        run.pass(5 * MINUTE);
    }
    assert_eq!(run.alerts, []);
    // Evidence is told all the same.
    run.outside("d-1", RefusalCode::ProofInvalid, net(203, 0, 113));
    assert_eq!(run.of("d-1"), ["stolen_token"]);
}

#[test]
fn one_device_that_sends_larger_messages_is_told() {
    let (mut run, devices) = fleet(7);
    for _ in 0..24 * 12 {
        for device in &devices {
            let bytes = if device == "d-3" { 180 } else { 100 };
            run.publish(device, 1, &format!("d/{device}/data"), 1, bytes);
        }
        run.pass(5 * MINUTE);
    }
    assert!(run.of("d-3").contains(&"size"), "{:?}", run.of("d-3"));
    let others = devices.iter().filter(|device| *device != "d-3");
    assert!(others.clone().all(|device| run.of(device).is_empty()));
}

#[test]
fn firmware_that_breaks_the_protocol_is_told_of_the_group() {
    let (mut run, devices) = fleet(4);
    for _ in 0..6 {
        for device in &devices {
            run.tell(device, 1, Event::Faulted(Fault::Malformed));
        }
        run.pass(HOUR);
    }
    let groups = run.alerts.iter().filter(|alert| alert.subject == Subject::Group(GROUP));
    assert!(groups.count() >= 1);
    let singles = run.alerts.iter().filter(|alert| matches!(alert.subject, Subject::Device(_)));
    assert!(singles.count() <= 10);
    let mut run = Run::new();
    run.connect("a", 1, net(10, 0, 0), 5);
    for _ in 0..3 {
        run.tell("a", 1, Event::Faulted(Fault::Malformed));
        run.pass(11 * HOUR);
    }
    assert_eq!(run.of("a"), ["protocol_faults"]);
}

#[test]
fn policy_sets_shadow_and_response() {
    let mut config = Config::default();
    let policy = Policy { shadow: true, response: Response::Quarantine, ..Policy::default() };
    assert!(config.set_policy("acme", Some(GROUP), policy));
    let mut run = Run::with(config.clone());
    run.connect("a", 1, net(10, 0, 0), 5);
    run.outside("a", RefusalCode::ProofInvalid, net(203, 0, 113));
    run.outside("a", RefusalCode::ProofInvalid, net(203, 0, 113));
    assert!(run.alerts[0].shadow);
    assert_eq!(run.alerts[0].response, "tell");
    assert!(config.set_policy("acme", Some(GROUP), Policy { shadow: false, ..policy }));
    let mut run = Run::with(config);
    run.connect("a", 1, net(10, 0, 0), 5);
    run.outside("a", RefusalCode::ProofInvalid, net(203, 0, 113));
    assert_eq!(run.alerts[0].response, "quarantine");
}
