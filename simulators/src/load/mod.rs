//! Load on a system that is not this process: devices that connect, publish or subscribe, with the flags of emqtt-bench,
//! each with a credential of its own, and named storms.
//!
//! The devices enrol like any others, live by [`crate::device::life`] (the token is renewed, a lost connection comes back),
//! and are removed after the run. Reading order: [`plan`], [`mod@run`], [`duties`], [`storms`], [`removal`], then [`report`],
//! [`html`] and [`scrape`].

pub mod limits;

mod plan;

mod duties;
mod removal;
mod series;

mod html;
mod report;
mod scrape;

mod run;
mod stage;
mod storms;

pub use html::page;
pub(crate) use plan::own_roles;
pub use plan::{Headers, Pattern, Plan, Publishing, Subscribing, Work};
pub(crate) use removal::remove;
pub use removal::{remove_by_prefix, Removal};
pub use report::{render, Report, Stage as StageTimes};
pub use run::{run, LoadError, Say, Told};
pub use scrape::Scrapes;
