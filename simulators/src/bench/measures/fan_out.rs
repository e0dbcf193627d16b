//! One publisher, a thousand subscribers of the same topic.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::connection::Conn;
use super::super::error::BenchError;
use super::super::limits;
use super::super::packet::{self, Qos};
use super::super::roles::FAN_TOPIC;
use super::super::server::Running;
use super::super::stage::{hold, subscribe_all, Meter, Sample, Stage};

struct Progress {
    heard: AtomicU64,
    moved: Notify,
    every: u64,
}

impl Progress {
    /// Wakes the publisher once for each message that all have heard.
    fn add(&self, count: u64) {
        let before = self.heard.fetch_add(count, Ordering::Relaxed);
        if before / self.every != (before + count) / self.every {
            self.moved.notify_one();
        }
    }

    fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }
}

/// One round.
pub(super) async fn run(stage: &Stage, running: &Running, qos: Qos) -> Result<Sample, BenchError> {
    let mut conns = hold(&stage.fans, stage.fans.members(), running).await?;
    let Some(mut publisher) = conns.pop() else { return Err(BenchError::new("no fans")) };
    let filters = conns.iter().map(|_| FAN_TOPIC.to_owned()).collect();
    let conns = subscribe_all(conns, filters, qos).await?;
    let every = conns.len() as u64;
    let progress = Arc::new(Progress { heard: AtomicU64::new(0), moved: Notify::new(), every });
    let mut listeners = JoinSet::new();
    for conn in conns {
        listeners.spawn(listen(conn, Arc::clone(&progress)));
    }
    let meter = Meter::start(stage, running)?;
    let (sent, last) = publish(stage, &mut publisher, &progress, &meter, qos).await?;
    let heard = progress.heard();
    let sample = meter.stop_after(heard, last).await?;
    listeners.shutdown().await;
    Ok(sample.with("lost", (sent * every).saturating_sub(heard) as f64))
}

async fn publish(
    stage: &Stage,
    publisher: &mut Conn,
    progress: &Progress,
    meter: &Meter,
    qos: Qos,
) -> Result<(u64, Duration), BenchError> {
    let (mut sent, mut last, mut busy) = (0u64, Duration::ZERO, true);
    let mut ids = (1..=u16::MAX).cycle();
    while busy || progress.heard() < sent * progress.every {
        while busy && sent * progress.every < progress.heard() + open(progress) {
            let id = ids.next().unwrap_or(1);
            publisher.write(&packet::publish(FAN_TOPIC, qos, id, &[b'f'; limits::PAYLOAD])).await?;
            sent += 1;
        }
        // The acknowledgements are read so that the server can write on; they set no pace.
        publisher.drain(|_| ())?;
        if timeout(limits::STALL, progress.moved.notified()).await.is_err() {
            break;
        }
        last = meter.elapsed();
        busy = last.as_secs_f64() < stage.seconds;
    }
    Ok((sent, last))
}

fn open(progress: &Progress) -> u64 {
    limits::FAN_OUT_OPEN as u64 * progress.every
}

async fn listen(mut conn: Conn, progress: Arc<Progress>) {
    let mut acks = Vec::new();
    loop {
        let mut heard = 0;
        let read = conn.read(|frame| {
            heard += u64::from(frame.kind() == packet::PUBLISH);
            if let Some(id) = frame.publish_id() {
                packet::puback(&mut acks, id);
            }
        });
        if read.await.is_err() || conn.write(&acks).await.is_err() {
            return;
        }
        acks.clear();
        progress.add(heard);
    }
}
