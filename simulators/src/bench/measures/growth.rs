//! Cost of one operation beside a thousand sessions and beside many, and how much more that is.
//!
//! A thousand devices come, subscribe, publish and leave beside those who stay; the backend commands all who stay.

use super::super::connection::Conn;
use super::super::crowd::Member;
use super::super::error::BenchError;
use super::super::limits;
use super::super::packet::Qos;
use super::super::server::Running;
use super::super::stage::{hold, hold_signed, single, subscribe_all, Meter, Sample, Stage};
use super::command::{Fleet, Pace};
use super::fan_in;

/// Microseconds of the server for one operation, by its place in [`NAMES`].
type Costs = [f64; NAMES.len()];

/// (beside few, beside many, many by few).
const NAMES: [(&str, &str, &str); 5] = [
    ("connect_few_us", "connect_many_us", "connect_growth"),
    ("subscribe_few_us", "subscribe_many_us", "subscribe_growth"),
    ("command_few_us", "command_many_us", "command_growth"),
    ("fan_in_few_us", "fan_in_many_us", "fan_in_growth"),
    ("leave_few_us", "leave_many_us", "leave_growth"),
];

/// One round: the sample is that of the commands beside many.
pub(super) async fn run(stage: &Stage, running: &Running) -> Result<Sample, BenchError> {
    let members = stage.growth.members();
    let moving = limits::SPREAD.min(members.len() / 3);
    let (movers, stayers) = members.split_at_checked(moving).unwrap_or_default();
    let (few, more) = stayers.split_at_checked(moving).unwrap_or_default();
    let mut fleet = Fleet::default();
    fleet.join(hold(&stage.growth, few, running).await?, few).await?;
    let (low, _) = level(stage, running, &fleet, movers).await?;
    fleet.join(hold(&stage.growth, more, running).await?, more).await?;
    let (high, sample) = level(stage, running, &fleet, movers).await?;
    let costs = low.into_iter().zip(high);
    let sample = NAMES.iter().zip(costs).fold(sample, |sample, (names, (low, high))| {
        let growth = high / low.max(1e-3);
        sample.with(names.0, low).with(names.1, high).with(names.2, growth)
    });
    Ok(sample.with("few", few.len() as f64).with("many", stayers.len() as f64))
}

async fn level(
    stage: &Stage,
    running: &Running,
    fleet: &Fleet,
    movers: &[Member],
) -> Result<(Costs, Sample), BenchError> {
    tokio::time::sleep(limits::REST).await;
    let (mut connect, mut subscribe, mut leave) = <(Sample, Sample, Sample)>::default();
    let mut last = Vec::new();
    for turn in 1..=limits::GROWTH_TURNS {
        let conns = come(stage, running, movers, &mut connect).await?;
        let conns = ask(stage, running, conns, movers, &mut subscribe).await?;
        match turn < limits::GROWTH_TURNS {
            true => go(stage, running, conns, &mut leave).await?,
            false => last = conns,
        }
    }
    let mut backend = single(&stage.backend, running).await?;
    let command = fleet.command(stage, running, &mut backend, Pace::Heard).await?;
    backend.subscribe(fan_in::FILTER, Qos::Zero).await?;
    let with_message =
        |(conn, member): (Conn, &Member)| (conn, fan_in::message(&member.id, Qos::Zero));
    let mut devices: Vec<_> = last.into_iter().zip(movers).map(with_message).collect();
    let fan_in = fan_in::pour(stage, running, &mut backend, &mut devices).await?;
    let conns = devices.into_iter().map(|(conn, _)| conn).collect();
    go(stage, running, conns, &mut leave).await?;
    backend.close().await?;
    let all = [&connect, &subscribe, &command, &fan_in, &leave];
    Ok((all.map(Sample::cpu_micros), command))
}

async fn come(
    stage: &Stage,
    running: &Running,
    movers: &[Member],
    total: &mut Sample,
) -> Result<Vec<Conn>, BenchError> {
    let sign = |member| stage.growth.connect(member, running.server);
    let packets: Vec<_> = movers.iter().map(sign).collect();
    let (count, meter) = (packets.len() as u64, Meter::start(stage, running)?);
    let conns = hold_signed(packets, running).await?;
    total.add(&meter.stop(count).await?);
    Ok(conns)
}

async fn ask(
    stage: &Stage,
    running: &Running,
    conns: Vec<Conn>,
    movers: &[Member],
    total: &mut Sample,
) -> Result<Vec<Conn>, BenchError> {
    let topics = movers.iter().map(Member::command_topic).collect();
    let (count, meter) = (conns.len() as u64, Meter::start(stage, running)?);
    let conns = subscribe_all(conns, topics, Qos::One).await?;
    total.add(&meter.stop(count).await?);
    Ok(conns)
}

async fn go(
    stage: &Stage,
    running: &Running,
    conns: Vec<Conn>,
    total: &mut Sample,
) -> Result<(), BenchError> {
    let (count, meter) = (conns.len() as u64, Meter::start(stage, running)?);
    for conn in conns {
        conn.close().await?;
    }
    total.add(&meter.stop(count).await?);
    Ok(())
}
