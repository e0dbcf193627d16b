//! All devices disconnect at once: how long does a message of those who stay have to wait?

use std::time::Duration;

use super::super::connection::Conn;
use super::super::crowd::Member;
use super::super::error::BenchError;
use super::super::limits;
use super::super::packet::{self, Qos};
use super::super::roles::FAN_TOPIC;
use super::super::server::Running;
use super::super::stage::{hold, subscribe_all, Meter, Sample, Stage};

/// One round. Those who stay are two of another role, so that every device leaves.
pub(super) async fn run(stage: &Stage, running: &Running) -> Result<Sample, BenchError> {
    let members = stage.devices.members();
    let held = hold(&stage.devices, members, running).await?;
    let filters = members.iter().map(Member::command_topic).collect();
    let held = subscribe_all(held, filters, Qos::Zero).await?;
    let pair = hold(&stage.fans, stage.fans.first(2), running).await?;
    let mut pair = Pair::new(pair).await?;
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
    speaker: Conn,
    listener: Conn,
    message: Vec<u8>,
}

impl Pair {
    async fn new(mut two: Vec<Conn>) -> Result<Self, BenchError> {
        let (Some(mut listener), Some(speaker)) = (two.pop(), two.pop()) else {
            return Err(BenchError::new("no device to probe"));
        };
        listener.subscribe(FAN_TOPIC, Qos::Zero).await?;
        let message = packet::publish(FAN_TOPIC, Qos::Zero, 0, &[b'p'; limits::PAYLOAD]);
        Ok(Self { speaker, listener, message })
    }

    /// The longest wait of a message within `time`, and how many were sent.
    async fn watch(
        &mut self,
        meter: &Meter,
        time: Duration,
    ) -> Result<(Duration, u64), BenchError> {
        let began = meter.elapsed();
        let (mut longest, mut count) = (Duration::ZERO, 0);
        while meter.elapsed().saturating_sub(began) < time {
            let sent = meter.elapsed();
            self.speaker.write(&self.message).await?;
            let mut heard = false;
            while !heard {
                self.listener.read(|frame| heard |= frame.kind() == packet::PUBLISH).await?;
            }
            longest = longest.max(meter.elapsed().saturating_sub(sent));
            count += 1;
            tokio::time::sleep(limits::PROBE_EVERY).await;
        }
        Ok((longest, count))
    }
}
