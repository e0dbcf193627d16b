//! Tessera and its peers side by side: the load, the rounds, the ratios.
//!
//! Absolute figures of a machine that does other things too are worth little, so the servers take turns within one run
//! (A B A B …), each time as a new process, and what counts is the ratio. The load generator is its own raw MQTT client
//! and tells what it used itself, so that one sees whether it stood in the way.
//!
//! It starts no process: the caller of [`run`] hands in [`Servers`]. Reading order: [`Measure`], [`run`], `stage`,
//! `measures/`, then `connection` and `packet`; [`Report`] is what comes out.

mod limits;

mod error;
mod server;
mod usage;

mod connection;
mod crowd;
mod packet;
mod percentiles;
mod tls;

mod measures;
mod roles;
mod stage;

mod report;
mod targets;

pub use connection::Place;
pub use crowd::mosquitto_password;
pub use error::BenchError;
pub use measures::Measure;
pub(crate) use measures::{Flood, Flooding};
pub use report::{render, Report, Row};
pub use roles::Site;
pub use server::{Running, Server, Servers, Setup};
pub use stage::Sample;
pub use targets::Verdict;
pub use tls::TlsClient;
pub use usage::load_average;

use tessera_runtime::clock::SharedClock;

/// The measures.
#[derive(Clone)]
pub struct Plan {
    /// The system that the devices enrol with.
    pub site: Site,
    /// Which measures.
    pub measures: Vec<Measure>,
    /// The peers that take their turns.
    pub peers: Vec<Server>,
}

/// Enrols the devices, then measures round by round; `news` is called with what is going on.
///
/// # Errors
/// [`BenchError`] of the first thing that went wrong: a figure of a run in which something failed is no figure.
pub async fn run(
    plan: &Plan,
    servers: &impl Servers,
    clock: &SharedClock,
    news: &(dyn Fn(&str) + Sync),
) -> Result<Report, BenchError> {
    let before = load_average();
    let began = clock.monotonic();
    news(&format!("enrolling {} devices", roles::devices(&plan.site)));
    let stage = roles::enrol(&plan.site, clock).await?;
    let took = clock.monotonic().saturating_sub(began).as_secs_f64();
    news(&format!("all are enrolled after {took:.0} s"));
    let mut report = Report::new(plan, before, clock.unix().get(), &stage);
    for measure in &plan.measures {
        for round in 0..measure.rounds(plan.site.rounds) {
            for server in measure.servers() {
                if *server != Server::Tessera && !plan.peers.contains(server) {
                    continue;
                }
                news(&format!("{} round {}: {}", measure.name(), round + 1, server.name()));
                let running = servers.start(*server, measure.setup()).await?;
                let sample =
                    measure.run(&stage, servers, running, round).await.map_err(|error| {
                        let (what, who) = (measure.name(), server.name());
                        BenchError::new(format!("{what} with {who}: {error}"))
                    })?;
                report.take(*measure, *server, sample);
            }
        }
    }
    report.finish();
    Ok(report)
}
