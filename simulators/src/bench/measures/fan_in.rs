//! A thousand devices, each to its own topic; one subscriber hears all by a wildcard.
//!
//! Publishers go on while fewer than [`limits::OUTSTANDING`] messages are under way, so no server has to drop any and what
//! is counted is what arrived. Each message is a write of its own, as devices send.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::connection::Conn;
use super::super::error::BenchError;
use super::super::limits;
use super::super::packet::{self, Qos};
use super::super::server::Running;
use super::super::stage::{hold, single, Meter, Sample, Stage};

/// Messages of the subscriber.
pub(super) const FILTER: &str = "d/+/telemetry";

/// Messages of a device.
pub(super) fn message(id: &str, qos: Qos) -> Vec<u8> {
    packet::publish(&format!("d/{id}/telemetry"), qos, 1, &[b'x'; limits::PAYLOAD])
}

async fn publishers(
    stage: &Stage,
    running: &Running,
    qos: Qos,
) -> Result<Vec<(Conn, Vec<u8>)>, BenchError> {
    let members = stage.devices.first(limits::SPREAD);
    let conns = hold(&stage.devices, members, running).await?;
    Ok(conns.into_iter().zip(members).map(|(conn, m)| (conn, message(&m.id, qos))).collect())
}

/// QoS 0.
pub(super) async fn at_most_once(stage: &Stage, running: &Running) -> Result<Sample, BenchError> {
    let mut reader = single(&stage.backend, running).await?;
    reader.subscribe(FILTER, Qos::Zero).await?;
    let mut devices = publishers(stage, running, Qos::Zero).await?;
    pour(stage, running, &mut reader, &mut devices).await
}

/// Each device in turn sends its message while few are under way.
pub(super) async fn pour(
    stage: &Stage,
    running: &Running,
    reader: &mut Conn,
    devices: &mut [(Conn, Vec<u8>)],
) -> Result<Sample, BenchError> {
    let mut turn = (0..devices.len()).cycle();
    let meter = Meter::start(stage, running)?;
    let (mut sent, mut heard, mut last) = (0u64, 0u64, Duration::ZERO);
    let mut busy = true;
    while busy || heard < sent {
        while busy && sent - heard < limits::OUTSTANDING as u64 {
            let next = turn.next().and_then(|at| devices.get_mut(at));
            let Some((device, message)) = next else { break };
            device.write(message).await?;
            sent += 1;
        }
        let count = |frame: packet::Frame<'_>| heard += u64::from(frame.kind() == packet::PUBLISH);
        match timeout(limits::STALL, reader.read(count)).await {
            Ok(read) => read?,
            Err(_) => break,
        }
        last = meter.elapsed();
        busy = last.as_secs_f64() < stage.seconds;
    }
    Ok(meter.stop_after(heard, last).await?.with("lost", (sent - heard) as f64))
}

/// QoS 1 on both sides; a device sends the next message when the last one was acknowledged.
pub(super) async fn at_least_once(stage: &Stage, running: &Running) -> Result<Sample, BenchError> {
    let mut reader = single(&stage.backend, running).await?;
    reader.subscribe(FILTER, Qos::One).await?;
    let devices = publishers(stage, running, Qos::One).await?;
    let under_way = Arc::new(Semaphore::new(limits::OUTSTANDING));
    let over = Arc::new(AtomicBool::new(false));
    let meter = Meter::start(stage, running)?;
    let mut tasks = JoinSet::new();
    for (device, message) in devices {
        tasks.spawn(send(device, message, Arc::clone(&under_way), Arc::clone(&over)));
    }
    let (mut heard, mut last, mut acks) = (0u64, Duration::ZERO, Vec::new());
    loop {
        let before = heard;
        let each = |frame: packet::Frame<'_>| {
            if let Some(id) = frame.publish_id() {
                heard += 1;
                packet::puback(&mut acks, id);
            }
        };
        match timeout(limits::STALL, reader.read(each)).await {
            Ok(read) => read?,
            Err(_) => break,
        }
        reader.write(&acks).await?;
        acks.clear();
        under_way.add_permits(usize::try_from(heard - before).unwrap_or_default());
        last = meter.elapsed();
        if last.as_secs_f64() >= stage.seconds {
            over.store(true, Ordering::Relaxed);
            if under_way.available_permits() >= limits::OUTSTANDING {
                break;
            }
        }
    }
    under_way.close();
    let mut sent = 0u64;
    let heard_at_end = heard;
    while let Some(done) = tasks.join_next().await {
        sent += done??;
    }
    let lost = sent.saturating_sub(heard_at_end) as f64;
    Ok(meter.stop_after(heard_at_end, last).await?.with("lost", lost))
}

async fn send(
    mut device: Conn,
    message: Vec<u8>,
    under_way: Arc<Semaphore>,
    over: Arc<AtomicBool>,
) -> Result<u64, BenchError> {
    let mut sent = 0;
    while let Ok(permit) = under_way.acquire().await {
        if over.load(Ordering::Relaxed) {
            break;
        }
        permit.forget();
        device.write(&message).await?;
        sent += 1;
        let mut acknowledged = false;
        while !acknowledged {
            let ack = device.read(|frame| acknowledged |= frame.kind() == packet::PUBACK);
            timeout(limits::ANSWER, ack).await.map_err(|_| BenchError::new("no PUBACK"))??;
        }
    }
    Ok(sent)
}
