//! The broker from outside: a raw client on the codec's client side, a real agent, trust made from our own keys.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a binary of tests, whose helpers are functions beside them"
)]

mod admission;
mod authorisation;
mod client;
mod control;
mod delivery;
mod door;
mod enrolment;
mod expiry;
mod lessons;
mod limits;
mod pieces;
mod proofs;
mod qos2;
mod refresh;
mod refusals;
mod restart;
mod restart_rights;
mod resume;
mod retained;
mod revocation;
mod rules;
mod shared;
mod shares;
mod simulation;
mod standard;
mod stop;
mod takeover;
mod transports;
mod v311;
mod world;
