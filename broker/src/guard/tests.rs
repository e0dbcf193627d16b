use std::sync::Arc;
use std::time::Duration;

use tessera_agent::trust::Restrained;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::time::UnixSeconds;
use tessera_token::trust::Step;

use super::clamp::Clamp;
use super::restraint::Restraints;
use crate::limits::{CLAMP_PAUSE, RESTRAINT_OF_RULE};

fn names() -> (TenantId, DeviceId) {
    (TenantId::parse("acme").unwrap(), DeviceId::parse("d-1").unwrap())
}

#[test]
fn a_clamp_lets_a_burst_through_and_then_its_rate() {
    let clamp = Clamp::default();
    let at = Duration::from_secs(100);
    let pauses: Vec<_> = (0..7).map(|_| clamp.count(10, at)).collect();
    assert_eq!(pauses[..5], [None; 5]);
    assert_eq!(pauses[5..], [Some(at + Duration::from_secs(1)), Some(at + Duration::from_secs(2))]);
    assert_eq!(clamp.count(10, at + Duration::from_secs(60)), None);
    // Bytes count too, and no pause is endless.
    assert_eq!(clamp.count(usize::MAX, at), Some(at + CLAMP_PAUSE));
}

#[test]
fn the_stronger_restraint_counts_and_a_newer_release_ends_that_of_a_rule() {
    let ((tenant, device), restraints) = (names(), Restraints::default());
    let now = UnixSeconds::new(1000);
    let step = |told, now| restraints.of(&tenant, &device, told, now).step;
    assert_eq!(step(None, now), Step::Released);
    assert!(restraints.raise(&tenant, &device, Step::Clamp, now));
    assert!(restraints.raise(&tenant, &device, Step::Quarantine, now));
    assert!(restraints.raise(&tenant, &device, Step::Clamp, now));
    assert_eq!(step(None, now), Step::Quarantine);
    let told = |step, at, until| {
        Some(Restrained { step, at: UnixSeconds::new(at), until: UnixSeconds::new(until) })
    };
    assert_eq!(step(told(Step::Clamp, 990, 5000), now), Step::Quarantine);
    assert_eq!(step(told(Step::Released, 999, 5000), now), Step::Quarantine);
    assert_eq!(step(told(Step::Released, 1000, 5000), now), Step::Released);
    let later = now.plus(RESTRAINT_OF_RULE);
    assert_eq!(step(told(Step::Clamp, 990, 5000), later), Step::Clamp);
    assert_eq!((step(None, later), restraints.count(later)), (Step::Released, 0));
}

#[test]
fn all_sessions_of_a_device_share_one_rate() {
    let ((tenant, device), restraints) = (names(), Restraints::default());
    let one = restraints.clamp(&tenant, &device, Duration::ZERO);
    assert!(Arc::ptr_eq(&one, &restraints.clamp(&tenant, &device, Duration::ZERO)));
}
