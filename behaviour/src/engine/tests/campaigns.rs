use super::*;

impl Run {
    fn stranger(&mut self, network: Network, name: &str, credential: u32) {
        let code = RefusalCode::CredentialMalformed;
        let event = Event::Stranger { code, network, name: Some(name), credential };
        self.tell("", 0, event);
    }
}

#[test]
fn stuffing_from_one_network_is_told_within_seconds() {
    let mut run = Run::new();
    for number in 0..150 {
        run.stranger(net(203, 0, 113), &format!("user-{number}"), number + 1);
        run.pass(33);
    }
    let told = run.campaigns("credential_stuffing");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].severity, Severity::High);
}

#[test]
fn one_old_setting_is_no_stuffing() {
    let mut run = Run::new();
    for _ in 0..3 * 24 * 60 {
        run.stranger(net(198, 51, 100), "old-device", 77);
        run.pass(MINUTE);
    }
    assert_eq!(run.alerts, []);
}

#[test]
fn stuffing_over_many_networks_is_told_against_the_usual_hour() {
    let mut run = Run::new();
    let mut number = 0;
    for _ in 0..3 * 24 * 12 {
        number += 1;
        run.stranger(net(198, (number % 250) as u8, 7), &format!("scan-{number}"), number);
        run.pass(5 * MINUTE);
    }
    assert_eq!(run.alerts, []);
    for _ in 0..360 * 2 {
        number += 1;
        run.stranger(net(203, (number % 50) as u8, 7), &format!("user-{number}"), number);
        run.pass(10 * SECOND);
    }
    assert_eq!(run.campaigns("credential_stuffing").len(), 1);
}

#[test]
fn probing_that_is_spread_over_devices_is_one_campaign() {
    let mut run = Run::new();
    let devices = names(400);
    devices.iter().for_each(|device| run.connect(device, 1, net(10, 0, 0), 5));
    for _ in 0..3 * 24 {
        devices
            .iter()
            .for_each(|device| run.publish(device, 1, &format!("d/{device}/data"), 1, 100));
        run.pass(HOUR);
    }
    assert_eq!(run.alerts, []);
    for device in devices.iter().take(48) {
        run.denied(device, 1, "d/victim/cmd", Denial::Owner("victim"));
        run.pass(HOUR);
    }
    assert_eq!(run.campaigns("spread_probing").len(), 1);
}
