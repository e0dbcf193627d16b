use super::*;

fn limits() -> AdmissionLimits {
    AdmissionLimits {
        sockets: 10,
        sockets_per_prefix: 3,
        half_open: 4,
        half_open_per_prefix: 2,
        connects_per_second: 5,
        suspects_per_second: 20,
    }
}

fn token() -> TokenHash {
    TokenHash::of(b"token")
}

fn peer(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn half_open_sockets_of_a_prefix_are_bounded_and_given_back() {
    let admission = Admission::new(limits());
    let now = Duration::ZERO;
    let first = admission.enter(peer("10.0.0.1"), now).unwrap();
    let mut second = admission.enter(peer("10.0.0.2"), now).unwrap();
    assert_eq!(admission.enter(peer("10.0.0.3"), now).err(), Some(Rejected::PrefixHalfOpen));
    assert!(admission.enter(peer("10.0.1.1"), now).is_ok());
    second.connected(&token());
    second.connected(&token());
    let third = admission.enter(peer("10.0.0.3"), now).unwrap();
    assert_eq!(admission.enter(peer("10.0.0.4"), now).err(), Some(Rejected::PrefixSockets));
    drop((first, second, third));
    assert_eq!(admission.half_open(), 0);
    assert!(admission.enter(peer("::ffff:10.0.0.9"), now).is_ok());
}

#[test]
fn half_open_sockets_in_total_are_bounded() {
    let admission = Admission::new(limits());
    let held: Vec<_> =
        (1..=4).map(|n| admission.enter(peer(&format!("10.0.{n}.1")), Duration::ZERO)).collect();
    assert!(held.iter().all(Result::is_ok));
    assert_eq!(admission.enter(peer("10.1.0.1"), Duration::ZERO).err(), Some(Rejected::HalfOpen));
    drop(held);
    assert!(admission.enter(peer("10.1.0.1"), Duration::ZERO).is_ok());
}

#[test]
fn connects_of_a_prefix_have_a_rate() {
    let admission = Admission::new(limits());
    let at = Duration::from_secs(100);
    for _ in 0..5 {
        drop(admission.enter(peer("2001:db8::1"), at).unwrap());
    }
    assert_eq!(admission.enter(peer("2001:db8::2"), at).err(), Some(Rejected::PrefixRate));
    assert!(admission.enter(peer("2001:db8:0:100::1"), at).is_ok());
    assert!(admission.enter(peer("2001:db8::2"), at + Duration::from_millis(200)).is_ok());
    assert_eq!(
        admission.enter(peer("2001:db8::2"), at + Duration::from_millis(200)).err(),
        Some(Rejected::PrefixRate)
    );
}

#[test]
fn prefixes_read_well() {
    assert_eq!(Prefix::of(peer("192.0.2.77")).to_string(), "192.0.2.0/24");
    assert_eq!(Prefix::of(peer("2001:db8:1:2ff::1")).to_string(), "2001:db8:1:200::/56");
}

#[test]
fn remembered_prefixes_are_bounded_and_idle_ones_give_way() {
    let many = AdmissionLimits { half_open: usize::MAX, ..limits() };
    let admission = Admission::new(many);
    let at = |n: usize| {
        IpAddr::from(((n as u128) << (128 - crate::limits::IPV6_PREFIX_BITS)).to_be_bytes())
    };
    let now = Duration::ZERO;
    let mut held: Vec<_> =
        (1..=crate::limits::PREFIXES).map(|n| admission.enter(at(n), now).unwrap()).collect();
    let newcomer = || admission.enter(at(crate::limits::PREFIXES + 1), now);
    assert_eq!(newcomer().err(), Some(Rejected::Prefixes));
    // One that is known already is still served, and who leaves makes room.
    drop(admission.enter(at(7), now).unwrap());
    drop(held.pop());
    assert!(newcomer().is_ok());
}

const SILENT: Duration = crate::limits::SILENT_AT_LEAST;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Sockets that end without a CONNECT.
fn strike(admission: &Admission, from: &str, times: u32, now: Duration) {
    for _ in 0..times {
        drop(admission.enter(peer(from), now).unwrap());
    }
}

fn roomy() -> AdmissionLimits {
    AdmissionLimits {
        sockets: 100_000,
        sockets_per_prefix: 100_000,
        half_open: 8,
        half_open_per_prefix: 100,
        connects_per_second: 100_000,
        suspects_per_second: 20,
    }
}

#[test]
fn the_oldest_silent_socket_makes_room_but_never_soon() {
    let admission = Admission::new(limits());
    let enter = |n: u8, at| admission.enter(peer(&format!("10.0.{n}.1")), at);
    let mut held: Vec<_> = (1..=4).map(|n| enter(n, ms(n.into())).unwrap()).collect();
    assert_eq!(enter(9, SILENT).err(), Some(Rejected::HalfOpen));
    // Of the first one a byte has come: the second is the oldest silent one.
    held[0].heard();
    let newcomer = enter(9, SILENT + ms(2)).unwrap();
    assert_eq!(admission.half_open(), 4);
    let stays: Vec<_> = held.iter_mut().map(SocketPermit::judged).collect();
    assert_eq!(stays, [true, false, true, true]);
    drop((held, newcomer));
    assert_eq!((admission.half_open(), admission.sockets()), (0, 0));
}

#[test]
fn the_oldest_silent_socket_of_a_full_prefix_makes_room() {
    let admission = Admission::new(limits());
    let mut other = admission.enter(peer("10.0.0.1"), Duration::ZERO).unwrap();
    let mut first = admission.enter(peer("10.0.1.1"), Duration::ZERO).unwrap();
    let mut second = admission.enter(peer("10.0.1.1"), ms(1)).unwrap();
    assert!(admission.enter(peer("10.0.1.2"), SILENT).is_ok());
    assert_eq!([other.judged(), first.judged(), second.judged()], [true, false, true]);
}

#[test]
fn sockets_that_were_told_to_go_are_bounded() {
    let most = crate::limits::CALLED_SOCKETS;
    let admission = Admission::new(AdmissionLimits { half_open: most, ..roomy() });
    let enter = |n: usize, at| admission.enter(peer(&format!("10.{}.{}.1", n / 256, n % 256)), at);
    let old: Vec<_> = (0..most).map(|n| enter(n, Duration::ZERO).unwrap()).collect();
    let new: Vec<_> = (0..most).map(|n| enter(most + n, SILENT).unwrap()).collect();
    assert_eq!((admission.half_open(), admission.sockets()), (most, 2 * most));
    assert_eq!(enter(9999, SILENT * 2).err(), Some(Rejected::HalfOpen));
    drop(old);
    assert!(enter(9999, SILENT * 2).is_ok());
    drop(new);
    assert_eq!((admission.half_open(), admission.sockets()), (0, 0));
}

#[test]
fn a_part_of_the_places_is_for_prefixes_that_hold_few() {
    let admission = Admission::new(roomy());
    let enter = |from: &str| admission.enter(peer(from), Duration::ZERO);
    let _greedy: Vec<_> = (0..6).map(|_| enter("10.0.0.1").unwrap()).collect();
    assert_eq!(enter("10.0.0.1").err(), Some(Rejected::HalfOpen));
    let _modest = [enter("10.0.1.1").unwrap(), enter("10.0.1.1").unwrap()];
    assert_eq!(enter("10.0.2.1").err(), Some(Rejected::HalfOpen));
}

#[test]
fn strikes_make_suspect_and_time_and_connects_forgive() {
    let admission = Admission::new(roomy());
    let suspect = |from: &str, now| {
        let mut permit = admission.enter(peer(from), now).unwrap();
        permit.mark_not_at_fault();
        permit.is_suspect()
    };
    strike(&admission, "10.0.0.1", crate::limits::SUSPECT_STRIKES - 1, Duration::ZERO);
    assert!(!suspect("10.0.0.7", Duration::ZERO));
    strike(&admission, "10.0.0.2", 1, Duration::ZERO);
    assert!(suspect("10.0.0.7", Duration::ZERO));
    assert!(!suspect("10.0.1.7", Duration::ZERO));
    assert!(!suspect("10.0.0.7", Duration::from_secs(1)));
    strike(&admission, "10.0.0.2", 1, Duration::from_secs(1));
    let mut honest = admission.enter(peer("10.0.0.3"), Duration::from_secs(1)).unwrap();
    assert!(honest.is_suspect());
    honest.connected(&token());
    honest.connected(&token());
    assert!(!suspect("10.0.0.7", Duration::from_secs(1)));
    // Once forgiven: four connects' worth, not eight.
    strike(&admission, "10.0.0.2", 4, Duration::from_secs(1));
    assert!(suspect("10.0.0.7", Duration::from_secs(1)));
    drop(honest);
    // A socket that ends after its CONNECT was accepted is no strike.
    assert!(!suspect("10.0.0.7", Duration::from_secs(2)));
}

#[test]
fn the_worst_prefix_is_forgiven_in_about_a_minute() {
    let admission = Admission::new(AdmissionLimits { suspects_per_second: 1_000_000, ..roomy() });
    strike(&admission, "10.0.0.1", 10_000, Duration::ZERO);
    let most = u64::from(crate::limits::STRIKES_MOST - crate::limits::SUSPECT_STRIKES);
    let suspect = |second| {
        let mut permit = admission.enter(peer("10.0.0.2"), Duration::from_secs(second)).unwrap();
        permit.mark_not_at_fault();
        permit.is_suspect()
    };
    assert!(suspect(most));
    assert!(!suspect(most + 1));
}

#[test]
fn suspects_share_evenly_what_is_left_and_others_notice_nothing() {
    let admission = Admission::new(AdmissionLimits { suspects_per_second: 1000, ..roomy() });
    let (one, two) = ("10.0.1.1", "10.0.2.1");
    strike(&admission, one, 64, Duration::ZERO);
    strike(&admission, two, 64, Duration::ZERO);
    let served = |from: &str, times, at| {
        let enter =
            |_: &u32| admission.enter(peer(from), at).map(|mut t| t.mark_not_at_fault()).is_ok();
        (0..times).filter(enter).count()
    };
    // Two hundred in each window of 200 ms; at first one cannot know of the other.
    assert_eq!([served(one, 500, ms(1000)), served(two, 500, ms(1000))], [200, 0]);
    assert_eq!(admission.enter(peer(one), ms(1000)).err(), Some(Rejected::SuspectRate));
    for window in 1..20 {
        let at = ms(1000 + window * 200);
        let both = [served(one, 500, at), served(two, 5000, at)];
        assert!(both.iter().all(|served| (60..=140).contains(served)), "{both:?}");
        assert_eq!(served("10.0.3.1", 500, at), 500);
    }
    // After a quiet time the one who asks has all.
    assert_eq!(served(one, 500, ms(6000)), 200);
}

#[test]
fn suspects_that_keep_knocking_stay_suspect() {
    let admission = Admission::new(AdmissionLimits { suspects_per_second: 1, ..roomy() });
    let prefixes: Vec<_> = (0..50).map(|n| format!("10.0.{n}.1")).collect();
    prefixes.iter().for_each(|from| strike(&admission, from, 16, Duration::ZERO));
    // Each is served, and so a strike, once in ten seconds: much less than time forgives.
    let mut served = 0;
    for at in 1..=600 {
        let enter = |from: &&String| admission.enter(peer(from), ms(at * 100)).is_ok();
        served += prefixes.iter().filter(enter).count();
    }
    assert!((100..=301).contains(&served), "{served}");
}

#[test]
fn suspects_hold_half_of_the_places_and_make_room_first() {
    let admission = Admission::new(AdmissionLimits { suspects_per_second: 1000, ..roomy() });
    strike(&admission, "10.0.1.1", 16, Duration::ZERO);
    let mut held: Vec<_> =
        (0..4).map(|_| admission.enter(peer("10.0.1.1"), ms(1)).unwrap()).collect();
    assert_eq!(admission.enter(peer("10.0.1.1"), ms(1)).err(), Some(Rejected::HalfOpen));
    // A byte is not enough for a suspect.
    held.iter_mut().for_each(SocketPermit::heard);
    let _others: Vec<_> =
        (0..4).map(|n| admission.enter(peer(&format!("10.1.{n}.1")), ms(2)).unwrap()).collect();
    assert_eq!(admission.enter(peer("10.2.0.1"), ms(2)).err(), Some(Rejected::HalfOpen));
    assert!(admission.enter(peer("10.2.0.1"), ms(251)).is_ok());
    assert!(!held[0].judged());
    assert!(held[1].judged());
}

/// Ten prefixes offer a hundred bad connects a second each, ten times what is left for suspects. In one of them an
/// honest device tries once a second until it is in.
#[test]
fn an_honest_device_behind_the_prefix_of_an_attacker_is_served() {
    let admission = Admission::new(AdmissionLimits { suspects_per_second: 100, ..roomy() });
    let (mut tries, mut waits, mut served) = (0u32, Vec::new(), 0u32);
    for step in 0..60_000u64 {
        let now = ms(step);
        let attacker = format!("10.0.{}.1", step % 10);
        served += u32::from(admission.enter(peer(&attacker), now).is_ok());
        if step % 1000 == 500 {
            tries += 1;
            if let Ok(mut permit) = admission.enter(peer("10.0.3.99"), now) {
                permit.connected(&token());
                waits.push(std::mem::take(&mut tries));
            }
        }
    }
    assert!(waits.len() >= 4, "{waits:?}");
    assert!(waits.iter().all(|tries| *tries <= 30), "{waits:?}");
    // The attackers had their first strikes, what is left for suspects, and what an honest neighbour earned.
    assert!(served <= 10 * 16 + 60 * 100 + 4 * 60, "{served}");
}

#[test]
fn answers_that_wait_are_bounded_and_given_back() {
    let admission = Admission::new(AdmissionLimits { sockets_per_prefix: 9, ..limits() });
    let now = Duration::ZERO;
    let prefix = Prefix::of(peer("10.0.0.1"));
    let guess = Guess { credential: 1, pair: 1 };
    // Without a socket there is no answer to wait.
    assert!(admission.wait(prefix).is_none());
    let socket = admission.enter(peer("10.0.0.1"), now).unwrap();
    assert_eq!(admission.guessed(prefix, guess, now).step, Step::Open);
    let places = || -> Vec<_> { std::iter::from_fn(|| admission.wait(prefix)).collect() };
    let held = places();
    assert_eq!(held.len(), crate::limits::DOOR_WAITING_PER_PREFIX);
    drop(held);
    assert_eq!(places().len(), crate::limits::DOOR_WAITING_PER_PREFIX);
    drop(socket);
}
