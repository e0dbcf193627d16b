//! One backend commands every device on the device's own topic, QoS 1, acknowledged on both sides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::conn::Conn;
use super::super::error::BenchError;
use super::super::limits;
use super::super::packet::{self, Frame, Qos};
use super::super::server::Running;
use super::super::stage::{hold, single, subscribe_all, Meter, Sample, Stage};

/// One round.
pub(super) async fn run(stage: &Stage, running: &Running) -> Result<Sample, BenchError> {
    let members = stage.devices.members();
    let topics: Vec<String> = stage.devices.ids().map(|id| format!("d/{id}/cmd")).collect();
    let conns = hold(&stage.devices, members, running).await?;
    let conns = subscribe_all(conns, topics.clone(), Qos::One).await?;
    let mut backend = single(&stage.backend, running).await?;
    let heard = Arc::new(AtomicU64::new(0));
    let mut listeners = JoinSet::new();
    for conn in conns {
        listeners.spawn(listen(conn, Arc::clone(&heard)));
    }
    let meter = Meter::start(stage, running)?;
    let (sent, last) = command(stage, &mut backend, &topics, &meter).await?;
    let last = arrive(&heard, sent, &meter, last).await;
    let heard = heard.load(Ordering::Relaxed);
    let sample = meter.stop_after(heard, last).await?;
    listeners.shutdown().await;
    Ok(sample.with("lost", sent.saturating_sub(heard) as f64))
}

/// Sends in turn to all, at least once to each; how many, and when the last acknowledgement came.
async fn command(
    stage: &Stage,
    backend: &mut Conn,
    topics: &[String],
    meter: &Meter<'_>,
) -> Result<(u64, Duration), BenchError> {
    let least = topics.len() as u64;
    let messages: Vec<Vec<u8>> = topics
        .iter()
        .zip((1..=u16::MAX).cycle())
        .map(|(topic, id)| packet::publish(topic, Qos::One, id, &[b'c'; limits::PAYLOAD]))
        .collect();
    let mut turn = messages.iter().cycle();
    let (mut sent, mut acknowledged, mut batch) = (0u64, 0u64, Vec::new());
    let mut busy = true;
    while busy || acknowledged < sent {
        while busy && sent - acknowledged < limits::COMMANDS_OPEN as u64 {
            let Some(message) = turn.next() else { break };
            batch.extend_from_slice(message);
            sent += 1;
        }
        backend.write(&batch).await?;
        batch.clear();
        let count = |frame: Frame<'_>| acknowledged += u64::from(frame.kind() == packet::PUBACK);
        let read = timeout(limits::STALL, backend.read(count)).await;
        read.map_err(|_| BenchError::new("commands are not acknowledged"))??;
        busy = sent < least || meter.elapsed().as_secs_f64() < stage.seconds;
    }
    Ok((sent, meter.elapsed()))
}

/// Waits until all have arrived, or none comes any more.
async fn arrive(
    heard: &AtomicU64,
    sent: u64,
    meter: &Meter<'_>,
    acknowledged: Duration,
) -> Duration {
    let (mut seen, mut last) = (heard.load(Ordering::Relaxed), acknowledged);
    while seen < sent && meter.elapsed().saturating_sub(last) < limits::STALL {
        tokio::time::sleep(limits::PROBE_EVERY).await;
        let now = heard.load(Ordering::Relaxed);
        if now > seen {
            (seen, last) = (now, meter.elapsed());
        }
    }
    last
}

async fn listen(mut conn: Conn, heard: Arc<AtomicU64>) {
    let mut acks = Vec::new();
    loop {
        let read = conn.read(|frame| {
            if let Some(id) = frame.publish_id() {
                packet::puback(&mut acks, id);
            }
        });
        if read.await.is_err() || conn.write(&acks).await.is_err() {
            return;
        }
        heard.fetch_add(acks.len() as u64 / 4, Ordering::Relaxed);
        acks.clear();
    }
}
