//! The harness of the whole-system tests: starts the built binary and clients by other hands.
//!
//! Nothing here sleeps for luck: processes are waited for by what they print or answer, with a deadline that only a
//! broken product reaches. `judge` holds the long runs of `docs/testing.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "this crate is tests: a panic is how it tells"
)]

pub mod api;
pub mod http;
pub mod judge;
pub mod mqtt;
pub mod net;
pub mod process;
pub mod server;
pub mod site;
pub mod stranger;
pub mod world;
