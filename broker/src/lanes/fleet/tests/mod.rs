//! The fleet lane through a real router.

mod back_pressure;
mod delivery;
mod groups;
mod near;
mod parts;
mod restart;
