use super::*;

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const PER_PERSONA: usize = 6;

type Step = fn(&mut Rig, &mut Actor, &mut Dice) -> u64;

/// One simulated device: what it does when its time has come, and when it wants to be called again.
struct Actor {
    name: String,
    step: Step,
    session: Option<DeviceHandle>,
    due: u64,
    turn: u64,
    home: u64,
}

impl Actor {
    fn open(&mut self, rig: &mut Rig) -> DeviceHandle {
        let home = self.home;
        self.open_at(rig, home)
    }

    fn open_at(&mut self, rig: &mut Rig, place: u64) -> DeviceHandle {
        let name = self.name.clone();
        let handle = rig.connect(&name, &format!("10.{}.{}.7", place / 200, place % 200));
        self.session = Some(handle.clone());
        handle
    }

    fn close(&mut self, rig: &Rig, clean: bool) {
        if let Some(session) = self.session.take() {
            rig.observer.observe(&session, Observation::Disconnected { clean });
        }
    }

    fn session(&mut self, rig: &mut Rig) -> DeviceHandle {
        match &self.session {
            Some(session) => session.clone(),
            None => self.open(rig),
        }
    }

    fn publish(&mut self, rig: &mut Rig, what: &str, bytes: u64) {
        let session = self.session(rig);
        rig.publish(&session, &format!("d/{}/{what}", self.name), bytes as usize);
    }
}

/// Every ten seconds; now and then a lost connection, once an outage of forty minutes whose readings follow at once.
fn sensor(rig: &mut Rig, me: &mut Actor, dice: &mut Dice) -> u64 {
    if me.turn % 5000 == 4000 {
        me.close(rig, false);
        return 40 * 60 * SECOND;
    }
    if me.turn % 5000 == 4001 {
        (0..240).for_each(|_| me.publish(rig, "telemetry", 60));
    }
    if dice.below(2000) == 0 {
        me.close(rig, false);
    }
    me.publish(rig, "telemetry", 50 + dice.below(40));
    9 * SECOND + dice.below(2 * SECOND)
}

/// Every quarter of an hour a fresh connection, sometimes with a clock that is off at first.
fn meter(rig: &mut Rig, me: &mut Actor, dice: &mut Dice) -> u64 {
    if dice.below(20) == 0 {
        let name = me.name.clone();
        rig.outside(&name, RefusalCode::ProofNotFresh, HOME);
    }
    me.open(rig);
    me.publish(rig, "reading", 200);
    me.close(rig, true);
    15 * 60 * SECOND + dice.below(20 * SECOND)
}

/// On the road for an hour: every five seconds, a new network every quarter of an hour with the old connection still
/// open; then still for two hours.
fn tracker(rig: &mut Rig, me: &mut Actor, dice: &mut Dice) -> u64 {
    let on_the_road = me.turn % 720;
    if on_the_road == 719 {
        me.close(rig, true);
        return 2 * HOUR;
    }
    if on_the_road.is_multiple_of(180) {
        let lost = me.session.take();
        me.open_at(rig, dice.below(40_000));
        rig.tick();
        if let Some(lost) = lost {
            rig.observer.observe(&lost, Observation::Disconnected { clean: false });
        }
    }
    me.publish(rig, "position", 80 + dice.below(20));
    4 * SECOND + dice.below(2 * SECOND)
}

/// Sleeps an hour, then sends twelve readings at once.
fn sleeper(rig: &mut Rig, me: &mut Actor, dice: &mut Dice) -> u64 {
    me.open(rig);
    (0..12).for_each(|_| me.publish(rig, "reading", 120));
    me.close(rig, true);
    HOUR - 30 * SECOND + dice.below(60 * SECOND)
}

/// Answers commands at odd times, and asks for one topic that it may not have.
fn actuator(rig: &mut Rig, me: &mut Actor, dice: &mut Dice) -> u64 {
    let session = me.session(rig);
    rig.observer.observe(&session, Observation::Subscribed);
    rig.refuse(&session, RefusalCode::PublishNotAuthorised, "legacy/status");
    (0..1 + dice.below(4)).for_each(|_| me.publish(rig, "ack", 30));
    10 * SECOND + dice.below(HOUR / 2)
}

/// Loses its counter with its battery: one proof is taken for a replay, the next is good.
fn forgetful(rig: &mut Rig, me: &mut Actor, dice: &mut Dice) -> u64 {
    if me.turn > 0 {
        let name = me.name.clone();
        let place = me.home;
        rig.outside(
            &name,
            RefusalCode::ProofReplayed,
            &format!("10.{}.{}.7", place / 200, place % 200),
        );
    }
    me.open(rig);
    me.publish(rig, "telemetry", 60);
    me.close(rig, false);
    2 * HOUR + dice.below(HOUR)
}

#[test]
fn honest_devices_are_left_alone_for_a_day() {
    const SEED: u64 = 20_260_601;
    let mut rig = Rig::new();
    let mut dice = Dice(SEED);
    let personas: [(&str, Step); 6] = [
        ("sensor", sensor),
        ("meter", meter),
        ("tracker", tracker),
        ("sleeper", sleeper),
        ("actuator", actuator),
        ("forgetful", forgetful),
    ];
    let mut actors = Vec::new();
    for (persona, step) in personas {
        for number in 0..PER_PERSONA {
            actors.push(Actor {
                name: format!("{persona}-{number}"),
                step,
                session: None,
                due: rig.now_ms + dice.below(60 * SECOND),
                turn: 0,
                home: dice.below(40_000),
            });
        }
    }
    let service = rig.connect_as("backend", HOME, SubjectKind::Service);
    let end = rig.now_ms + 24 * HOUR;
    while rig.now_ms < end {
        if rig.now_ms.is_multiple_of(2 * SECOND) {
            (0..10).for_each(|number| rig.publish(&service, &format!("d/sensor-{number}/cmd"), 40));
        }
        for actor in &mut actors {
            if actor.due <= rig.now_ms {
                let pause = (actor.step)(&mut rig, actor, &mut dice);
                actor.due = rig.now_ms + pause;
                actor.turn += 1;
            }
        }
        rig.wait(SECOND);
    }
    let told: Vec<String> =
        rig.alerts.iter().map(|alert| format!("{} {}", alert.device, alert.words())).collect();
    assert_eq!(told, Vec::<String>::new(), "seed {SEED}");
    assert_eq!(rig.observer.dropped(), 0);
    assert_eq!(rig.tracker.len(), actors.len() + 1);
}

#[test]
fn a_thousand_devices_that_connect_at_once_are_left_alone() {
    let mut rig = Rig::new();
    let devices: Vec<_> =
        (0..1000).map(|number| rig.connect(&format!("d-{number}"), HOME)).collect();
    for _ in 0..30 {
        devices.iter().for_each(|device| rig.publish(device, "t", 60));
        rig.wait(1_000);
    }
    assert_eq!(rig.told(), Vec::<String>::new());
}

#[test]
fn a_device_that_wanders_slowly_between_networks_with_old_sessions_open_is_left_alone() {
    let mut rig = Rig::new();
    for turn in 0..20 {
        let address = if turn % 2 == 0 { HOME } else { "10.9.9.9" };
        let device = rig.connect("wanderer", address);
        rig.publish(&device, "t", 60);
        rig.wait(150 * SECOND);
    }
    assert_eq!(rig.told(), Vec::<String>::new());
}
