//! A scenario of [`crate::detection`] on real MQTT clients: each device of its world enrols with a key of its own and does
//! over the wire what the world says, in real time or faster; the alerts of the broker are scored with the ground truth.
//!
//! Reading order: [`plan`], [`act`] (from an observation of the world to an act), [`cast`] (roles, groups, devices),
//! [`player`] (one device), [`session`] (one connection), [`outsider`] (refused peers), [`watcher`] (the alerts), [`stage`]
//! (the parts that all share), [`dispatcher`] (the world, paced), [`mod@run`], [`report`].

pub mod limits;

mod act;
mod pace;
mod plan;
mod report;

mod cast;
mod outsider;
mod session;
mod stage;
mod watcher;

mod player;

mod dispatcher;
mod run;

pub use plan::{Plan, PlayError};
pub use report::{render, Report};
pub use run::{run, Played};
