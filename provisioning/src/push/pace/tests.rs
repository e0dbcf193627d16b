//! A fleet on a virtual clock: the pushes of each second are counted.

use super::*;

const FLEET: u64 = 100_000;
/// Milliseconds.
const QUARTER_HOUR: u64 = 900_000;
/// Milliseconds between two looks at the pacer.
const TICK: u64 = 100;
/// Milliseconds from a push to the page that tells its success.
const LATENCY: u64 = 300;

/// Each device as it is.
#[derive(Clone, Copy)]
struct Device {
    /// When its token was issued.
    born: i64,
    connected: bool,
}

/// The step of a device when its time comes, if it still has that token.
#[derive(Clone, Copy)]
enum Then {
    /// Nothing was pushed: it asks by itself, at 85 % of the life, give or take 5 %.
    Asks,
    Expires,
}

struct World {
    now: u64,
    life: u64,
    devices: Vec<Device>,
    /// `None` while it is away.
    pacer: Option<Pacer>,
    /// Whether provisioning answers a device that asks.
    answers: bool,
    arriving: BTreeSet<(u64, Id)>,
    /// By second: the device, its token's issue, and what it does.
    calendar: HashMap<u64, Vec<(Id, i64, Then)>>,
    draw: Draw,
    pushes: Vec<u32>,
    pulls: Vec<u32>,
    expired: usize,
}

impl World {
    fn new(life: u64) -> Self {
        Self {
            now: 10 * life,
            life,
            devices: Vec::new(),
            pacer: Some(Pacer::new(1_000_000, 7)),
            answers: true,
            arriving: BTreeSet::new(),
            calendar: HashMap::new(),
            draw: Draw(99),
            pushes: Vec::new(),
            pulls: Vec::new(),
            expired: 0,
        }
    }

    /// A fleet whose tokens have all ages below 65 %, as it has after a long time.
    fn steady(life: u64) -> Self {
        let mut world = Self::new(life);
        for _ in 0..FLEET {
            let age = world.draw.within(life * 70 / 100);
            world.enrol(age);
        }
        world
    }

    fn enrol(&mut self, age: u64) {
        let born = signed(self.now - age);
        self.devices.push(Device { born, connected: true });
        let id = self.devices.len() as u64 - 1;
        self.plan(id);
        self.tell(id);
    }

    fn plan(&mut self, id: Id) {
        let born = self.devices[id as usize].born;
        let asks = self.life * 80 / 100 + self.draw.within(self.life / 10);
        for (after, then) in [(asks, Then::Asks), (self.life, Then::Expires)] {
            let second = unsigned(born + signed(after)) / 1000 + 1;
            self.calendar.entry(second).or_default().push((id, born, then));
        }
    }

    fn tell(&mut self, id: Id) {
        let device = self.devices[id as usize];
        let age = unsigned(signed(self.now) - device.born);
        if let Some(pacer) = &mut self.pacer {
            assert!(pacer.session(id, Life { age, whole: self.life }, self.now));
        }
    }

    fn has_new_token(&mut self, id: Id) {
        self.devices[id as usize] = Device { born: signed(self.now), connected: true };
        self.plan(id);
        self.tell(id);
    }

    /// Lets time pass.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let (mut pushed, mut pulled) = (0, 0);
            for _ in 0..1000 / TICK {
                self.now += TICK;
                while let Some((at, id)) = self.arriving.first().copied() {
                    if at > self.now {
                        break;
                    }
                    self.arriving.remove(&(at, id));
                    if self.devices[id as usize].connected {
                        self.has_new_token(id);
                    }
                }
                if let Some(pacer) = &mut self.pacer {
                    pacer.unanswered(self.now);
                    for due in pacer.take(self.now, usize::MAX) {
                        pushed += 1;
                        self.arriving.insert((self.now + LATENCY, due.id));
                    }
                }
            }
            for (id, born, then) in self.calendar.remove(&(self.now / 1000)).unwrap_or_default() {
                let device = self.devices[id as usize];
                match then {
                    _ if !device.connected || device.born != born => {}
                    Then::Asks if self.answers => {
                        pulled += 1;
                        self.has_new_token(id);
                    }
                    Then::Asks => {}
                    Then::Expires => {
                        self.expired += 1;
                        self.devices[id as usize].connected = false;
                        if let Some(pacer) = &mut self.pacer {
                            pacer.gone(id);
                        }
                    }
                }
            }
            self.pushes.push(pushed);
            self.pulls.push(pulled);
        }
    }

    /// Provisioning starts anew, and hears of all sessions in two seconds.
    fn start_anew(&mut self, seed: u64) {
        self.pacer = Some(Pacer::new(1_000_000, seed));
        self.arriving.clear();
        self.answers = true;
        let mut ids: Vec<u64> = (0..self.devices.len() as u64).collect();
        for at in (1..ids.len()).rev() {
            ids.swap(at, self.draw.within(at as u64 + 1) as usize);
        }
        for half in ids.chunks(ids.len() / 2 + 1) {
            for id in half {
                if self.devices[*id as usize].connected {
                    self.tell(*id);
                }
            }
            self.run(1);
        }
    }

    /// The mean rate when each device is pushed a token at 65 % of the life.
    fn mean(&self) -> f64 {
        FLEET as f64 / (self.life as f64 / 1000.0 * 0.65)
    }

    fn most_from(&self, second: usize) -> f64 {
        f64::from(self.pushes[second..].iter().copied().max().unwrap())
    }

    #[track_caller]
    fn is_even_from(&self, second: usize) {
        let (most, mean) = (self.most_from(second), self.mean());
        assert!(most <= 1.3 * mean, "{most} in a second, the mean is {mean:.1}");
    }

    fn pulled(&self) -> u64 {
        self.pulls.iter().map(|count| u64::from(*count)).sum()
    }
}

#[test]
fn a_steady_fleet_is_pushed_evenly() {
    let mut world = World::steady(QUARTER_HOUR);
    world.run(1300);
    world.is_even_from(0);
    let pushed: u64 = world.pushes.iter().map(|count| u64::from(*count)).sum();
    let mean = pushed as f64 / 1300.0;
    assert!((mean / world.mean() - 1.0).abs() < 0.1, "{mean} a second");
    assert!(world.most_from(0) <= 1.3 * mean);
    assert_eq!((world.pulled(), world.expired), (0, 0), "each token came in time");
}

#[test]
fn a_mass_enrolment_in_a_minute_makes_no_wave() {
    let mut world = World::new(QUARTER_HOUR);
    for _ in 0..60 {
        for _ in 0..FLEET / 60 + 1 {
            if (world.devices.len() as u64) < FLEET {
                world.enrol(0);
            }
        }
        world.run(1);
    }
    world.run(1500);
    world.is_even_from(0);
    assert_eq!((world.pulled(), world.expired), (0, 0));
}

#[test]
fn a_restart_makes_no_wave() {
    let mut world = World::steady(QUARTER_HOUR);
    world.run(300);
    (world.pacer, world.answers) = (None, false);
    world.run(30);
    let at = world.pushes.len();
    world.start_anew(8);
    world.run(900);
    world.is_even_from(at);
    assert_eq!(world.expired, 0);
}

#[test]
fn after_an_hour_without_provisioning_the_fleet_comes_back_evenly() {
    let mut world = World::steady(QUARTER_HOUR);
    world.run(100);
    (world.pacer, world.answers) = (None, false);
    world.run(3600);
    assert_eq!(world.expired as u64, FLEET, "no token lives an hour");
    let at = world.pushes.len();
    world.start_anew(9);
    // Devices come back by themselves within two minutes, the pauses of which are jittered.
    for second in 0..120 {
        for id in 0..FLEET {
            if id % 120 == second {
                world.has_new_token(id);
            }
        }
        world.run(1);
    }
    world.run(1800);
    world.is_even_from(at);
    assert_eq!(world.pulled(), 0);
}

/// Tokens of two hours outlive the outage: more than half of the sessions that are left are overdue when it ends.
#[test]
fn a_backlog_of_an_hour_is_caught_up_at_a_bounded_rate() {
    let mut world = World::steady(8 * QUARTER_HOUR);
    world.run(60);
    (world.pacer, world.answers) = (None, false);
    world.run(3600);
    let (at, lost) = (world.pushes.len(), world.expired);
    let lives = FLEET as usize - lost;
    world.start_anew(10);
    // No device asks by itself: all that keeps a session is the push.
    world.answers = false;
    world.run(7200);
    world.is_even_from(at);
    let late = world.expired - lost;
    assert!(late < lives / 4, "{late} of {lives} have expired");
}

/// The network between a broker and provisioning is away for an hour; devices reach both, and ask by themselves.
#[test]
fn after_an_hour_without_the_broker_push_takes_over_again() {
    let mut world = World::steady(QUARTER_HOUR);
    world.run(100);
    world.pacer = None;
    world.run(3600);
    assert!(world.pulled() > 4 * FLEET, "devices asked by themselves");
    assert_eq!(world.expired, 0);
    let at = world.pushes.len();
    world.start_anew(11);
    let asked = world.pulled();
    world.run(1800);
    world.is_even_from(at);
    assert!(world.pulled() - asked < FLEET / 10, "{} asked", world.pulled() - asked);
}

#[test]
fn a_small_fleet_is_pushed_at_two_thirds() {
    let mut pacer = Pacer::new(1000, 1);
    for id in 0..100 {
        pacer.session(id, Life { age: 0, whole: QUARTER_HOUR }, 50_000);
    }
    for (at, _) in &pacer.waits {
        let age = at - 50_000;
        assert!((540_000..=630_000).contains(&age), "{age}");
    }
}

#[test]
fn a_token_that_was_pulled_moves_the_push_and_a_session_that_left_is_no_cost() {
    let mut pacer = Pacer::new(1000, 1);
    pacer.session(1, Life { age: 500_000, whole: QUARTER_HOUR }, 1_000_000);
    pacer.session(1, Life { age: 0, whole: QUARTER_HOUR }, 1_000_000);
    assert_eq!(pacer.waiting(), 1);
    assert!(pacer.waits.first().unwrap().0 >= 1_540_000);
    pacer.gone(1);
    assert_eq!((pacer.waiting(), pacer.load.len(), pacer.weight), (0, 0, 0));
    assert_eq!(pacer.take(9_000_000, 10), []);
}

#[test]
fn a_push_without_an_outcome_is_tried_again_and_then_left() {
    let mut pacer = Pacer::new(1000, 1);
    let mut now = 1_000_000;
    pacer.session(1, Life { age: 0, whole: 100 * QUARTER_HOUR }, now);
    let mut tries = 0;
    let mut last = None;
    while pacer.waiting() + pacer.sent.len() > 0 {
        now += 1000;
        pacer.unanswered(now);
        if !pacer.take(now, 5).is_empty() {
            tries += 1;
            assert!(last.is_none_or(|last| now - last >= PUSH_ANSWER_MILLIS), "with a pause");
            last = Some(now);
        }
    }
    assert_eq!(tries, PUSH_TRIES + 1);
    // The next token of the session begins anew.
    pacer.session(1, Life { age: 0, whole: QUARTER_HOUR }, now);
    assert_eq!(pacer.waiting(), 1);
}

#[test]
fn a_token_that_is_nearly_over_is_left_to_its_device() {
    let mut pacer = Pacer::new(1000, 1);
    pacer.session(1, Life { age: 890_000, whole: QUARTER_HOUR }, 1_000_000);
    assert_eq!(pacer.waiting(), 0);
    pacer.session(2, Life { age: 860_000, whole: QUARTER_HOUR }, 1_000_000);
    let due = pacer.take(1_000_001, 10);
    assert_eq!(due, [Due { id: 2, late: true }]);
}

#[test]
fn no_more_leave_than_there_is_room_and_than_the_most_in_a_second() {
    let mut pacer = Pacer::new(40, 1);
    for id in 0..10_000 {
        pacer.session(id, Life { age: 830_000, whole: QUARTER_HOUR }, 1_000_000);
    }
    for now in (1_000_000..1_002_000).step_by(100) {
        assert!(pacer.take(now, 3).len() <= 3);
    }
    let mut left = 0;
    for now in (1_002_000..1_003_000).step_by(100) {
        left += pacer.take(now, usize::MAX).len();
    }
    assert!(left <= 50, "{left}");
}

#[test]
fn a_session_whose_token_has_ended_is_forgotten_also_when_no_end_is_told() {
    let life = Life { age: 0, whole: QUARTER_HOUR };
    let mut pacer = Pacer::new(1_000_000, 7);
    let mut now = 10 * QUARTER_HOUR;
    let until = now + QUARTER_HOUR;
    for id in 0..40 {
        assert!(pacer.session(id, life, now));
    }
    // A fourth fails for good, a fourth has no outcome ever, a fourth is renewed once, and the others are not even taken.
    let (mut forgotten, mut renewed) = (Vec::new(), 0);
    while now < until {
        now += TICK;
        pacer.unanswered(now);
        for due in pacer.take(now, usize::MAX) {
            match due.id % 4 {
                0 => pacer.rest(due.id),
                1 if renewed < 10 => {
                    renewed += 1;
                    assert!(pacer.session(due.id, life, now));
                }
                1 => pacer.rest(due.id),
                2 => {}
                _ => pacer.failed(due.id, now),
            }
        }
        forgotten.extend(pacer.ended(now));
    }
    assert_eq!((forgotten.len(), pacer.known.len()), (30, 10), "those with a token that lives");
    assert!(forgotten.iter().all(|id| id % 4 != 1));
    now += QUARTER_HOUR;
    pacer.take(now, usize::MAX);
    assert_eq!(pacer.ended(now).len(), 10);
    assert!(pacer.known.is_empty() && pacer.rests.is_empty() && pacer.load.is_empty());
    assert_eq!((pacer.weight, pacer.waiting()), (0, 0));
}

#[test]
fn a_life_that_cannot_be_gives_no_higher_rate() {
    let mut pacer = Pacer::new(1_000_000, 7);
    for id in 0..1_000 {
        pacer.session(id, Life { age: 0, whole: 1 }, 1_000_000);
    }
    let least = PUSH_LIFE_MILLIS_LEAST * PUSH_SHARE_PERCENT / 100;
    assert!(pacer.rate_millis() <= 1_000 * 1_000_000 / least + 1);
}
