//! Cost of a refused CONNECT for the server, by the guard that refuses it, beside an accepted one.

use super::super::crowd::{Crowd, Member};
use super::super::error::BenchError;
use super::super::limits;
use super::super::packet;
use super::super::server::Running;
use super::super::stage::{Sample, Stage};
use super::connect::burst;

/// Seconds that a stale proof is late: far outside of the window of 60.
const LATE: u64 = 600;
/// Where the last byte of the kid stands in a token: tags 3, array 1, then the protected header with its length byte.
const PROTECTED_AT: usize = 4;

/// The kinds, by the guard that stops them; `Microseconds of the server's processor` go under the name.
const KINDS: [(&str, Spoil); 5] = [
    ("garbage_us", garbage),
    ("unknown_kid_us", unknown_kid),
    ("stale_proof_us", stale_proof),
    ("bad_token_signature_us", bad_token),
    ("bad_proof_signature_us", bad_proof),
];

type Spoil = fn(&Crowd, &Member) -> Vec<u8>;

/// One round: the sample is that of the accepted ones.
pub(super) async fn run(stage: &Stage, running: &Running) -> Result<Sample, BenchError> {
    let members = stage.devices.first(limits::REFUSED);
    let good: Spoil = |crowd, member| crowd.password(member, crowd.now());
    let accepted = send(stage, running, members, good, true).await?;
    let mut total = Sample::default();
    let mut values = vec![("accepted_us", accepted.cpu_micros())];
    for (name, spoil) in KINDS {
        let sample = send(stage, running, members, spoil, false).await?;
        values.push((name, sample.cpu_micros()));
        total.add(&sample);
    }
    Ok(values.into_iter().fold(total, |sample, (name, value)| sample.with(name, value)))
}

async fn send(
    stage: &Stage,
    running: &Running,
    members: &[Member],
    password: Spoil,
    accepted: bool,
) -> Result<Sample, BenchError> {
    let packet = |m: &Member| packet::connect(&m.id, Some((&m.id, &password(&stage.devices, m))));
    let packets = members.iter().map(packet).collect();
    burst(stage, running, packets, limits::REFUSING, accepted).await
}

pub(super) fn garbage(_: &Crowd, member: &Member) -> Vec<u8> {
    vec![0x55; Crowd::token_bytes(member) + 74]
}

pub(super) fn unknown_kid(crowd: &Crowd, member: &Member) -> Vec<u8> {
    let mut password = crowd.password(member, crowd.now());
    let length = password.get(PROTECTED_AT).map_or(0, |head| usize::from(head & 0x1f));
    flip(&mut password, PROTECTED_AT + length);
    password
}

pub(super) fn stale_proof(crowd: &Crowd, member: &Member) -> Vec<u8> {
    crowd.password(member, crowd.now().minus(LATE))
}

pub(super) fn bad_token(crowd: &Crowd, member: &Member) -> Vec<u8> {
    let mut password = crowd.password(member, crowd.now());
    flip(&mut password, Crowd::token_bytes(member) - 1);
    password
}

pub(super) fn bad_proof(crowd: &Crowd, member: &Member) -> Vec<u8> {
    let mut password = crowd.password(member, crowd.now());
    let last = password.len() - 1;
    flip(&mut password, last);
    password
}

fn flip(password: &mut [u8], at: usize) {
    if let Some(byte) = password.get_mut(at) {
        *byte ^= 0x01;
    }
}
