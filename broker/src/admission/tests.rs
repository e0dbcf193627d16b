use super::*;

fn limits() -> AdmissionLimits {
    AdmissionLimits {
        sockets: 10,
        sockets_per_prefix: 3,
        half_open: 4,
        half_open_per_prefix: 2,
        connects_per_second: 5,
    }
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
    assert_eq!(admission.enter(peer("10.0.0.3"), now).err(), Some(Turned::PrefixHalfOpen));
    assert!(admission.enter(peer("10.0.1.1"), now).is_ok());
    second.connected();
    second.connected();
    let third = admission.enter(peer("10.0.0.3"), now).unwrap();
    assert_eq!(admission.enter(peer("10.0.0.4"), now).err(), Some(Turned::PrefixSockets));
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
    assert_eq!(admission.enter(peer("10.1.0.1"), Duration::ZERO).err(), Some(Turned::HalfOpen));
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
    assert_eq!(admission.enter(peer("2001:db8::2"), at).err(), Some(Turned::PrefixRate));
    assert!(admission.enter(peer("2001:db8:0:100::1"), at).is_ok());
    assert!(admission.enter(peer("2001:db8::2"), at + Duration::from_millis(200)).is_ok());
    assert_eq!(
        admission.enter(peer("2001:db8::2"), at + Duration::from_millis(200)).err(),
        Some(Turned::PrefixRate)
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
    assert_eq!(newcomer().err(), Some(Turned::Prefixes));
    // One that is known already is still served, and who leaves makes room.
    drop(admission.enter(at(7), now).unwrap());
    drop(held.pop());
    assert!(newcomer().is_ok());
}
