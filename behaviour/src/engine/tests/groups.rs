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

/// New firmware on all devices within hours: twice as many messages, of three times the size.
fn roll_out(program: u32) -> Run {
    let (mut run, devices) = fleet(8);
    for round in 0..36 * 12 {
        for (place, device) in devices.iter().enumerate() {
            let is_new = round >= place;
            if round == place {
                run.connect(device, 1, net(10, 0, 0), program);
            }
            let (count, bytes) = if is_new { (2, 600) } else { (1, 100) };
            run.publish(device, 1, &format!("d/{device}/data"), count, bytes);
        }
        run.pass(5 * MINUTE);
    }
    run
}

#[test]
fn update_of_the_client_program_is_one_note_and_a_change_without_one_is_an_alert_of_the_group() {
    let run = roll_out(6);
    let of_group = run.alerts.iter().filter(|alert| alert.subject == Subject::Group(GROUP));
    let told: Vec<_> = of_group.map(|alert| (alert.state, alert.severity)).collect();
    assert_eq!(told, [(State::Closed, Severity::Low)]);
    assert_eq!(run.opened(), 0, "{:?}", run.alerts);
    assert!(run.alerts[0].signals[0].words.contains("update of their client program"));
    // The same with the program that they had.
    let run = roll_out(5);
    let of_group = |alert: &&Alert| alert.subject == Subject::Group(GROUP);
    assert!(run.alerts.iter().filter(of_group).any(|alert| alert.state == State::Open));
}

/// Five times the size of its peers from the first minute on: no habit of its own can tell.
#[test]
fn device_that_is_unlike_its_group_from_the_first_minute_is_told_once() {
    let mut run = Run::new();
    let devices = names(40);
    devices.iter().for_each(|device| run.connect(device, 1, net(10, 0, 0), 5));
    for _ in 0..5 * 24 * 12 {
        for (place, device) in devices.iter().enumerate() {
            // Each device has a size of its own.
            let own = 80 + 2 * place as u64 + (run.random() * 20.0) as u64;
            let bytes = if device == "d-9" { 5 * own } else { own };
            run.publish(device, 1, &format!("d/{device}/data"), 1, bytes);
        }
        run.pass(5 * MINUTE);
    }
    assert_eq!(run.of("d-9"), ["unlike_group"]);
    assert_eq!(run.opened(), 1, "{:?}", run.alerts);
}

#[test]
fn policy_sets_shadow() {
    let mut config = Config::default();
    let policy = Policy { shadow: true, ..Policy::default() };
    assert!(config.set_policy("acme", Some(GROUP), policy));
    let mut run = Run::with(config.clone());
    run.connect("a", 1, net(10, 0, 0), 5);
    run.outside("a", RefusalCode::ProofInvalid, net(203, 0, 113));
    run.outside("a", RefusalCode::ProofInvalid, net(203, 0, 113));
    assert!(run.alerts[0].shadow);
    assert!(config.set_policy("acme", Some(GROUP), Policy { shadow: false, ..policy }));
    let mut run = Run::with(config);
    run.connect("a", 1, net(10, 0, 0), 5);
    run.outside("a", RefusalCode::ProofInvalid, net(203, 0, 113));
    assert!(!run.alerts[0].shadow);
}
