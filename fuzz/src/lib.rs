//! Fuzz targets of Tessera.
//!
//! A target is a function over bytes that panics when an invariant of the product does not hold. [`driver`] runs it on
//! stable Rust, deterministically from a printed seed; the files in `fuzz_targets/` hand the same functions to
//! libFuzzer. `docs/fuzzing.md` says how to run, repeat and add.
//!
//! Reading order: [`targets`] (what is checked), [`draw`] (bytes become choices), [`signal`] (what a run has reached),
//! [`mutate`] and [`driver`].
#![forbid(unsafe_code)]

pub mod targets;

pub mod draw;
pub mod signal;

pub mod driver;
pub mod mutate;
pub mod rng;
