//! The judges in short. `docs/testing.md` tells the long runs; each prints its seed and the command that repeats it.

use tessera_tests::judge::{bent, clocks, kills, power, soak, why_no_power_cuts};

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

#[test]
fn a_hundred_kills_of_each_process_lose_nothing() {
    kills::judge(&kills::Options { kills: 100, seed: SEED, role: None }).hold("kills");
}

#[test]
fn two_minutes_of_traffic_leave_nothing_behind() {
    soak::judge(&soak::Options { minutes: 2.0, seed: SEED }).hold("soak");
}
