//! The harness of the whole-system tests: starts the built binary and clients by other hands.
//!
//! Nothing here sleeps: processes are waited for by what they print, with a deadline that only a
//! broken product reaches.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this crate is tests: a panic is how it tells"
)]

pub mod api;
pub mod process;
pub mod server;
