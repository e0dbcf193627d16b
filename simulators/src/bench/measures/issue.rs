//! Tokens issued over REST, each durable before its answer. Requests are signed in bulk before the clock starts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::random::SystemRandom;
use tessera_token::messages::TokenKind;
use tokio::task::JoinSet;

use super::super::error::BenchError;
use super::super::limits;
use super::super::percentiles::Percentiles;
use super::super::server::Servers;
use super::super::stage::{Meter, Sample, Stage};
use super::line::{post, Line};
use crate::device::api::token_request;
use crate::device::clock::DeviceClock;

/// One round.
pub(super) async fn run(stage: &Stage, servers: &impl Servers) -> Result<Sample, BenchError> {
    let (processes, places): (Vec<u32>, Vec<SocketAddr>) =
        servers.provisioning().into_iter().unzip();
    let first = *places.first().ok_or_else(|| BenchError::new("provisioning does not run"))?;
    let requests = Arc::new(signed(stage, first)?);
    let next = Arc::new(AtomicUsize::new(0));
    let meter = Meter::of_processes(stage, &processes)?;
    let until = stage.clock.monotonic() + Duration::from_secs_f64(stage.seconds);
    let mut tasks = JoinSet::new();
    for at in places.iter().copied().cycle().take(limits::CONNECTING) {
        let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
        let clock = Arc::clone(&stage.clock);
        tasks.spawn(async move {
            let (mut line, mut took) = (Line::open(at).await?, Vec::new());
            while clock.monotonic() < until {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(number) else { break };
                let began = clock.monotonic();
                line.ask(request).await?;
                took.push(clock.monotonic().saturating_sub(began));
            }
            Ok::<_, BenchError>(took)
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    let sample = meter.stop(times.len() as u64).await?;
    let times = Percentiles::of(times);
    let sample = sample.with("processes", processes.len() as f64);
    Ok(sample.with("p50_ms", times.millis(0.5)).with("p99_ms", times.millis(0.99)))
}

/// As many requests as a round may need, of all devices in turn. A device is answered a number of times only.
fn signed(stage: &Stage, at: SocketAddr) -> Result<Vec<Vec<u8>>, BenchError> {
    let members = stage.devices.members();
    let wanted = (stage.seconds * limits::ISSUED_A_SECOND) as usize;
    let most = members.len() * limits::ISSUED_TO_A_DEVICE;
    let clock = DeviceClock::new(Arc::clone(&stage.clock), 0);
    let each = members.iter().cycle().take(wanted.min(most)).map(|member| {
        let identity = member.identity(&stage.tenant);
        let asked = token_request(&identity, &clock, &SystemRandom, TokenKind::Key);
        let body = asked.map_err(|error| BenchError::new(error.to_string()))?.bytes;
        Ok(post(at, "/v1/token", &body))
    });
    each.collect()
}
