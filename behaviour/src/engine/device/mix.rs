//! The mix of topics of a device: the share of each class, judged for every thirty messages or so.

use super::super::num::{at, put, Fixed};
use super::super::record::{Flow, Flowed};
use super::super::shift::Shift;
use super::topics::CLASSES;

/// Messages after which the mix is judged, at the end of the hour.
const BATCH: u32 = 30;

/// Shares of the classes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in super::super) struct Mix {
    /// Messages by class since the last judgement.
    batch: [u16; CLASSES],
    /// Values that wait for the group.
    due: [Fixed<8192>; CLASSES],
    pub(in super::super) is_due: bool,
    pub(in super::super) classes: [Class; CLASSES],
    pub(in super::super) seen: u8,
    pub(in super::super) epoch: u8,
}

/// One class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in super::super) struct Class {
    own: Fixed<16384>,
    scale: Fixed<16384>,
    pub(in super::super) shift: Shift,
}

impl Class {
    pub(in super::super) fn own(&self) -> f32 {
        self.own.get()
    }

    pub(in super::super) fn scale(&self) -> f32 {
        self.scale.get()
    }

    pub(in super::super) fn learn(&mut self, own: f32, scale: f32) {
        self.own.set(own);
        self.scale.set(scale);
    }
}

impl Mix {
    pub(in super::super) fn add(&mut self, class: u8, count: u32) {
        let place = usize::from(class);
        let more = u16::try_from(count).unwrap_or(u16::MAX);
        let sum = at(&self.batch, place).saturating_add(more);
        put(&mut self.batch, place, sum);
    }

    /// The hour ends: fixes the values when there are enough messages.
    pub(in super::super) fn end_hour(&mut self) -> Option<[f32; CLASSES]> {
        let total: u32 = self.batch.iter().map(|count| u32::from(*count)).sum();
        self.is_due = total >= BATCH;
        if !self.is_due {
            return None;
        }
        let mut values = [0.0; CLASSES];
        for ((value, due), count) in values.iter_mut().zip(&mut self.due).zip(&self.batch) {
            let share = (f32::from(*count) + 0.375) / (total as f32 + 0.75);
            *value = share.sqrt().asin();
            due.set(*value);
        }
        self.batch = [0; CLASSES];
        Some(values)
    }

    pub(in super::super) fn due(&self, class: usize) -> f32 {
        at(&self.due, class).get()
    }

    pub(in super::super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        for count in &mut self.batch {
            flow.u16(count)?;
        }
        for class in &mut self.classes {
            flow.i16(&mut class.own.0)?;
            flow.i16(&mut class.scale.0)?;
            class.shift.flow(flow)?;
        }
        flow.u8(&mut self.seen)?;
        flow.u8(&mut self.epoch)
    }
}
