//! Storms that all devices make at once: they come back, they need tokens, they are revoked.

use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::stop::Stop;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::limits;
use super::report::{stages, Report, Stage as Times};
use super::run::{Say, Told};
use super::series::Point;
use super::stage::Stage;
use crate::device::api::longer;
use crate::device::life::Device;
use crate::device::renewal::jitter;
use crate::limits::BACKOFF;
use crate::mqtt::{Closed, Incoming, Link};
use crate::report::{Histogram, Tally};

/// A device and its connection.
struct Member {
    at: usize,
    device: Device,
    link: Link,
}

/// All lose their connection at once and come back.
pub(super) async fn reconnect(
    stage: &Stage,
    devices: Vec<Device>,
    stop: &Stop,
    say: Say<'_>,
    report: &mut Report,
) {
    let members = first(stage, devices, stop, say).await;
    // Dropped links close their sockets without a DISCONNECT, as in an outage.
    let devices: Vec<_> = members.into_iter().map(|member| (member.at, member.device)).collect();
    let count = devices.len();
    say(Told::Note(&format!("{count} connections are closed; all come back at once")));
    let (tally, back) = (Arc::new(Tally::default()), Arc::new(Histogram::default()));
    let began = stage.clock.monotonic();
    let members = connect_all(stage, devices, &tally, &back, stop, say).await;
    let took = stage.clock.monotonic().saturating_sub(began);
    report.values.insert("devices that came back".to_owned(), members.len() as f64);
    told(report, stage, &tally, took);
    report.stages.extend(Times::of("outage to connack", &back));
    leave(members).await;
}

/// All need a new token at once, as after an outage of provisioning that outlived their tokens, and connect with it.
pub(super) async fn refresh(
    stage: &Stage,
    devices: Vec<Device>,
    stop: &Stop,
    say: Say<'_>,
    report: &mut Report,
) {
    let (tally, ready) = (Arc::new(Tally::default()), Arc::new(Histogram::default()));
    say(Told::Note(&format!("{} devices ask for a new token at once", devices.len())));
    let permits = Arc::new(Semaphore::new(limits::REFRESHING));
    let began = stage.clock.monotonic();
    let mut tasks = JoinSet::new();
    for (at, mut device) in devices.into_iter().enumerate() {
        let (permits, world) = (Arc::clone(&permits), stage.world_of(at, &tally));
        tasks.spawn(async move {
            let mut wait = BACKOFF.0;
            let former = device.token().bytes.clone();
            loop {
                let permit = permits.acquire().await;
                device.refresh_by_rest(&world).await;
                drop(permit);
                if device.token().bytes != former {
                    return (at, device);
                }
                sleep(jitter(wait, &*device.random)).await;
                wait = longer(wait);
            }
        });
    }
    let refreshed = gather(tasks, stage, &tally, stop, say).await;
    let took = stage.clock.monotonic().saturating_sub(began);
    report.values.insert("devices with a new token".to_owned(), refreshed.len() as f64);
    report.values.insert("seconds until the last token".to_owned(), took.as_secs_f64());
    let rate = refreshed.len() as f64 / took.as_secs_f64().max(0.001);
    report.values.insert("tokens a second".to_owned(), rate);
    let members = connect_all(stage, refreshed, &tally, &ready, stop, say).await;
    told(report, stage, &tally, stage.clock.monotonic().saturating_sub(began));
    report.stages.extend(Times::of("new token to connack", &ready));
    leave(members).await;
}

/// All are revoked while they are connected; none comes back.
pub(super) async fn revocation(
    stage: &Stage,
    devices: Vec<Device>,
    stop: &Stop,
    say: Say<'_>,
    report: &mut Report,
) {
    let members = first(stage, devices, stop, say).await;
    say(Told::Note(&format!("{} devices are revoked", members.len())));
    let tally = &stage.world.tally;
    let closed = Arc::new(Histogram::default());
    let began = stage.clock.monotonic();
    let permits = Arc::new(Semaphore::new(limits::REQUESTS));
    let mut tasks = JoinSet::new();
    for member in members {
        let victim = Victim {
            permits: Arc::clone(&permits),
            clock: Arc::clone(&stage.clock),
            closed: Arc::clone(&closed),
            operator: stage.plan.operator.clone(),
            world: stage.world_of(member.at, &Arc::new(Tally::default())),
        };
        tasks.spawn(victim.end(member));
    }
    let ends = gather(tasks, stage, tally, stop, say).await;
    let took = stage.clock.monotonic().saturating_sub(began);
    told(report, stage, tally, took);
    // The time is that of the revocations.
    (report.connects_a_second, report.all_connected_after) = (None, None);
    for end in ends {
        match end {
            End::Refused(code) => *report.refusals.entry(code).or_default() += 1,
            End::Failed(code) => *report.failures.entry(code).or_default() += 1,
        }
    }
    report.stages.extend(Times::of("revoked to closed", &closed));
}

struct Victim {
    permits: Arc<Semaphore>,
    clock: SharedClock,
    closed: Arc<Histogram>,
    operator: crate::operator::OperatorClient,
    world: crate::device::life::World,
}

enum End {
    /// It was closed, and refused with this code when it came back.
    Refused(String),
    /// It was not, by this name.
    Failed(String),
}

impl Victim {
    /// Revokes the device, waits for the end of its connection, and lets it come back.
    async fn end(self, member: Member) -> End {
        let Member { mut device, mut link, .. } = member;
        let (clock, id) = (Arc::clone(&self.clock), device.identity.device.as_str().to_owned());
        let closing = tokio::spawn(async move {
            loop {
                if let Incoming::Closed(_) = link.next().await {
                    return clock.monotonic();
                }
            }
        });
        let permit = self.permits.acquire().await;
        let revoked = self.operator.revoke_device(&device.identity.tenant, &id).await;
        drop(permit);
        if let Err(error) = revoked {
            closing.abort();
            let code = error.code().map_or("http_error", |code| code.as_str());
            return End::Failed(format!("revoke:{code}"));
        }
        let answered = self.clock.monotonic();
        match timeout(limits::CLOSED_WITHIN, closing).await {
            Ok(Ok(at)) => self.closed.observe(at.saturating_sub(answered)),
            _ => return End::Failed("stayed_connected".to_owned()),
        }
        match device.link(&self.world).await {
            Ok(_) => End::Failed("came_back_when_revoked".to_owned()),
            Err(Closed::Refused(reason)) => End::Refused(format!("connect:{reason}")),
            Err(other) => End::Failed(other.kind()),
        }
    }
}

/// Connects all devices for the first time.
async fn first(stage: &Stage, devices: Vec<Device>, stop: &Stop, say: Say<'_>) -> Vec<Member> {
    let devices: Vec<_> = devices.into_iter().enumerate().collect();
    let (tally, whole) = (&stage.world.tally, Arc::new(Histogram::default()));
    connect_all(stage, devices, tally, &whole, stop, say).await
}

/// Connects all devices, each until it is let in; `took` observes the time of each from the beginning.
async fn connect_all(
    stage: &Stage,
    devices: Vec<(usize, Device)>,
    tally: &Arc<Tally>,
    took: &Arc<Histogram>,
    stop: &Stop,
    say: Say<'_>,
) -> Vec<Member> {
    let began = stage.clock.monotonic();
    let mut tasks = JoinSet::new();
    for (at, mut device) in devices {
        let (world, took) = (stage.world_of(at, tally), Arc::clone(took));
        let clock = Arc::clone(&stage.clock);
        tasks.spawn(async move {
            let mut wait = BACKOFF.0;
            loop {
                match device.link(&world).await {
                    Ok(link) => {
                        took.observe(clock.monotonic().saturating_sub(began));
                        world.tally.online.one();
                        return Member { at, device, link };
                    }
                    Err(closed) => world.tally.failure(&closed.kind()),
                }
                sleep(jitter(wait, &*device.random)).await;
                wait = longer(wait);
            }
        });
    }
    gather(tasks, stage, tally, stop, say).await
}

/// Waits for all tasks with a line a second, or until the time of the run is over.
async fn gather<T: Send + 'static>(
    mut tasks: JoinSet<T>,
    stage: &Stage,
    tally: &Tally,
    stop: &Stop,
    say: Say<'_>,
) -> Vec<T> {
    let mut done = Vec::with_capacity(tasks.len());
    let mut seconds = tokio::time::interval(limits::SECOND);
    seconds.tick().await;
    loop {
        tokio::select! {
            one = tasks.join_next() => match one {
                Some(Ok(one)) => done.push(one),
                Some(Err(error)) => tally.failure(if error.is_panic() { "panic" } else { "aborted" }),
                None => return done,
            },
            _ = seconds.tick() => {
                let now = stage.elapsed();
                let point = Point::of(tally, now.as_secs_f64());
                say(Told::Progress(&format!(
                    "{:>4.0}s  done {}, left {}  connections {}  failures {}",
                    point.second, done.len(), tasks.len(), point.connections, point.failures,
                )));
                if stage.plan.lasts.is_some_and(|lasts| now >= lasts) {
                    tally.failure("out_of_time");
                    return done;
                }
            }
            () = stop.stopping() => {
                tally.failure("stopped");
                return done;
            }
        }
    }
}

/// The numbers of the storm, in the place of those before it.
fn told(report: &mut Report, stage: &Stage, tally: &Tally, took: Duration) {
    report.count(tally);
    report.seconds = took.as_secs_f64();
    report.stages = stages(tally);
    let connects = report.connections as f64 / took.as_secs_f64().max(0.001);
    report.connects_a_second = Some(connects);
    report.all_connected_after = Some(took.as_secs_f64());
    report.enrolled = stage.world.tally.enrolled.get();
    let before = stage.world.tally.failures_by_code();
    if !std::ptr::eq(tally, &*stage.world.tally) {
        for (code, count) in before {
            *report.failures.entry(code).or_default() += count;
        }
        // A device connects for the first time once: those of the storm are the same.
        report.connected = report.connected.max(stage.world.tally.connected.get());
    }
}

/// Ends all connections as MQTT wants.
async fn leave(members: Vec<Member>) {
    let mut tasks = JoinSet::new();
    for member in members {
        tasks.spawn(member.link.close());
    }
    let _ = timeout(limits::DRAIN, tasks.join_all()).await;
}
