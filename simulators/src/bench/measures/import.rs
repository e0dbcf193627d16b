//! Devices imported as one stream, each durable before its answer. Their keys are made before the clock starts.

use std::fmt::Write;
use std::time::Duration;

use tessera_runtime::random::{self, SystemRandom};
use tessera_token::encoding::base64url;
use tessera_token::key::SecretKey;

use super::super::error::BenchError;
use super::super::server::Servers;
use super::super::stage::{Meter, Sample, Stage};
use super::super::usage::Usage;
use crate::operator::tenant_path;

/// Time for one import.
const WITHIN: Duration = Duration::from_secs(600);

/// One round, with devices that are new.
pub(super) async fn run(
    stage: &Stage,
    servers: &impl Servers,
    round: usize,
) -> Result<Sample, BenchError> {
    let processes: Vec<u32> = servers.provisioning().into_iter().map(|(pid, _)| pid).collect();
    let first = *processes.first().ok_or_else(|| BenchError::new("provisioning does not run"))?;
    let (count, lines) = (stage.imported, lines(stage.imported, round)?);
    let path = tenant_path(stage.tenant.as_str(), "import/devices");
    let before = Usage::of(first)?.resident;
    let meter = Meter::of_processes(stage, &processes)?;
    let answer = stage.operator.lines(&path, lines.into_bytes(), None, WITHIN).await;
    let wall = meter.elapsed();
    let answer = answer.map_err(|error| BenchError::new(error.to_string()))?;
    let imported = answer
        .split(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\"outcome\":\"imported\"}"))
        .count();
    if imported != count {
        let end = answer.iter().rev().take(300).rev().copied().collect::<Vec<u8>>();
        let end = String::from_utf8_lossy(&end).into_owned();
        let words = format!("{imported} of {count} devices were imported; the answer ends: {end}");
        return Err(BenchError::new(words));
    }
    let sample = meter.stop_after(count as u64, wall).await?;
    let after = Usage::of(first)?.resident;
    // The target is that of 100,000, however many there were.
    let of_target = wall.as_secs_f64() * 100_000.0 / (count as f64).max(1.0);
    let sample = sample.with("seconds", wall.as_secs_f64()).with("seconds_100000", of_target);
    Ok(sample.with("resident_before_kib", before).with("resident_after_kib", after))
}

fn lines(count: usize, round: usize) -> Result<String, BenchError> {
    let mut text = String::with_capacity(count * 150);
    for number in 0..count {
        let seed =
            random::bytes(&SystemRandom).map_err(|error| BenchError::new(error.to_string()))?;
        let key = base64url(&SecretKey::from_seed(&seed).public().to_cose_key());
        // Writing to a text does not fail.
        let _ = writeln!(
            text,
            "{{\"device\":\"i{round}-{number:06}\",\"key\":\"{key}\",\"role\":\"sensor\",\"attributes\":{{\"site\":\"s-{}\"}}}}",
            number % 100
        );
    }
    Ok(text)
}
