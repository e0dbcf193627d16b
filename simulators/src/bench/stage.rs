//! Parts that a measure needs: who connects, by which clock, and the meter of one section.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::secret::Secret;
use tessera_token::ids::TenantId;
use tessera_token::key::{Preparation, Thumbprint};
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::topic::{TopicFilter, TopicName};
use tokio::task::JoinSet;

use super::connection::Conn;
use super::crowd::{Crowd, Member};
use super::error::BenchError;
use super::limits;
use super::server::Running;
use super::usage::Usage;
use crate::device::api::DeviceApi;
use crate::operator::OperatorClient;

/// Everything that exists before the first server is measured.
pub(super) struct Stage {
    pub(super) clock: SharedClock,
    pub(super) operator: OperatorClient,
    pub(super) tenant: TenantId,
    /// Provisioning, as devices ask it.
    pub(super) api: DeviceApi,
    /// The same, as readers of the trust feed ask it: where it is, their token, and the root key that they believe.
    pub(super) http: String,
    pub(super) feed_token: Secret<String>,
    pub(super) root: Thumbprint,
    /// How long a rate is measured.
    pub(super) seconds: f64,
    /// How long the disk of a quiet system is watched.
    pub(super) quiet: Duration,
    /// Devices of one import.
    pub(super) imported: usize,
    /// Devices of the role `sensor`.
    pub(super) devices: Crowd,
    /// The same devices with symmetric tokens; none when that is not measured.
    pub(super) symmetric: Crowd,
    /// Of the same role and in part the same: those who stay and those who come and go in `growth`.
    pub(super) growth: Crowd,
    /// One of the role `backend`.
    pub(super) backend: Crowd,
    /// Members of a role with a topic in common.
    pub(super) fans: Crowd,
    /// Devices that are there to be revoked, a hundred a round.
    pub(super) victims: Crowd,
}

impl Stage {
    /// Microseconds of the two signature checks that a connect cannot do without, as the product does them, the best of
    /// many, since others may use the processor: the issuer's by a prepared key, the device's by one met just now.
    pub(super) fn verification_micros(&self) -> f64 {
        let Some(member) = self.devices.members().first() else { return 0.0 };
        let micros = |key| {
            let check = self.devices.one_check(member, key);
            self.best_micros(|| {
                std::hint::black_box(check());
            })
        };
        let key = member.public();
        micros(key.clone().prepared(&Preparation::new())) + micros(key)
    }

    /// Nanoseconds in which one publish is authorised against ten scope entries of which none fits.
    pub(super) fn authorise_nanos(&self) -> Option<f64> {
        let entry = |number| {
            let filter = TopicFilter::parse(&format!("d/d0001/topic-{number}")).ok()?;
            Some(ScopeEntry { filter, permission: Permission::Publish })
        };
        let scope = Scope::new((0..10).map(entry).collect::<Option<_>>()?).ok()?;
        let topic = TopicName::parse("d/d0002/topic-9").ok()?;
        let times = limits::CHECKS;
        let all = self.best_micros(|| {
            for _ in 0..times {
                std::hint::black_box(scope.may_publish(std::hint::black_box(&topic)));
            }
        });
        Some(all * 1e3 / times as f64)
    }

    fn best_micros(&self, what: impl Fn()) -> f64 {
        let times = (0..limits::CHECKS).map(|_| {
            let began = self.clock.monotonic();
            what();
            self.clock.monotonic().saturating_sub(began).as_secs_f64() * 1e6
        });
        times.fold(f64::INFINITY, f64::min)
    }
}

/// Usage of one section of one round. Sections of one operation each add up.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// Operations done.
    pub operations: u64,
    /// Seconds that they took.
    pub wall_seconds: f64,
    /// Seconds of processor that the server used for them.
    pub server_cpu_seconds: f64,
    /// Seconds of processor that the load generator used.
    pub generator_cpu_seconds: f64,
    /// KiB resident at most over the server's life.
    pub peak_kib: f64,
    /// Further figures, by name with the unit.
    pub values: BTreeMap<&'static str, f64>,
}

impl Sample {
    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.wall_seconds.max(1e-9)
    }

    /// Microseconds of the server's processor for each operation.
    pub fn cpu_micros(&self) -> f64 {
        self.server_cpu_seconds * 1e6 / (self.operations as f64).max(1.0)
    }

    /// Microseconds of the generator's processor for each operation.
    pub fn generator_micros(&self) -> f64 {
        self.generator_cpu_seconds * 1e6 / (self.operations as f64).max(1.0)
    }

    pub(super) fn with(mut self, name: &'static str, value: f64) -> Self {
        self.values.insert(name, value);
        self
    }

    /// Adds a further section of the same measure.
    pub(super) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.wall_seconds += other.wall_seconds;
        self.server_cpu_seconds += other.server_cpu_seconds;
        self.generator_cpu_seconds += other.generator_cpu_seconds;
        self.peak_kib = self.peak_kib.max(other.peak_kib);
    }
}

/// Measures one section.
pub(super) struct Meter {
    /// Each with its usage when it began.
    servers: Vec<(u32, Usage)>,
    clock: SharedClock,
    began: Duration,
    own: Usage,
}

impl Meter {
    pub(super) fn start(stage: &Stage, running: &Running) -> Result<Self, BenchError> {
        Self::of_processes(stage, &[running.pid])
    }

    /// Of the server in these processes.
    pub(super) fn of_processes(stage: &Stage, processes: &[u32]) -> Result<Self, BenchError> {
        let clock = Arc::clone(&stage.clock);
        let each = processes.iter().map(|process| Ok((*process, Usage::of(*process)?)));
        let servers = each.collect::<Result<_, BenchError>>()?;
        let (own, began) = (Usage::own(), clock.monotonic());
        Ok(Self { servers, clock, began, own })
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.began)
    }

    /// Ends it now.
    pub(super) async fn stop(self, operations: u64) -> Result<Sample, BenchError> {
        let wall = self.elapsed();
        self.stop_after(operations, wall).await
    }

    /// Ends it; the last operation was done at `wall`.
    pub(super) async fn stop_after(
        self,
        operations: u64,
        wall: Duration,
    ) -> Result<Sample, BenchError> {
        let own = Usage::own();
        tokio::time::sleep(limits::SETTLE).await;
        let (mut cpu, mut peak) = (0.0, 0.0);
        for (process, before) in &self.servers {
            let after = Usage::of(*process)?;
            cpu += after.cpu_since(before);
            peak += after.peak;
        }
        Ok(Sample {
            operations,
            wall_seconds: wall.as_secs_f64(),
            server_cpu_seconds: cpu,
            generator_cpu_seconds: own.cpu_since(&self.own),
            peak_kib: peak,
            values: BTreeMap::new(),
        })
    }
}

/// Connects members and keeps them, in their order.
pub(super) async fn hold(
    crowd: &Crowd,
    members: &[Member],
    running: &Running,
) -> Result<Vec<Conn>, BenchError> {
    let mut held = Vec::with_capacity(members.len());
    for slice in members.chunks(limits::SIGNED_AT_ONCE) {
        let packets = slice.iter().map(|member| crowd.connect(member, running.server)).collect();
        held.extend(hold_signed(packets, running).await?);
    }
    Ok(held)
}

/// The same for packets that are signed already.
pub(super) async fn hold_signed(
    packets: Vec<Vec<u8>>,
    running: &Running,
) -> Result<Vec<Conn>, BenchError> {
    let (place, packets) = (&running.place, Arc::new(packets));
    let mut tasks = JoinSet::new();
    for first in 0..limits::CONNECTING.min(packets.len()) {
        let (place, packets) = (place.clone(), Arc::clone(&packets));
        tasks.spawn(async move {
            let mut held = Vec::new();
            for (at, packet) in packets.iter().enumerate().skip(first).step_by(limits::CONNECTING) {
                held.push((at, Conn::open(&place, packet).await?));
            }
            Ok::<_, BenchError>(held)
        });
    }
    let mut all = Vec::with_capacity(packets.len());
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, conn)| conn).collect())
}

/// Connects the only member of a crowd.
pub(super) async fn single(crowd: &Crowd, running: &Running) -> Result<Conn, BenchError> {
    let mut held = hold(crowd, crowd.first(1), running).await?;
    held.pop().ok_or_else(|| BenchError::new("no device to connect"))
}

/// Subscribes every connection to a filter of its own.
pub(super) async fn subscribe_all(
    conns: Vec<Conn>,
    filters: Vec<String>,
    qos: super::packet::Qos,
) -> Result<Vec<Conn>, BenchError> {
    let mut work: Vec<Vec<(usize, Conn, String)>> = Vec::new();
    work.resize_with(limits::CONNECTING, Vec::new);
    for (at, (conn, filter)) in conns.into_iter().zip(filters).enumerate() {
        if let Some(share) = work.get_mut(at % limits::CONNECTING) {
            share.push((at, conn, filter));
        }
    }
    let mut tasks = JoinSet::new();
    for share in work {
        tasks.spawn(async move {
            let mut done = Vec::with_capacity(share.len());
            for (at, mut conn, filter) in share {
                conn.subscribe(&filter, qos).await?;
                done.push((at, conn));
            }
            Ok::<_, BenchError>(done)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, conn)| conn).collect())
}
