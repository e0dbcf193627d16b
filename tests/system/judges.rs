//! The judges in short. `docs/testing.md` tells the long runs; each prints its seed and the command that repeats it.

use tessera_tests::judge::{bent, clocks, floods, kills, power, soak, why_no_power_cuts};
use tessera_tests::site::Role;

/// The seed of what runs in CI.
const SEED: u64 = 20_261_128;

#[test]
fn twenty_power_cuts_lose_nothing_that_was_acknowledged() {
    // Where no loop device can be made, tests/run has said so: a test has no other way to be left out.
    if let Some(why) = why_no_power_cuts() {
        println!("power cuts are left out: {why}");
        return;
    }
    power::judge(&power::Options { cuts: 20, seed: SEED, sync: false }).hold("power cuts");
}

#[test]
fn thirty_bent_stores_are_whole_or_refused() {
    let options = bent::Options { mutations: 30, seed: SEED, only: None };
    bent::judge(&options).hold("bent stores");
}

#[test]
fn wrong_clocks_of_one_process_end_no_service_and_no_revocation() {
    let options = clocks::Options { scenarios: 12, seed: SEED, only: None };
    clocks::judge(&options).hold("clocks");
}

fn kills_of(role: Role, kills: usize) {
    kills::judge(&kills::Options { kills, seed: SEED, role: Some(role) }).hold("kills");
}

#[test]
fn a_hundred_kills_of_provisioning_lose_nothing() {
    kills_of(Role::Provision, 100);
}

/// Fewer: after each of them devices wait for the bound of their proofs.
#[test]
fn forty_kills_of_the_broker_lose_nothing() {
    kills_of(Role::Broker, 40);
}

#[test]
fn a_hundred_kills_of_the_agent_lose_nothing() {
    kills_of(Role::Agent, 100);
}

#[test]
fn two_minutes_of_traffic_leave_nothing_behind() {
    soak::judge(&soak::Options { minutes: 2.0, seed: SEED }).hold("soak");
}

#[test]
fn an_honest_device_is_served_under_every_flood() {
    let options = floods::Options { seconds: 1.0, seed: SEED, only: None, busy: true };
    floods::judge(&options).hold("floods");
}
