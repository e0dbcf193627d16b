//! Honest devices that publish QoS 1 once a second, and the backend that hears them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::super::super::connection::Conn;
use super::super::super::crowd::Member;
use super::super::super::error::BenchError;
use super::super::super::limits;
use super::super::super::packet::{self, Frame, Qos};
use super::super::super::server::Running;
use super::super::super::stage::{hold, single, Stage};
use super::super::fan_in::FILTER;

/// Between two messages of one device.
const EVERY: Duration = Duration::from_secs(1);

/// How long one message was under way.
pub(super) struct Wait {
    /// When it was due.
    pub(super) at: Duration,
    /// From then until the backend had it.
    pub(super) took: Duration,
}

/// The outcome.
pub(super) struct Heard {
    /// Messages of the devices.
    pub(super) sent: u64,
    /// One for each message that arrived.
    pub(super) waits: Vec<Wait>,
    /// Devices whose connection ended.
    pub(super) disconnected: u64,
}

/// Devices and backend under way.
pub(super) struct Honest {
    over: Arc<AtomicBool>,
    devices: JoinSet<(u64, bool)>,
    backend: JoinHandle<Result<Vec<Wait>, BenchError>>,
}

impl Honest {
    /// Connects all and lets them publish, spread over the second.
    pub(super) async fn start(
        stage: &Stage,
        running: &Running,
        members: &[Member],
    ) -> Result<Self, BenchError> {
        let over = Arc::new(AtomicBool::new(false));
        let mut backend = single(&stage.backend, running).await?;
        backend.subscribe(FILTER, Qos::One).await?;
        let conns = hold(&stage.devices, members, running).await?;
        let backend = tokio::spawn(listen(backend, Arc::clone(&stage.clock), Arc::clone(&over)));
        let (began, mut devices) = (stage.clock.monotonic(), JoinSet::new());
        for (at, (conn, member)) in conns.into_iter().zip(members).enumerate() {
            let first = began + EVERY.mul_f64(at as f64 / members.len() as f64);
            let topic = format!("d/{}/telemetry", member.id);
            let life =
                Life { conn, topic, clock: Arc::clone(&stage.clock), over: Arc::clone(&over) };
            devices.spawn(life.publish(first));
        }
        Ok(Self { over, devices, backend })
    }

    /// Lets all finish their last message.
    pub(super) async fn finish(&mut self) -> Result<Heard, BenchError> {
        self.over.store(true, Ordering::Relaxed);
        let (mut sent, mut disconnected) = (0, 0);
        while let Some(done) = self.devices.join_next().await {
            let (count, alive) = done?;
            sent += count;
            disconnected += u64::from(!alive);
        }
        let waits = (&mut self.backend).await??;
        Ok(Heard { sent, waits, disconnected })
    }
}

struct Life {
    conn: Conn,
    topic: String,
    clock: SharedClock,
    over: Arc<AtomicBool>,
}

impl Life {
    /// How many messages were sent, and whether the connection lasted.
    async fn publish(mut self, first: Duration) -> (u64, bool) {
        let (mut sent, mut due) = (0, first);
        loop {
            tokio::time::sleep(due.saturating_sub(self.clock.monotonic())).await;
            if self.over.load(Ordering::Relaxed) {
                return (sent, self.conn.drain(|_| ()).is_ok());
            }
            if self.one(due).await.is_err() {
                return (sent, false);
            }
            sent += 1;
            due += EVERY;
        }
    }

    async fn one(&mut self, due: Duration) -> Result<(), BenchError> {
        let mut payload = [b'h'; limits::PAYLOAD];
        let stamp = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX).to_be_bytes();
        payload.iter_mut().zip(stamp).for_each(|(byte, stamp)| *byte = stamp);
        self.conn.write(&packet::publish(&self.topic, Qos::One, 1, &payload)).await?;
        let mut acknowledged = false;
        while !acknowledged {
            let ack = self.conn.read(|frame| acknowledged |= frame.kind() == packet::PUBACK);
            timeout(limits::CLOSED_WITHIN, ack)
                .await
                .map_err(|_| BenchError::new("no PUBACK"))??;
        }
        Ok(())
    }
}

/// Hears until all is over and nothing comes any more.
async fn listen(
    mut conn: Conn,
    clock: SharedClock,
    over: Arc<AtomicBool>,
) -> Result<Vec<Wait>, BenchError> {
    let (mut waits, mut acks) = (Vec::new(), Vec::new());
    loop {
        let each = |frame: Frame<'_>| {
            if let (Some(id), Some(at)) = (frame.publish_id(), stamp(frame)) {
                waits.push(Wait { at, took: clock.monotonic().saturating_sub(at) });
                packet::puback(&mut acks, id);
            }
        };
        match timeout(limits::STALL, conn.read(each)).await {
            Ok(read) => read.map_err(|_| BenchError::new("the backend was disconnected"))?,
            Err(_) if over.load(Ordering::Relaxed) => return Ok(waits),
            Err(_) => continue,
        }
        conn.write(&acks).await?;
        acks.clear();
    }
}

fn stamp(frame: Frame<'_>) -> Option<Duration> {
    let bytes = frame.payload()?.get(..8)?;
    Some(Duration::from_nanos(u64::from_be_bytes(bytes.try_into().ok()?)))
}
