//! One backend commands every device on the device's own topic, QoS 1, acknowledged on both sides.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::connection::Conn;
use super::super::crowd::Member;
use super::super::error::BenchError;
use super::super::limits;
use super::super::packet::{self, Frame, Qos};
use super::super::server::Running;
use super::super::stage::{hold, single, subscribe_all, Meter, Sample, Stage};

/// One round.
pub(super) async fn run(stage: &Stage, running: &Running) -> Result<Sample, BenchError> {
    let members = stage.devices.members();
    let conns = hold(&stage.devices, members, running).await?;
    let mut fleet = Fleet::default();
    fleet.join(conns, members).await?;
    let mut backend = single(&stage.backend, running).await?;
    let sample = fleet.command(stage, running, &mut backend, Pace::Acknowledged).await?;
    fleet.listeners.shutdown().await;
    Ok(sample)
}

/// Acknowledgements that the backend waits for when many commands are open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// The server's acknowledgement. Messages for devices may then leave in batches, larger ones for fewer devices.
    Acknowledged,
    /// The device has it. Each device has one command at most, so the work is the same however many there are.
    Heard,
}

/// Devices that hear commands and acknowledge them.
#[derive(Default)]
pub(super) struct Fleet {
    topics: Vec<String>,
    heard: Arc<AtomicU64>,
    listeners: JoinSet<()>,
}

impl Fleet {
    /// Connected devices subscribe to their own commands and listen from now on.
    pub(super) async fn join(
        &mut self,
        conns: Vec<Conn>,
        members: &[Member],
    ) -> Result<(), BenchError> {
        let topics: Vec<String> = members.iter().map(Member::command_topic).collect();
        for conn in subscribe_all(conns, topics.clone(), Qos::One).await? {
            self.listeners.spawn(listen(conn, Arc::clone(&self.heard)));
        }
        self.topics.extend(topics);
        Ok(())
    }

    /// The backend commands all of them in turn.
    pub(super) async fn command(
        &self,
        stage: &Stage,
        running: &Running,
        backend: &mut Conn,
        pace: Pace,
    ) -> Result<Sample, BenchError> {
        let before = self.heard.load(Ordering::Relaxed);
        let meter = Meter::start(stage, running)?;
        let room = |sent: u64, acknowledged: u64| {
            let open = limits::COMMANDS_OPEN as u64;
            let heard = || self.heard.load(Ordering::Relaxed) - before;
            sent - acknowledged < open && (pace == Pace::Acknowledged || sent < heard() + open)
        };
        let (sent, last) = command(stage, backend, &self.topics, &meter, room).await?;
        let last = arrive(&self.heard, before + sent, &meter, last).await;
        let heard = self.heard.load(Ordering::Relaxed) - before;
        let sample = meter.stop_after(heard, last).await?;
        Ok(sample.with("lost", sent.saturating_sub(heard) as f64))
    }
}

/// Sends in turn to all, at least once to each; how many, and when the last acknowledgement came.
async fn command(
    stage: &Stage,
    backend: &mut Conn,
    topics: &[String],
    meter: &Meter,
    room: impl Fn(u64, u64) -> bool,
) -> Result<(u64, Duration), BenchError> {
    let least = topics.len() as u64;
    let messages: Vec<Vec<u8>> = topics
        .iter()
        .zip((1..=u16::MAX).cycle())
        .map(|(topic, id)| packet::publish(topic, Qos::One, id, &[b'c'; limits::PAYLOAD]))
        .collect();
    let mut turn = messages.iter().cycle();
    let (mut sent, mut acknowledged, mut batch) = (0u64, 0u64, Vec::new());
    let (mut busy, mut moved) = (true, meter.elapsed());
    while busy || acknowledged < sent {
        while busy && room(sent, acknowledged) {
            let Some(message) = turn.next() else { break };
            batch.extend_from_slice(message);
            sent += 1;
        }
        backend.write(&batch).await?;
        batch.clear();
        if acknowledged < sent {
            let count =
                |frame: Frame<'_>| acknowledged += u64::from(frame.kind() == packet::PUBACK);
            let read = timeout(limits::ANSWER, backend.read(count)).await;
            read.map_err(|_| BenchError::new("commands are not acknowledged"))??;
            moved = meter.elapsed();
        } else {
            // All is acknowledged and the devices are behind.
            tokio::time::sleep(limits::PROBE_EVERY).await;
        }
        let now = meter.elapsed();
        if now.saturating_sub(moved) > limits::ANSWER {
            return Err(BenchError::new("commands do not arrive"));
        }
        busy = sent < least || now.as_secs_f64() < stage.seconds;
    }
    Ok((sent, meter.elapsed()))
}

/// Waits until `all` have arrived, or none comes any more.
async fn arrive(heard: &AtomicU64, all: u64, meter: &Meter, acknowledged: Duration) -> Duration {
    let (mut seen, mut last) = (heard.load(Ordering::Relaxed), acknowledged);
    while seen < all && meter.elapsed().saturating_sub(last) < limits::STALL {
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
