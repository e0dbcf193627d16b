//! The judgement of the mix of topics.

use std::f32::consts::FRAC_PI_2;

use super::device::{Device, CLASSES};
use super::group::Group;
use super::habit::Peers;
use super::judge::Hour;
use super::shift::Score;
use super::signal::{Alarm, SignalName};
use super::stat::MIX;

/// How far the share of a class scatters.
pub(super) fn mix_deviation(scale: f32, seen: u8, group: Option<f32>) -> f32 {
    let seen = f32::from(seen);
    let group = group.unwrap_or(scale).max(super::habit::LEAST);
    let squares = (24.0 * group * group + seen * scale * scale) / (24.0 + seen);
    (squares.sqrt() * 1.25 * (1.0 + 1.0 / seen.max(1.0)).sqrt()).max(super::habit::LEAST)
}

/// Judges the mix of topics of an hour, and learns from it.
pub(super) fn mix(
    device: &mut Device,
    group: &mut Group,
    hour: Hour,
    budget: f32,
    alarms: &mut Vec<Alarm>,
) {
    let epoch = group.mix.iter().fold(0_u8, |sum, stat| sum.wrapping_add(stat.peers.epoch));
    if device.mix.epoch != epoch {
        (device.mix.epoch, device.mix.seen) = (epoch, device.mix.seen.min(1));
    }
    let is_anew = group.mix.iter().any(|stat| stat.peers.is_anew);
    let (seen, is_due) = (device.mix.seen, device.mix.is_due);
    let is_sure = u16::from(seen) >= MIX.need;
    let mut worst: Option<Alarm> = None;
    for place in 0..CLASSES {
        let value = device.mix.due(place);
        let (Some(class), Some(stat)) =
            (device.mix.classes.get_mut(place), group.mix.get_mut(place))
        else {
            continue;
        };
        let mut score = if is_anew { Score::Anew } else { Score::Nothing };
        let mut found = None;
        if is_due {
            let peers: Peers = stat.peers;
            let raw = value - class.own();
            let r = if seen > 0 { raw - peers.common } else { raw };
            let deviation = mix_deviation(class.scale(), seen, peers.scale);
            let z = r / deviation;
            if is_sure {
                found = Some((z, r));
                if !is_anew {
                    stat.tail.add(z);
                    score = Score::Of { z, r };
                }
            }
            if seen == 0 {
                class.learn(value, class.scale());
            } else {
                let rate = (1.0 / (f32::from(seen) + 1.0)).max(MIX.forget);
                let most = if is_anew { 10.0 } else { 2.0 } * deviation + peers.common.abs();
                let own = class.own() + rate * raw.clamp(-most, most);
                let rate = (1.0 / f32::from(seen)).max(0.01);
                let most = if seen < 12 { 1.0 } else { 4.0 * deviation };
                let scale = class.scale() + rate * (r.abs().min(most) - class.scale());
                class.learn(own, scale);
            }
        }
        let wide = stat.tail.persistence() * (1.0 + 6.0 / f32::from(seen.max(1))).sqrt();
        let evidence = class.shift.add(score, wide);
        let (steps, floor) = MIX.shift.unwrap_or((1e6, 1.0));
        let is_shift = evidence > steps.ln() - budget && class.shift.level() > floor;
        let is_beyond = found.is_some_and(|(z, r)| {
            !is_anew && z > stat.tail.threshold(MIX.alpha * budget.exp()) && r > MIX.floor
        });
        if is_shift {
            class.shift.told();
        }
        if is_shift || is_beyond {
            let tail = found.map_or(0.0, |(z, _)| stat.tail.evidence(z));
            let share = |value: f32| value.clamp(0.0, FRAC_PI_2).sin().powi(2) * 100.0;
            let alarm = Alarm {
                signal: SignalName::Mix,
                evidence: if is_beyond { tail.max(evidence) } else { evidence },
                since: hour.end().saturating_sub(3600 * u32::from(class.shift.hours()).max(1)),
                seen: share(value),
                usual: share(class.own()),
                is_loud: false,
            };
            if worst.is_none_or(|worst| alarm.evidence > worst.evidence) {
                worst = Some(alarm);
            }
        }
    }
    if is_due {
        device.mix.seen = seen.saturating_add(1);
        device.mix.is_due = false;
    }
    alarms.extend(worst);
}
