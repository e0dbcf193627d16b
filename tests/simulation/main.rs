//! One simulation for the whole: provisioning, its trust feed, two brokers, an agent and devices in one process, on a
//! virtual clock, network and disk.
//!
//! One seed decides each next step, and is printed; a run that fails tells its seed, its step and its last 50
//! steps, and the same seed runs the same way again. After every step the invariants of [`check`] are asked.
//!
//! Reading order: [`chance`] (the draw), [`trail`] (what is told of a failure), [`machine`] (a process: its clock and its
//! folder), [`office`] (provisioning), [`gate`] (an agent, or a broker with one inside), [`line`] (MQTT to a broker),
//! [`device`], [`post`] (messages to persistent sessions), [`net`] (what is on its way), [`model`] (what was promised), [`check`] (what must hold), [`act`] and
//! [`faults`] (what can happen), [`restore`] (an old copy of provisioning), [`heal`] (the end of all faults), [`full`] (each server on a full disk alone), [`world`] (one step).
//!
//! `tests/simulate --seed S --steps N --runs M` makes long runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    reason = "this crate is tests: a panic is how it tells"
)]

mod act;
mod chance;
mod check;
mod device;
mod faults;
mod full;
mod gate;
mod heal;
mod line;
mod machine;
mod model;
mod net;
mod office;
mod post;
mod restore;
mod trail;
mod world;

use world::World;

/// Steps of a run where the command line says nothing.
const STEPS: u64 = 1_500;
/// The seed that every run of the tests takes, beside a drawn one.
const FIXED: u64 = 20_261_128;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs a world to its end.
fn run(seed: u64, steps: u64) {
    println!("simulation: seed {seed}, {steps} steps");
    let system = actix_rt::System::new();
    let told = system.block_on(async {
        let mut world = World::found(seed).await;
        let outcome = world.run(steps).await;
        outcome.unwrap_or_else(|broken| panic!("{broken}"));
        world.told()
    });
    println!("  {told}");
}

#[test]
fn simulation_of_a_fixed_seed() {
    if setting("TESSERA_SIMULATION_SEED").is_none() {
        run(FIXED, STEPS);
    }
}

/// Another seed with each run of the tests, so that they get further with time; of `tests/simulate` all runs.
#[test]
fn simulation_of_drawn_seeds() {
    let first = setting("TESSERA_SIMULATION_SEED").unwrap_or_else(chance::drawn);
    let steps = setting("TESSERA_SIMULATION_STEPS").unwrap_or(STEPS);
    for seed in first..first + setting("TESSERA_SIMULATION_RUNS").unwrap_or(1) {
        run(seed, steps);
    }
}

/// A failure must be repeatable: two runs of one seed do the same, step by step.
#[test]
fn simulation_runs_again_the_same_way() {
    let steps = 400;
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push(actix_rt::System::new().block_on(async {
            let mut world = World::found(FIXED + 1).await;
            world.trail.keep_all();
            world.run(steps).await.unwrap_or_else(|broken| panic!("{broken}"));
            world.trail.lines().collect::<Vec<_>>()
        }));
    }
    let (second, first) = (told.pop().unwrap(), told.pop().unwrap());
    for (one, other) in first.iter().zip(&second) {
        assert_eq!(one, other);
    }
    assert_eq!(first.len(), second.len());
}

/// Kinds of fault that are left out: `TESSERA_SIMULATION_WITHOUT=clocks,restores`.
fn without(kind: &str) -> bool {
    let left_out = std::env::var("TESSERA_SIMULATION_WITHOUT").unwrap_or_default();
    left_out.split(',').any(|one| one == kind)
}
