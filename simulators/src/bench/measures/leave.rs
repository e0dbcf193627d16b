//! Everybody disconnects at once: how long does a message of those who stay have to wait?

use std::time::Duration;

use super::super::conn::Conn;
use super::super::error::BenchError;
use super::super::limits;
use super::super::packet::{self, Qos};
use super::super::server::Running;
use super::super::stage::{hold, single, subscribe_all, Meter, Sample, Stage};

/// One round.
pub(super) async fn run(stage: &Stage, running: &Running) -> Result<Sample, BenchError> {
    let members = stage.devices.members();
    let Some((probe, others)) = members.split_first() else {
        return Err(BenchError::new("no devices"));
    };
    let held = hold(&stage.devices, others, running).await?;
    let filters = others.iter().map(|member| format!("d/{}/cmd", member.id)).collect();
    let held = subscribe_all(held, filters, Qos::Zero).await?;
    let mut probes = hold(&stage.devices, std::slice::from_ref(probe), running).await?;
    let Some(device) = probes.pop() else { return Err(BenchError::new("nobody to probe")) };
    let mut pair = Pair::new(single(&stage.backend, running).await?, device, &probe.id).await?;
    let meter = Meter::start(stage, running)?;
    let (calm, first) = pair.watch(&meter, limits::PROBED).await?;
    let left = held.len() as f64;
    // Ten thousand sockets take a while to close: on a thread of its own, so that the pair goes on.
    let closing = tokio::task::spawn_blocking(move || drop(held));
    let (leaving, second) = pair.watch(&meter, limits::PROBED).await?;
    closing.await?;
    let sample = meter.stop(first + second).await?;
    Ok(sample
        .with("longest_wait_before_ms", millis(calm))
        .with("longest_wait_ms", millis(leaving))
        .with("left", left))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

struct Pair {
    backend: Conn,
    device: Conn,
    message: Vec<u8>,
}

impl Pair {
    async fn new(backend: Conn, mut device: Conn, id: &str) -> Result<Self, BenchError> {
        let topic = format!("d/{id}/cmd");
        device.subscribe(&topic, Qos::Zero).await?;
        let message = packet::publish(&topic, Qos::Zero, 0, &[b'p'; limits::PAYLOAD]);
        Ok(Self { backend, device, message })
    }

    /// The longest wait of a message within `time`, and how many were sent.
    async fn watch(
        &mut self,
        meter: &Meter<'_>,
        time: Duration,
    ) -> Result<(Duration, u64), BenchError> {
        let began = meter.elapsed();
        let (mut longest, mut count) = (Duration::ZERO, 0);
        while meter.elapsed().saturating_sub(began) < time {
            let sent = meter.elapsed();
            self.backend.write(&self.message).await?;
            let mut heard = false;
            while !heard {
                self.device.read(|frame| heard |= frame.kind() == packet::PUBLISH).await?;
            }
            longest = longest.max(meter.elapsed().saturating_sub(sent));
            count += 1;
            tokio::time::sleep(limits::PROBE_EVERY).await;
        }
        Ok((longest, count))
    }
}
