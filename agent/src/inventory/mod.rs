//! Which topics devices really use, and which they were refused: noted as the observations of behaviour tracking pass by,
//! and told to provisioning, which holds them against the roles.
//!
//! A device is told ten seconds after it was first seen, then once an hour. All of it is in memory: a crash loses at most an
//! hour of counts. Everything has a bound, and each tenant its share of it.

mod book;
mod shape;

#[cfg(test)]
mod tests;

pub(crate) use book::{Book, DeviceUses, Operation};
