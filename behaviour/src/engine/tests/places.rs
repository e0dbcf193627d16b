use super::*;
use crate::observation::{Place, Point};

fn at(asn: u32, country: &str, latitude: f32, longitude: f32) -> Place {
    let point = Some(Point { latitude, longitude, radius_km: 20 });
    Place { asn, country: Place::country_of(country), point, built: 9, relay: false }
}

impl Run {
    fn arrive(&mut self, device: &str, session: u64, network: Network, place: Place) {
        let connected = Connected {
            network,
            key: 1,
            group: GROUP,
            kind: SubjectKind::Device,
            fingerprint: 5,
            keep_alive: 60,
            client: device,
            place: Some(place),
        };
        self.tell(device, session, Event::Connected(connected));
    }

    /// Twenty devices at home for three days, each in its own network.
    fn at_home() -> (Self, Vec<String>) {
        let (mut run, devices) = (Self::new(), names(20));
        for round in 0..12 {
            for (number, device) in devices.iter().enumerate() {
                let network = net(10, 1, number as u8);
                run.arrive(device, round + 1, network, at(3320, "DE", 52.5, 13.4));
                run.tell(device, round, Event::Disconnected { clean: true });
            }
            run.pass(6 * HOUR);
        }
        (run, devices)
    }
}

#[test]
fn a_second_holder_of_a_key_in_another_country_is_told() {
    let (mut run, devices) = Run::at_home();
    run.pass(15 * MINUTE);
    for round in 0..2 {
        run.arrive(&devices[3], 100 + round, net(200, 1, 1), at(28_573, "BR", -23.5, -46.6));
        run.pass(15 * MINUTE);
    }
    run.pass(9 * HOUR);
    assert!(run.of(&devices[3]).contains(&"foreign_place"), "{:?}", run.alerts);
    let others = devices.iter().filter(|device| **device != devices[3]);
    assert!(others.flat_map(|device| run.of(device)).all(|signal| signal != "foreign_place"));
}

#[test]
fn a_site_whose_exit_moves_to_another_country_is_not_told() {
    let (mut run, devices) = Run::at_home();
    run.pass(15 * MINUTE);
    for device in &devices {
        run.arrive(device, 100, net(200, 1, 1), at(28_573, "BR", -23.5, -46.6));
    }
    run.pass(9 * HOUR);
    assert!(devices.iter().flat_map(|device| run.of(device)).all(|it| it != "foreign_place"));
}
