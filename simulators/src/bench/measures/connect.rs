//! Connects: made and closed again, or made and kept.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::super::connection::{Answer, Conn};
use super::super::crowd::Crowd;
use super::super::error::BenchError;
use super::super::limits;
use super::super::server::Running;
use super::super::stage::{hold_signed, Meter, Sample, Stage};
use super::super::usage::Usage;

/// Connect, CONNACK, DISCONNECT, close; every one of these devices once.
pub(super) async fn churn(
    stage: &Stage,
    crowd: &Crowd,
    running: &Running,
) -> Result<Sample, BenchError> {
    let mut total = Sample::default();
    for slice in crowd.members().chunks(limits::SIGNED_AT_ONCE) {
        let connect = |member| crowd.connect(member, running.server);
        let packets = slice.iter().map(connect).collect();
        total.add(&burst(stage, running, packets, limits::CONNECTING, true).await?);
    }
    Ok(total)
}

/// The same once more, for devices that the server has met: what a fleet's ordinary reconnect costs.
pub(super) async fn again(stage: &Stage, running: &Running) -> Result<Sample, BenchError> {
    churn(stage, &stage.devices, running).await?;
    churn(stage, &stage.devices, running).await
}

/// Sends these CONNECTs; all must be answered with `accepted`.
pub(super) async fn burst(
    stage: &Stage,
    running: &Running,
    packets: Vec<Vec<u8>>,
    at_once: usize,
    accepted: bool,
) -> Result<Sample, BenchError> {
    let packets = Arc::new(packets);
    let meter = Meter::start(stage, running)?;
    let mut tasks = JoinSet::new();
    for first in 0..at_once.min(packets.len()) {
        let (place, packets) = (running.place.clone(), Arc::clone(&packets));
        tasks.spawn(async move {
            for packet in packets.iter().skip(first).step_by(at_once) {
                match (Conn::try_open(&place, packet).await?, accepted) {
                    (Answer::Accepted(conn), true) => conn.close().await?,
                    (Answer::Refused, false) => {}
                    (Answer::Accepted(_), false) => {
                        return Err(BenchError::new("a CONNECT that must fail was accepted"))
                    }
                    (Answer::Refused, true) => {
                        return Err(BenchError::new("a good CONNECT was refused"))
                    }
                }
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    meter.stop(packets.len() as u64).await
}

/// Every device connects and stays: rate, and what an idle session keeps in memory.
pub(super) async fn stay(stage: &Stage, running: &Running) -> Result<Sample, BenchError> {
    let few = limits::WARM_UP.min(stage.devices.members().len() / limits::WARM_UP_SHARE);
    let warm = stage.devices.first(few).iter();
    let warm = warm.map(|member| stage.devices.connect(member, running.server)).collect();
    burst(stage, running, warm, limits::CONNECTING, true).await?;
    tokio::time::sleep(limits::REST).await;
    let empty = Usage::of(running.pid)?;
    let mut total = Sample::default();
    let mut held = Vec::new();
    for slice in stage.devices.members().chunks(limits::SIGNED_AT_ONCE) {
        let connect = |member| stage.devices.connect(member, running.server);
        let packets: Vec<_> = slice.iter().map(connect).collect();
        let meter = Meter::start(stage, running)?;
        let count = packets.len() as u64;
        held.extend(hold_signed(packets, running).await?);
        total.add(&meter.stop(count).await?);
    }
    tokio::time::sleep(limits::REST).await;
    let full = Usage::of(running.pid)?;
    let each = (full.resident - empty.resident) / (held.len() as f64).max(1.0);
    Ok(total.with("session_kib", each).with("empty_kib", empty.resident))
}
