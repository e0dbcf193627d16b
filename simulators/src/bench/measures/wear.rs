//! Bytes written to the disk: by a quiet system, by devices that stay and publish, by a connect, by a refresh.
//!
//! Bytes are counted by [`Servers::written`], at the disk where that can be. Every section ends with all that was
//! written being on the disk. From the sections follows what a fleet writes in a day.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::random::{self, SharedRandom, SystemRandom};
use tessera_token::messages::TokenKind;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::connection::Conn;
use super::super::crowd::Member;
use super::super::error::BenchError;
use super::super::limits;
use super::super::packet::{self, Qos};
use super::super::server::{Running, Servers};
use super::super::stage::{hold, Meter, Sample, Stage};
use super::connect;
use crate::device::api::DeviceApi;
use crate::device::clock::DeviceClock;
use crate::device::identity::Identity;

const DAY: f64 = 86_400.0;
/// Refreshes of a device in a day: tokens of one hour, renewed at 70 % of their life.
const REFRESHES: f64 = DAY / (3600.0 * 0.7);
/// Connects of a device in a day: a network that is lost once an hour.
const CONNECTS: f64 = 24.0;
/// Bytes of the rows of a device in a store, about.
const ROWS_OF_DEVICE: f64 = 1024.0;
/// Bytes of the journal from which on a small store is written anew (`JOURNAL_BYTES`); a large one waits for twice its rows.
const JOURNAL: f64 = 4.0 * 1024.0 * 1024.0;
/// Bytes that the engine writes for a byte of rows, with room for what files and their tables add.
const WRITTEN_ANEW: f64 = 4.0;

/// One round.
pub(super) async fn run(
    stage: &Stage,
    servers: &impl Servers,
    running: &Running,
) -> Result<Sample, BenchError> {
    let count = stage.devices.members().len() as f64;
    let book = Book { servers, running };
    let window = stage.quiet;
    let (quiet, ()) = book.of(rest(window)).await?;
    let held = hold(&stage.devices, stage.devices.members(), running).await?;
    let (active, held) = book.of(publish(stage, held, window)).await?;
    drop(held);
    sleep(limits::REST).await;
    connect::churn(stage, &stage.devices, running).await?;
    let (connects, sample) = book.of(connect::churn(stage, &stage.devices, running)).await?;
    let (alone, (pace, connected)) = book.of(connect_alone(stage, running, window)).await?;
    let alone = (alone - quiet * pace.as_secs_f64() / window.as_secs_f64().max(1.0)).max(0.0);
    let meter = Meter::start(stage, running)?;
    let (refreshes, ()) = book.of(refresh_all(stage)).await?;
    let refreshed = meter.elapsed().as_secs_f64();
    let days = window.as_secs_f64() / DAY;
    let figures = Figures {
        connect: connects / count,
        alone: alone / connected.max(1.0),
        refresh: refreshes / count,
        quiet_day: quiet / days,
        active_day: (active - quiet).max(0.0) / count / days,
    };
    Ok(sample
        .with("connect_bytes", figures.connect)
        .with("connect_alone_bytes", figures.alone)
        .with("refresh_bytes", figures.refresh)
        .with("refreshes_a_second", count / refreshed.max(1e-9))
        .with("quiet_mb_a_day", figures.quiet_day / 1e6)
        .with("active_device_kb_a_day", figures.active_day / 1e3)
        .with("gb_a_day_1000", figures.a_day(1e3, 0.0) / 1e9)
        .with("gb_a_day_100000", figures.a_day(1e5, REFRESHES) / 1e9)
        .with("counted_at_disk", f64::from(u8::from(servers.counts_at_disk()))))
}

/// Bytes.
struct Figures {
    /// Of a connect among many.
    connect: f64,
    /// Of one at the pace of a gateway of 1,000 devices.
    alone: f64,
    refresh: f64,
    /// Of a system without devices, in a day.
    quiet_day: f64,
    /// Of a device that stays connected and publishes, in a day.
    active_day: f64,
}

impl Figures {
    /// Of so many devices, each of which is given so many tokens: none on a gateway, whose provisioning is elsewhere.
    fn a_day(&self, devices: f64, refreshes: f64) -> f64 {
        let each = self.active_day + self.refresh * refreshes + self.connect * CONNECTS;
        // The write for one device serves all that connect within the next two seconds.
        let alone = (CONNECTS * devices).min(DAY / 2.0);
        self.quiet_day + self.alone * alone + each * devices * written_in_all(devices)
    }
}

/// How often a row goes to the disk: at once to the journal, and again when the store is written anew later, which a
/// section is too short to see.
fn written_in_all(devices: f64) -> f64 {
    let rows = devices * ROWS_OF_DEVICE;
    1.0 + WRITTEN_ANEW * rows / JOURNAL.max(2.0 * rows)
}

struct Book<'a, S> {
    servers: &'a S,
    running: &'a Running,
}

impl<S: Servers> Book<'_, S> {
    /// Bytes that were written meanwhile, and the outcome.
    async fn of<T>(
        &self,
        section: impl Future<Output = Result<T, BenchError>>,
    ) -> Result<(f64, T), BenchError> {
        let before = self.servers.written(self.running.pid)?;
        let done = section.await?;
        sleep(limits::WRITTEN).await;
        let after = self.servers.written(self.running.pid)?;
        Ok((after.saturating_sub(before) as f64, done))
    }
}

/// Connects at the pace of a gateway; the time that they took, and how many there were.
async fn connect_alone(
    stage: &Stage,
    running: &Running,
    window: Duration,
) -> Result<(Duration, f64), BenchError> {
    let began = stage.clock.monotonic();
    let passed = || stage.clock.monotonic().saturating_sub(began);
    let mut count = 0.0;
    for member in stage.devices.members().iter().cycle() {
        if passed() >= window.min(limits::ALONE_FOR) {
            break;
        }
        let packet = stage.devices.connect(member, running.server);
        connect::burst(stage, running, vec![packet], 1, true).await?;
        count += 1.0;
        sleep(limits::ALONE.mul_f64(gap()?)).await;
    }
    Ok((passed(), count))
}

/// The time to the next of events that come at random, by their mean time.
fn gap() -> Result<f64, BenchError> {
    let drawn: [u8; 4] =
        random::bytes(&SystemRandom).map_err(|error| BenchError::new(error.to_string()))?;
    let part = (f64::from(u32::from_be_bytes(drawn)) + 1.0) / (f64::from(u32::MAX) + 1.0);
    Ok(-part.ln())
}

async fn rest(window: Duration) -> Result<(), BenchError> {
    sleep(window).await;
    Ok(())
}

/// Every device publishes once in [`limits::ACTIVE_EVERY`], spread over it.
async fn publish(
    stage: &Stage,
    mut held: Vec<Conn>,
    window: Duration,
) -> Result<Vec<Conn>, BenchError> {
    let members = stage.devices.members();
    let step = limits::ACTIVE_EVERY / u32::try_from(held.len()).unwrap_or(u32::MAX).max(1);
    let began = stage.clock.monotonic();
    let passed = || stage.clock.monotonic().saturating_sub(began);
    let mut next = Duration::ZERO;
    loop {
        for (conn, member) in held.iter_mut().zip(members) {
            sleep(next.min(window).saturating_sub(passed())).await;
            if next >= window {
                return Ok(held);
            }
            let topic = format!("d/{}/telemetry", member.id);
            conn.write(&packet::publish(&topic, Qos::Zero, 0, &[b'x'; limits::PAYLOAD])).await?;
            next += step;
        }
    }
}

/// Every device gets one new token, many at once.
async fn refresh_all(stage: &Stage) -> Result<(), BenchError> {
    let identities: Vec<Identity> = stage
        .devices
        .members()
        .iter()
        .map(|member: &Member| member.identity(&stage.tenant))
        .collect();
    let identities = Arc::new(identities);
    let random = SystemRandom::shared();
    let mut tasks = JoinSet::new();
    for first in 0..limits::CONNECTING.min(identities.len()) {
        let (api, identities) = (stage.api.clone(), Arc::clone(&identities));
        let clock = DeviceClock::new(Arc::clone(&stage.clock), 0);
        let random = Arc::clone(&random);
        tasks.spawn(async move {
            for identity in identities.iter().skip(first).step_by(limits::CONNECTING) {
                refresh(&api, identity, &clock, &random).await?;
            }
            Ok::<_, BenchError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn refresh(
    api: &DeviceApi,
    identity: &Identity,
    clock: &DeviceClock,
    random: &SharedRandom,
) -> Result<(), BenchError> {
    let answer = api.token(identity, clock, random.as_ref(), TokenKind::Key).await;
    answer.map(drop).map_err(|error| BenchError::new(format!("refresh: {error}")))
}
