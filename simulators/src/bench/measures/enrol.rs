//! Devices that enrol over REST by a claim code each, durable before the answer: a nonce, a proof, a token. Claims are made
//! before the clock starts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::random::{self, SystemRandom};
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::messages::{EnrolRequest, NonceAnswer};
use tokio::task::JoinSet;

use super::super::error::BenchError;
use super::super::limits;
use super::super::percentiles::Percentiles;
use super::super::server::Servers;
use super::super::stage::{Meter, Sample, Stage};
use super::line::{post, Line};

/// One round, with devices that are new.
pub(super) async fn run(
    stage: &Stage,
    servers: &impl Servers,
    round: usize,
) -> Result<Sample, BenchError> {
    let (processes, places): (Vec<u32>, Vec<SocketAddr>) =
        servers.provisioning().into_iter().unzip();
    let codes = Arc::new(claims(stage).await?);
    let next = Arc::new(AtomicUsize::new(0));
    let meter = Meter::of_processes(stage, &processes)?;
    let until = stage.clock.monotonic() + Duration::from_secs_f64(stage.seconds);
    let mut tasks = JoinSet::new();
    for at in places.iter().copied().cycle().take(limits::CONNECTING) {
        let (codes, next) = (Arc::clone(&codes), Arc::clone(&next));
        let (clock, tenant) = (Arc::clone(&stage.clock), stage.tenant.clone());
        tasks.spawn(async move {
            let (mut line, mut took) = (Line::open(at).await?, Vec::new());
            while clock.monotonic() < until {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(code) = codes.get(number) else { break };
                let name = format!("e{round}-{number}");
                let began = clock.monotonic();
                enrol(&mut line, at, &tenant, &name, code).await?;
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

/// As many codes as a round may need.
async fn claims(stage: &Stage) -> Result<Vec<String>, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::new(format!("claims: {error}"));
    let wanted = (stage.seconds * limits::ENROLLED_A_SECOND) as usize;
    let mut codes = Vec::with_capacity(wanted);
    while codes.len() < wanted {
        let count = limits::CLAIMS_AT_ONCE.min(wanted - codes.len());
        let made = stage.operator.claims(&stage.tenant, "sensor", count).await;
        codes.extend(made.map_err(|error| failed(&error))?);
    }
    Ok(codes)
}

async fn enrol(
    line: &mut Line,
    at: SocketAddr,
    tenant: &TenantId,
    name: &str,
    code: &str,
) -> Result<(), BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::new(format!("{name}: {error}"));
    let seed = random::bytes(&SystemRandom).map_err(|error| failed(&error))?;
    let device = DeviceId::parse(name).map_err(|error| failed(&error))?;
    let answer = line.ask(&post(at, "/v1/enrol/nonce", &[])).await?;
    let nonce = NonceAnswer::from_cbor(answer).map_err(|error| failed(&error))?.nonce;
    let key = SecretKey::from_seed(&seed);
    let request = EnrolRequest::sign(&key, tenant, &device, code, &nonce);
    line.ask(&post(at, "/v1/enrol", &request.to_cbor())).await.map(drop)
}
