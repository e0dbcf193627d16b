use super::*;
use crate::limits::{INVENTORY_EVERY, INVENTORY_FIRST};

impl Rig {
    /// The topics that are due, in words.
    fn uses(&mut self, wait: Duration) -> Vec<String> {
        self.wait(wait.as_secs());
        let taken = self.parts.inventory().lock().take(self.clock.monotonic(), 9);
        let uses = taken.iter().flat_map(|of| of.uses.iter());
        let mut words: Vec<String> = uses
            .map(|one| {
                let code = one.refused.map(|code| format!(" {code}")).unwrap_or_default();
                format!("{} {} {}{code}", one.operation.as_str(), one.topic, one.count)
            })
            .collect();
        words.sort();
        words
    }
}

#[test]
fn uses_of_topics_pass_by_the_engine_into_the_inventory() {
    let mut rig = Rig::new();
    let device = rig.handle("d-1");
    let connection = rig.connect(&device, HOME);
    let holds = |subscribed, topic| Observation::Holds { subscribed, topic };
    rig.observer.observe(&device, holds(true, "kept/d-1"));
    rig.observer.observe(&device, holds(false, "gone/d-1"));
    rig.observer.observe(&device, Observation::Subscribed { filter: "d/d-1/cmd" });
    for _ in 0..3 {
        rig.publish(&device, "d/d-1/up", 10);
    }
    for code in [
        RefusalCode::PublishNotAuthorised,
        RefusalCode::SubscribeNotAuthorised,
        RefusalCode::RateLimited,
    ] {
        rig.observer.observe(&device, Observation::Refused { code, topic: "d/other" });
    }
    assert_eq!(
        rig.uses(INVENTORY_FIRST),
        [
            "publish d/other 1 publish_not_authorised",
            "publish d/{device}/up 3",
            "publish gone/{device} 0",
            "subscribe d/other 1 subscribe_not_authorised",
            "subscribe d/{device}/cmd 1",
            "subscribe kept/{device} 0",
        ]
    );
    // Subscriptions go on until the connection ends.
    let held = ["subscribe d/{device}/cmd 0", "subscribe kept/{device} 0"];
    assert_eq!(rig.uses(INVENTORY_EVERY), held);
    rig.observer.disconnected(&device, connection, true);
    assert_eq!(rig.uses(INVENTORY_EVERY), held, "they were in use within this hour");
    assert_eq!(rig.uses(INVENTORY_EVERY), Vec::<String>::new());
}

#[test]
fn places_of_connects_reach_the_record() {
    use crate::location::{testing, LocationFiles, Locator};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("city.mmdb");
    let records = [([192, 0, 2, 0].into(), 24, testing::city("DE", (52.5, 13.4), Some(20)))];
    std::fs::write(&path, testing::file("Test-City", 9, &records)).unwrap();
    let mut rig = Rig::new();
    let files = LocationFiles { city: Some(path), asn: None };
    rig.parts.locate_by(Locator::open(files).unwrap());
    let record = folder.path().join("observations");
    rig.parts.record_in(Recording::new(record.clone(), 1 << 20));
    rig.connect(&rig.handle("d-1"), "192.0.2.7");
    rig.connect(&rig.handle("d-2"), "198.51.100.7");
    rig.wait(2);
    rig.parts.finish();
    let text = std::fs::read_to_string(record.join("0000000000000000.ndjson")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("\"connect\"")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains(r#""country":"DE""#) && lines[0].contains(r#""radius_km":20"#));
    assert!(!lines[1].contains("country"));
}
