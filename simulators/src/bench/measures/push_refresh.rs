//! Push refresh: all devices stay, and listen for their next tokens; how evenly these come.
//!
//! The devices ask for nothing. Their tokens have one age, that of the enrolment, as after a mass enrolment: a device
//! whose token is not pushed in time loses its session with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{interval, MissedTickBehavior};

use super::super::connection::Conn;
use super::super::error::BenchError;
use super::super::limits::{self, PUSHED_LIVES};
use super::super::packet::{self, Frame, Qos};
use super::super::server::{Running, Servers};
use super::super::stage::{hold, subscribe_all, Meter, Sample, Stage};

const TOPIC: &str = "$tessera/token";

/// Tokens that came, and sessions that ended.
#[derive(Default)]
struct Seen {
    pushed: AtomicU64,
    ended: AtomicU64,
}

/// One round.
pub(super) async fn run(
    stage: &Stage,
    servers: &impl Servers,
    running: &Running,
) -> Result<Sample, BenchError> {
    let life = servers.pushed_life().ok_or_else(|| BenchError::new("no broker is pushed to"))?;
    let members = stage.devices.members();
    let conns = hold(&stage.devices, members, running).await?;
    let topics = vec![TOPIC.to_owned(); conns.len()];
    let seen = Arc::new(Seen::default());
    let mut listeners = JoinSet::new();
    for conn in subscribe_all(conns, topics, Qos::Zero).await? {
        listeners.spawn(listen(conn, Arc::clone(&seen)));
    }
    let mut processes = vec![running.pid];
    processes.extend(servers.provisioning().into_iter().map(|(process, _)| process));
    let meter = Meter::of_processes(stage, &processes)?;
    let seconds = by_second(&seen.pushed, life * PUSHED_LIVES).await;
    let pushed: u64 = seconds.iter().sum();
    let sample = meter.stop(pushed).await?;
    listeners.shutdown().await;
    let share = limits::PUSHED_SHARE;
    let mean = members.len() as f64 / (life.as_secs_f64() * share).max(1.0);
    let peak = |counts: &[u64]| counts.iter().copied().max().unwrap_or_default() as f64;
    // After its first life the fleet is as it is after a long time.
    let settled = seconds.get(seconds.len() / 2..).unwrap_or_default();
    Ok(sample
        .with("mean_a_second", mean)
        .with("peak_a_second", peak(&seconds))
        .with("peak_by_mean", peak(&seconds) / mean)
        .with("settled_peak_by_mean", peak(settled) / mean)
        .with("ended", seen.ended.load(Ordering::Relaxed) as f64))
}

/// How much the count grows in each second.
async fn by_second(count: &AtomicU64, time: Duration) -> Vec<u64> {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks.tick().await;
    let mut before = count.load(Ordering::Relaxed);
    let mut seconds = Vec::new();
    for _ in 0..time.as_secs() {
        ticks.tick().await;
        let now = count.load(Ordering::Relaxed);
        seconds.push(now.saturating_sub(before));
        before = now;
    }
    seconds
}

async fn listen(mut conn: Conn, seen: Arc<Seen>) {
    let count = |frame: Frame<'_>| {
        if frame.kind() == packet::PUBLISH {
            seen.pushed.fetch_add(1, Ordering::Relaxed);
        }
    };
    while conn.read(count).await.is_ok() {}
    seen.ended.fetch_add(1, Ordering::Relaxed);
}
