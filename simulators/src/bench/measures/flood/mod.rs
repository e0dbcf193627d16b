//! Tens of thousands of bad connects a second from a thousand address prefixes, while honest devices publish and further
//! honest ones connect. The broker runs with the limits of the field.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tokio::task::JoinHandle;

use super::super::connection::Place;
use super::super::error::BenchError;
use super::super::limits;
use super::super::percentiles::Percentiles;
use super::super::server::Running;
use super::super::stage::{Meter, Sample, Stage};
use super::super::usage::Usage;

mod alone;
mod attack;
mod honest;
mod newcomers;
mod shots;

pub(crate) use alone::{Flood, Flooding};
use attack::{Attack, Offered};
use honest::{Heard, Honest};
use newcomers::{Arrival, Plan};

/// One round; what is counted are bad connects.
pub(super) async fn run(stage: &Stage, running: &Running) -> Result<Sample, BenchError> {
    let count = limits::HONEST.min(stage.devices.members().len() / 2);
    let honest = stage.devices.first(count);
    let mut fleet = Honest::start(stage, running, honest).await?;
    let before = Usage::of(running.pid)?;
    let began = stage.clock.monotonic();
    let [strangers, neighbours] = plans(running, count, stage.devices.members().len());
    let mut arrivals = newcomers::run(stage, &strangers, limits::CALM).await?;
    let shots = shots::mix(&stage.devices, honest);
    let watch = Watch::start(running, &stage.clock);
    let (flood, meter) = (stage.clock.monotonic(), Meter::start(stage, running)?);
    let attack = Attack::start(running.place.addr, shots, &stage.clock)?;
    let (more, beside) = tokio::try_join!(
        newcomers::run(stage, &strangers, limits::FLOODED),
        newcomers::run(stage, &neighbours, limits::FLOODED),
    )?;
    arrivals.extend(more);
    let offered = attack.finish().await?;
    let sample = meter.stop_after(offered.started, offered.took).await?;
    let heard = fleet.finish().await?;
    let highest = watch.finish().await?;
    let calm = tell_calm(&heard, &arrivals, began..flood);
    let sample = tell_flood(sample, &heard, &arrivals, flood..flood + limits::FLOODED);
    let sample = tell_neighbours(sample, &beside);
    let sample = calm.into_iter().fold(sample, |sample, (name, value)| sample.with(name, value));
    Ok(tell_offer(sample, &offered)
        .with("disconnected", heard.disconnected as f64)
        .with("lost", heard.sent.saturating_sub(heard.waits.len() as u64) as f64)
        .with("resident_before_kib", before.resident)
        .with("resident_highest_kib", highest))
}

/// Honest devices from a network of their own, and others from that of an attacker.
fn plans(running: &Running, first: usize, all: usize) -> [Plan; 2] {
    let middle = first + (all.saturating_sub(first) * 3).div_ceil(4);
    let place = running.place.clone();
    let beside = Place { from: Some(attack::source(0)), ..place.clone() };
    [
        Plan { devices: first..middle, place, every: limits::NEWCOMER_EVERY },
        Plan { devices: middle..all, place: beside, every: limits::NEIGHBOUR_EVERY },
    ]
}

fn tell_neighbours(sample: Sample, beside: &[Arrival]) -> Sample {
    let times = Percentiles::of(beside.iter().map(|one| one.took));
    sample
        .with("neighbour_p50_ms", times.millis(0.5))
        .with("neighbour_p99_ms", times.millis(0.99))
        .with("neighbour_turned_away", beside.iter().map(|one| f64::from(one.turned_away)).sum())
        .with("neighbours", beside.len() as f64)
        .with("neighbours_given_up", beside.iter().filter(|one| !one.connected).count() as f64)
}

type Span = std::ops::Range<Duration>;

fn waits(heard: &Heard, span: &Span) -> Percentiles {
    let within = heard.waits.iter().filter(|wait| span.contains(&wait.at));
    Percentiles::of(within.map(|wait| wait.took))
}

fn arrived(arrivals: &[Arrival], span: &Span) -> Percentiles {
    Percentiles::of(arrivals.iter().filter(|one| span.contains(&one.at)).map(|one| one.took))
}

fn tell_calm(heard: &Heard, arrivals: &[Arrival], span: Span) -> [(&'static str, f64); 3] {
    let (waits, arrived) = (waits(heard, &span), arrived(arrivals, &span));
    [
        ("p50_before_ms", waits.millis(0.5)),
        ("p99_before_ms", waits.millis(0.99)),
        ("connect_p99_before_ms", arrived.millis(0.99)),
    ]
}

fn tell_flood(sample: Sample, heard: &Heard, arrivals: &[Arrival], span: Span) -> Sample {
    let (waits, times) = (waits(heard, &span), arrived(arrivals, &span));
    let during = || arrivals.iter().filter(|one| span.contains(&one.at));
    sample
        .with("p50_ms", waits.millis(0.5))
        .with("p99_ms", waits.millis(0.99))
        .with("longest_ms", waits.millis(1.0))
        .with("connect_p50_ms", times.millis(0.5))
        .with("connect_p99_ms", times.millis(0.99))
        .with("connects", during().count() as f64)
        .with("connects_turned_away", during().map(|one| f64::from(one.turned_away)).sum())
        .with("connects_given_up", during().filter(|one| !one.connected).count() as f64)
}

fn tell_offer(sample: Sample, offered: &Offered) -> Sample {
    let rate = offered.started as f64 / offered.took.as_secs_f64().max(1e-9);
    sample
        .with("offered_a_second", rate)
        .with("taken_share", offered.written as f64 / (offered.loud as f64).max(1.0))
        .with("without_socket", offered.without_socket as f64)
}

/// The highest resident memory of the server, looked at ten times a second.
struct Watch {
    over: Arc<AtomicBool>,
    task: JoinHandle<Result<f64, BenchError>>,
}

impl Watch {
    fn start(running: &Running, clock: &SharedClock) -> Self {
        let (over, pid) = (Arc::new(AtomicBool::new(false)), running.pid);
        let (told, clock) = (Arc::clone(&over), Arc::clone(clock));
        let task = tokio::spawn(async move {
            let (mut highest, mut next) = (0.0f64, clock.monotonic());
            while !told.load(Ordering::Relaxed) {
                highest = highest.max(Usage::of(pid)?.resident);
                next += limits::WATCH_EVERY;
                tokio::time::sleep(next.saturating_sub(clock.monotonic())).await;
            }
            Ok(highest)
        });
        Self { over, task }
    }

    async fn finish(self) -> Result<f64, BenchError> {
        self.over.store(true, Ordering::Relaxed);
        self.task.await?
    }
}
