//! The servers as processes: start, tell where things are, reload, drain.

mod agent;
mod broker;
pub(crate) mod control;
mod first_token;
mod founded;
mod life;
mod parts;
mod provision;
mod run_file;
mod signals;
mod up;

pub(crate) use agent::run as agent;
pub(crate) use broker::run as broker;
pub(crate) use parts::{start_broker, start_provisioning, BrokerPart, Feed};
pub(crate) use provision::run as provision;
pub(crate) use up::run as up;
