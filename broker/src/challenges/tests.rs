use std::net::{IpAddr, Ipv4Addr};

use super::*;

const NOW: Duration = Duration::from_secs(1_000);

fn from(number: u32) -> Prefix {
    Prefix::of(IpAddr::V4(Ipv4Addr::from_bits(number << 8)))
}

fn challenges(per_second: u32, per_second_of_prefix: u32) -> Challenges {
    let limits = ChallengeLimits { per_second, per_second_of_prefix };
    Challenges::new(AceChallenge::Always, limits)
}

/// How many of so many tries find a place, and the code of the first that does not.
fn taken(
    challenges: &Challenges,
    from: Prefix,
    tries: usize,
    now: Duration,
) -> (usize, Option<RefusalCode>) {
    let mut refused = None;
    let opened = (0..tries).filter(|_| match challenges.open(from, now) {
        Ok(_) => true,
        Err(code) => {
            refused.get_or_insert(code);
            false
        }
    });
    (opened.count(), refused)
}

#[test]
fn a_second_has_so_many_of_a_prefix_and_of_all() {
    let challenges = challenges(30, 20);
    assert_eq!(taken(&challenges, from(1), 25, NOW), (20, Some(RefusalCode::RateLimited)));
    assert_eq!(taken(&challenges, from(2), 25, NOW), (10, Some(RefusalCode::LimitReached)));
    // A try that is refused takes nothing from the prefix that comes next.
    let later = NOW + Duration::from_secs(1);
    assert_eq!(taken(&challenges, from(3), 20, later), (20, None));
}

#[test]
fn open_ones_are_bounded_and_given_back() {
    let challenges = challenges(u32::MAX, u32::MAX);
    let mut held = Vec::new();
    for prefix in 0.. {
        let before = held.len();
        held.extend((0..CHALLENGES_OPEN).map_while(|_| challenges.open(from(prefix), NOW).ok()));
        match held.len() - before {
            0 => break,
            opened => assert!(opened <= CHALLENGES_OPEN_PER_PREFIX),
        }
    }
    assert_eq!(held.len(), CHALLENGES_OPEN);
    assert_eq!(challenges.open(from(9_999), NOW).err(), Some(RefusalCode::LimitReached));
    held.pop();
    assert!(challenges.open(from(9_999), NOW).is_ok());
    held.truncate(CHALLENGES_OPEN_PER_PREFIX);
    assert_eq!(challenges.open(from(0), NOW).err(), Some(RefusalCode::RateLimited));
}

#[test]
fn remembered_prefixes_are_bounded_and_idle_ones_give_way() {
    let challenges = challenges(u32::MAX, 1);
    for number in 0..CHALLENGE_SOURCES as u32 {
        assert!(challenges.open(from(number), NOW).is_ok());
    }
    assert_eq!(challenges.open(from(1 << 20), NOW).err(), Some(RefusalCode::LimitReached));
    assert!(challenges.open(from(1 << 20), NOW + Duration::from_secs(2)).is_ok());
    assert_eq!(challenges.book.lock().known.len(), 1);
}

#[test]
fn the_setting_says_where_the_challenge_of_the_rfc_lets_in() {
    let limits = ChallengeLimits { per_second: 1, per_second_of_prefix: 1 };
    for (offer, clear, tls, renews) in [
        (AceChallenge::Never, false, false, false),
        (AceChallenge::ClearOnly, true, false, true),
        (AceChallenge::Always, true, true, true),
    ] {
        let challenges = Challenges::new(offer, limits);
        let found = [false, true].map(|encrypted| challenges.may_let_in(encrypted).is_ok());
        assert_eq!((found, challenges.may_renew().is_ok()), ([clear, tls], renews), "{offer:?}");
    }
}

#[test]
fn a_session_reauthenticates_a_few_times_and_then_seldom() {
    let mut again = Again::default();
    let taken = (0..100).filter(|_| again.take(NOW).is_ok()).count();
    assert_eq!(taken, REAUTHENTICATIONS_AT_ONCE as usize);
    let mut now = NOW;
    for _ in 0..10 {
        now += REAUTHENTICATION_EVERY;
        assert_eq!(again.take(now), Ok(()));
        assert_eq!(again.take(now), Err(RefusalCode::RateLimited));
    }
}
