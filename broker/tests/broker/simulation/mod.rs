//! Simulations over sockets: what happens next is drawn from a seed, and what must hold is asked at every step.
//!
//! The seed is printed at the start of each run. `TESSERA_SIM_SEEDS=7,1234` runs those seeds in place of the fixed
//! ones: `TESSERA_SIM_SEEDS=7 cargo test -p tessera-broker --test broker simulation::takeover -- --nocapture`.

#![allow(clippy::print_stdout, reason = "a run that fails must be told by its seed")]

mod chance;
mod peer;
mod resume;
mod revocation;
mod slow;
mod slow_kept;
mod stage;
mod takeover;

use chance::{seeds, Chance};
