//! Wildcard routes through a real router.

mod back_pressure;
mod delivery;
mod direct;
mod groups;
mod parts;
mod restart;
