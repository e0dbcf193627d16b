//! From the acknowledgement of a revocation to the closed socket, while many others stay connected.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::super::connection::Conn;
use super::super::error::BenchError;
use super::super::limits;
use super::super::percentiles::Percentiles;
use super::super::server::Running;
use super::super::stage::{hold, Meter, Sample, Stage};

/// One round: every round has victims of its own.
pub(super) async fn run(
    stage: &Stage,
    running: &Running,
    round: usize,
) -> Result<Sample, BenchError> {
    let others = hold(&stage.devices, stage.devices.members(), running).await?;
    let mut rounds = stage.victims.members().chunks(limits::REVOKED);
    let Some(victims) = rounds.nth(round) else { return Err(BenchError::new("no victims left")) };
    let conns = hold(&stage.victims, victims, running).await?;
    let meter = Meter::start(stage, running)?;
    let (mut after_answer, mut after_request) = (Vec::new(), Vec::new());
    for (conn, victim) in conns.into_iter().zip(victims) {
        let closing = tokio::spawn(closed(conn, Arc::clone(&stage.clock)));
        let asked = stage.clock.monotonic();
        stage.operator.revoke_device(&stage.tenant, &victim.id).await?;
        let answered = stage.clock.monotonic();
        let closed = timeout(limits::CLOSED_WITHIN, closing).await;
        let closed = closed.map_err(|_| BenchError::new("a revoked device stays connected"))??;
        after_answer.push(closed.saturating_sub(answered));
        after_request.push(closed.saturating_sub(asked));
    }
    let sample = meter.stop(after_answer.len() as u64).await?;
    let (answer, request) = (Percentiles::of(after_answer), Percentiles::of(after_request));
    Ok(sample
        .with("p50_ms", answer.millis(0.5))
        .with("p99_ms", answer.millis(0.99))
        .with("longest_ms", answer.millis(1.0))
        .with("from_request_p50_ms", request.millis(0.5))
        .with("from_request_p99_ms", request.millis(0.99))
        .with("from_request_longest_ms", request.millis(1.0))
        .with("sessions", others.len() as f64))
}

/// When the socket was closed by the server.
async fn closed(mut conn: Conn, clock: tessera_runtime::clock::SharedClock) -> Duration {
    while conn.read(|_| ()).await.is_ok() {}
    clock.monotonic()
}
