//! The service as its users meet it: over HTTP, on a real store.

#![allow(unreachable_pub, reason = "modules of a test binary share by pub")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests are tests; a test that cannot go on panics"
)]

mod world;

mod bound;
mod clock;
mod devices;
mod doors;
mod enrol;
mod feed;
mod keys;
mod killed;
mod matrix;
mod operators;
mod rates;
mod refresh;
mod registry;
mod restart;
mod restored;
mod revoke;
mod room;
mod secrets;
mod shares;
mod strangers;
mod sweep;
mod symmetric;
mod wire;
