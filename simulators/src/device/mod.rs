//! A virtual device: its own key, its own wrong clock, its own token life.

pub mod api;
pub mod clock;
pub mod credential;
mod duty;
pub mod identity;
pub mod life;
pub mod renewal;
#[cfg(test)]
mod tests;
pub mod unverified_claims;

pub use duty::Duty;
