use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tokio::net::TcpListener;

use super::*;
use crate::limits::{HALF_OPEN, VISIT_BURST};

const NOW: Duration = Duration::from_secs(1);

fn from(number: u32) -> Prefix {
    Prefix::of(IpAddr::V4(Ipv4Addr::from_bits(number << 8)))
}

fn claim() -> ClaimCheck {
    ClaimCheck {
        tenant: "acme".parse().unwrap(),
        device: "d-1".parse().unwrap(),
        claim: ClaimCode::parse("TSR-0A1B2-CDEFG-HJKMN-PQRST").unwrap(),
    }
}

/// A service that takes connections and says nothing.
async fn silent() -> (TcpListener, Arc<Relay>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, Arc::new(Relay::new(Some(url.into()), None, 2).unwrap()))
}

/// Asks in the background; each question is of a prefix of its own.
fn asks(enrolment: &Arc<Enrolment>, relay: &Arc<Relay>, count: usize, suspect: bool) {
    for number in 0..u32::try_from(count).unwrap() {
        let (enrolment, relay) = (Arc::clone(enrolment), Arc::clone(relay));
        tokio::spawn(async move {
            let _ = enrolment.check(&relay, &claim(), (from(number), suspect)).await;
        });
    }
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn checks_have_few_places_and_suspects_a_part_of_them() {
    let (_listener, relay) = silent().await;
    let enrolment = Arc::new(Enrolment::new(true, HALF_OPEN));
    asks(&enrolment, &relay, ENROL_SUSPECTS, true);
    until(|| enrolment.suspects.available_permits() == 0).await;
    assert_eq!(enrolment.checks.available_permits(), ENROL_CHECKS - ENROL_SUSPECTS);
    let limited = Err(RefusalCode::LimitReached);
    assert_eq!(enrolment.check(&relay, &claim(), (from(99), true)).await, limited);
    asks(&enrolment, &relay, ENROL_CHECKS - ENROL_SUSPECTS, false);
    until(|| enrolment.checks.available_permits() == 0).await;
    assert_eq!(enrolment.check(&relay, &claim(), (from(99), false)).await, limited);
}

#[tokio::test]
async fn relays_are_apart_from_checks() {
    let (_listener, relay) = silent().await;
    let enrolment = Arc::new(Enrolment::new(true, HALF_OPEN));
    asks(&enrolment, &relay, ENROL_CHECKS, false);
    until(|| enrolment.checks.available_permits() == 0).await;
    let held: Vec<_> = (0..ENROL_RELAYS).map(|_| enrolment.may_relay().unwrap()).collect();
    assert_eq!(enrolment.may_relay().err(), Some(RefusalCode::LimitReached));
    drop(held);
    assert!(enrolment.may_relay().is_ok());
}

#[tokio::test]
async fn a_service_that_is_away_costs_a_prefix_nothing() {
    let relay = Relay::new(None, None, 2).unwrap();
    let enrolment = Enrolment::new(true, HALF_OPEN);
    for _ in 0..2 * VISIT_BURST {
        let _visit = enrolment.enter(from(1), NOW).unwrap();
        let outcome = enrolment.check(&relay, &claim(), (from(1), false)).await;
        assert_eq!(outcome, Err(RefusalCode::NotReady));
    }
}

#[test]
fn tries_are_counted_before_places_and_one_without_a_place_is_none() {
    let enrolment = Enrolment::new(true, HALF_OPEN);
    for _ in 0..VISIT_BURST {
        drop(enrolment.enter(from(1), NOW).unwrap());
    }
    assert_eq!(enrolment.enter(from(1), NOW).err(), Some(RefusalCode::RateLimited));
    let held: Vec<_> = (0..).map_while(|_| enrolment.enter(from(2), NOW).ok()).collect();
    assert_eq!(held.len(), VISIT_BURST as usize, "each was counted");
}

#[test]
fn a_refusal_that_is_not_about_the_claim_is_a_fault_of_the_service() {
    let about = [
        RefusalCode::ClaimUnknown,
        RefusalCode::ClaimUsed,
        RefusalCode::ClaimMismatch,
        RefusalCode::TenantSuspended,
        RefusalCode::OperatorNotAllowed,
        RefusalCode::LimitReached,
        RefusalCode::RateLimited,
    ];
    for code in RefusalCode::ALL {
        let expected = if about.contains(code) { *code } else { RefusalCode::NotReady };
        assert_eq!(judged(*code), expected);
    }
}
