//! Does a device behave as itself? Observations in, alerts out.
//!
//! This crate holds the form of an observation and of an alert, as values and as lines of NDJSON, and the engine that
//! makes one from the other. It has no clock, no thread, no queue and no store: each observation carries its own time,
//! so a recorded month is judged in seconds and gives the same alerts each time.
//!
//! Reading order: [`observation`], [`alert`], [`detector`], [`engine`], [`truth`], [`convert`] (logs of others).

pub mod limits;

pub mod alert;
pub mod detector;
pub mod engine;
pub mod observation;
pub mod truth;

pub mod convert;
