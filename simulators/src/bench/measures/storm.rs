//! The whole fleet comes back over TLS, proved by the resumption secret of its last connection.
//!
//! No TLS session tickets on either side: every handshake is a full one, so what is compared is the proof and not whose
//! tickets a client happened to keep. After a restart neither server takes tickets of its former self anyhow.

use std::sync::Arc;

use serde::Deserialize;
use tessera_token::encoding;
use tessera_token::proof::{ResumptionSecret, MAC_BYTES};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::connection::{Conn, Place};
use super::super::crowd::Member;
use super::super::error::BenchError;
use super::super::limits;
use super::super::packet::{self, Qos};
use super::super::server::{Running, Server, Servers};
use super::super::stage::{hold_signed, Meter, Sample, Stage};

const STATUS: &str = "$tessera/status";

/// The part of a status that is read.
#[derive(Deserialize)]
struct Status {
    resumption: Option<String>,
}

/// One round; with `restart` the server was killed and started again in between.
pub(super) async fn run(
    stage: &Stage,
    servers: &impl Servers,
    running: Running,
    restart: bool,
) -> Result<Sample, BenchError> {
    let secrets = learn(stage, &running).await?;
    let began = stage.clock.monotonic();
    let running = if restart { servers.again(running).await? } else { running };
    let away = stage.clock.monotonic().saturating_sub(began);
    tokio::time::sleep(limits::REST).await;
    let members: Vec<_> = stage.devices.members().iter().zip(&secrets).collect();
    let (mut total, mut held) = (Sample::default(), Vec::new());
    for slice in members.chunks(limits::SIGNED_AT_ONCE) {
        let reconnect = |(member, secret): &(&Member, &Option<ResumptionSecret>)| {
            stage.devices.reconnect(member, secret.as_ref(), running.server)
        };
        let packets: Vec<_> = slice.iter().map(reconnect).collect();
        let (count, meter) = (packets.len() as u64, Meter::start(stage, &running)?);
        held.extend(hold_signed(packets, &running).await?);
        total.add(&meter.stop(count).await?);
    }
    let proved = secrets.iter().flatten().count() as f64;
    let total = total.with("by_secret", proved);
    Ok(if restart { total.with("away_ms", away.as_secs_f64() * 1e3) } else { total })
}

/// Every device connects once with a full proof and hears its secret; all are gone again afterwards.
async fn learn(
    stage: &Stage,
    running: &Running,
) -> Result<Vec<Option<ResumptionSecret>>, BenchError> {
    let mut secrets = Vec::new();
    for slice in stage.devices.members().chunks(limits::SIGNED_AT_ONCE) {
        let sign = |member| stage.devices.connect(member, running.server);
        let packets: Vec<_> = slice.iter().map(sign).collect();
        secrets.extend(learn_signed(packets, running).await?);
    }
    Ok(secrets)
}

async fn learn_signed(
    packets: Vec<Vec<u8>>,
    running: &Running,
) -> Result<Vec<Option<ResumptionSecret>>, BenchError> {
    let (asks, packets) = (running.server == Server::Tessera, Arc::new(packets));
    let mut tasks = JoinSet::new();
    for first in 0..limits::CONNECTING.min(packets.len()) {
        let (place, packets) = (running.place.clone(), Arc::clone(&packets));
        tasks.spawn(async move {
            let mut learned = Vec::new();
            for (at, packet) in packets.iter().enumerate().skip(first).step_by(limits::CONNECTING) {
                learned.push((at, visit(&place, packet, asks).await?));
            }
            Ok::<_, BenchError>(learned)
        });
    }
    let mut all = Vec::with_capacity(packets.len());
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, secret)| secret).collect())
}

async fn visit(
    place: &Place,
    packet: &[u8],
    asks: bool,
) -> Result<Option<ResumptionSecret>, BenchError> {
    let mut conn = Conn::open(place, packet).await?;
    let secret = match asks {
        true => Some(hear(&mut conn).await?),
        false => None,
    };
    conn.close().await?;
    Ok(secret)
}

async fn hear(conn: &mut Conn) -> Result<ResumptionSecret, BenchError> {
    conn.write(&packet::subscribe(STATUS, Qos::Zero)).await?;
    let mut told: Option<Vec<u8>> = None;
    while told.is_none() {
        let read = conn.read(|frame| told = frame.payload().map(<[u8]>::to_vec).or(told.take()));
        let read = timeout(limits::ANSWER, read).await;
        read.map_err(|_| BenchError::new(format!("nothing is told on {STATUS}")))??;
    }
    let status: Status = serde_json::from_slice(&told.unwrap_or_default())
        .map_err(|error| BenchError::new(format!("{STATUS}: {error}")))?;
    let secret = status.resumption.as_deref().and_then(encoding::from_base64url);
    let secret: Option<[u8; MAC_BYTES]> = secret.and_then(|bytes| bytes.try_into().ok());
    let none = || BenchError::new(format!("{STATUS} over TLS hands out no resumption secret"));
    secret.as_ref().map(ResumptionSecret::from_bytes).ok_or_else(none)
}
