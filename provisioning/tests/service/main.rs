//! The service as its users meet it: over HTTP, on a real store.

#![allow(unreachable_pub, reason = "modules of a test binary share by pub")]

mod world;

mod enrol;
mod feed;
mod keys;
mod killed;
mod operators;
mod refresh;
mod registry;
mod restart;
mod revoke;
mod wire;
