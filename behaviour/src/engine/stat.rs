//! The statistics of an hour: what each is called, how long it is learned, and its share of the budget.

use super::signal::SignalName;

/// A statistic of an hour of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stat {
    /// Bytes.
    Volume,
    /// The most bytes in five minutes.
    Burst,
    /// The most messages in five minutes.
    Messages,
    /// The most messages in ten seconds.
    Ten,
    /// Bytes of a message.
    Size,
    /// Messages in a slot of five minutes with any.
    Pace,
    /// Bytes that were sent to it.
    Received,
}

/// How many there are.
pub(super) const STATS: usize = 7;

/// How a statistic is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rules {
    pub(super) signal: SignalName,
    /// Values to be seen before it is judged.
    pub(super) need: u16,
    /// The least part of a new value in its level.
    pub(super) forget: f32,
    /// False alarms of the test of an hour's value.
    pub(super) alpha: f32,
    /// The least factor, as a logarithm, that is worth an alarm.
    pub(super) floor: f32,
    /// The factor beyond which it is told although the group changed.
    pub(super) floor_anew: f32,
    /// Deviations of a common move that make the group learn anew.
    pub(super) moves: f32,
    /// The least move, as a logarithm of a factor, that counts as a change of the group.
    pub(super) effect: f32,
    /// The hourly steps between two false alarms of its shift, and the least level; `None` for no such test.
    pub(super) shift: Option<(f32, f32)>,
}

/// A factor beyond every other one: while its group changes, the statistic says nothing.
const NEVER: f32 = 99.0;

impl Stat {
    pub(super) const ALL: [Self; STATS] = [
        Self::Volume,
        Self::Burst,
        Self::Messages,
        Self::Ten,
        Self::Size,
        Self::Pace,
        Self::Received,
    ];

    /// The part of the day of an hour of the day, for a habit with `parts` parts.
    pub(super) fn part(parts: usize, hour_of_day: usize) -> usize {
        hour_of_day * parts / 24
    }

    pub(super) fn rules(self) -> Rules {
        let base = Rules {
            signal: SignalName::Volume,
            need: 36,
            forget: 1.0 / 60.0,
            alpha: 1e-4 / 24.0,
            floor: 0.8,
            floor_anew: NEVER,
            moves: 9.0,
            effect: 0.4,
            shift: None,
        };
        let shift = Some((SHIFT_DAYS * 24.0, 0.14));
        match self {
            Self::Volume => Rules { need: 72, forget: 0.1, alpha: 1e-5 / 24.0, floor: 0.9, ..base },
            Self::Burst => Rules { signal: SignalName::Burst, ..base },
            Self::Messages => Rules { signal: SignalName::BurstOfMessages, ..base },
            Self::Ten => Rules {
                signal: SignalName::Flood,
                forget: 1.0 / 240.0,
                alpha: 1e-5 / 24.0,
                floor: 1.8,
                ..base
            },
            Self::Size => Rules {
                signal: SignalName::Size,
                forget: 1.0 / 240.0,
                alpha: 4e-5 / 24.0,
                floor: 0.26,
                floor_anew: 1.1,
                moves: 0.8,
                effect: 0.1,
                shift,
                ..base
            },
            Self::Pace => Rules {
                signal: SignalName::Pace,
                effect: 0.15,
                alpha: 4e-5 / 24.0,
                // One message more in three slots of a device that sends one in each is no pace.
                floor: 0.38,
                floor_anew: 1.1,
                shift,
                ..base
            },
            Self::Received => Rules {
                signal: SignalName::Received,
                forget: 1.0 / 240.0,
                alpha: 1e-5 / 24.0,
                floor: 1.4,
                ..base
            },
        }
    }
}

/// Device-days between two false alarms of a shift of one statistic.
const SHIFT_DAYS: f32 = 5e4;

/// The rules of a class of topics.
pub(super) const MIX: Rules = Rules {
    signal: SignalName::Mix,
    need: 8,
    forget: 1.0 / 240.0,
    alpha: 1e-5 / 24.0,
    floor: 0.15,
    floor_anew: NEVER,
    moves: 0.8,
    effect: 0.08,
    shift: Some((1e6 * 24.0, 0.05)),
};
