//! Topics of a device: which it knows, and to which class of its group each belongs.

use super::super::num::{at, put};
use super::super::record::{Flow, Flowed};

/// Classes of topics of a group; the last one stands for all further topics.
pub(in super::super) const CLASSES: usize = 5;
const RECENT: usize = 6;

/// Known topics: a few recent ones exactly, the rest as bits in two generations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in super::super) struct Topics {
    recent: [u32; RECENT],
    classes: [u8; RECENT],
    next: u8,
    /// Marks in the younger generation.
    marked: u8,
    young: [u64; 2],
    old: [u64; 2],
}

impl Topics {
    /// The class of a topic that was used a short while ago.
    pub(in super::super) fn recent(&self, mark: u32) -> Option<u8> {
        let place = self.recent.iter().position(|recent| *recent == mark)?;
        Some(at(&self.classes, place))
    }

    /// Takes in a topic that is not recent, and tells whether it is new.
    pub(in super::super) fn add(&mut self, mark: u64, class: u8) -> bool {
        let place = usize::from(self.next);
        put(&mut self.recent, place, super::super::hash::short(mark));
        put(&mut self.classes, place, class);
        self.next = (self.next + 1) % RECENT as u8;
        let is_known = [8, 16, 24].iter().all(|by| self.bit(mark >> by));
        if !is_known {
            [8, 16, 24].iter().for_each(|by| self.set(mark >> by));
            self.marked += 1;
            // Three bits each: at twenty marks two fifths of the bits are set.
            if self.marked >= 20 {
                (self.old, self.young, self.marked) = (self.young, [0; 2], 0);
            }
        }
        !is_known
    }

    fn bit(&self, mark: u64) -> bool {
        let word = (mark >> 6 & 1) as usize;
        (at(&self.young, word) | at(&self.old, word)) >> (mark & 63) & 1 == 1
    }

    fn set(&mut self, mark: u64) {
        let word = (mark >> 6 & 1) as usize;
        let marked = at(&self.young, word) | 1 << (mark & 63);
        put(&mut self.young, word, marked);
    }

    pub(in super::super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        // The recent ones are not stored: their classes are those of the group, which may be another one by then.
        flow.u8(&mut self.marked)?;
        for word in self.young.iter_mut().chain(&mut self.old) {
            flow.u64(word)?;
        }
        Ok(())
    }
}

/// Topics to which a service sends, in more bits, since it has many.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Targets {
    bits: Vec<u64>,
    /// Distinct targets, about.
    pub(in super::super) number: u32,
    /// Days on which it worked, by the hour of the day and in all.
    hours: [u8; 24],
    days: u8,
    last_day: u32,
}

impl Default for Targets {
    fn default() -> Self {
        Self { bits: vec![0; 1024], number: 0, hours: [0; 24], days: 0, last_day: 0 }
    }
}

impl Targets {
    /// Takes in a topic, and tells whether it is new.
    pub(in super::super) fn add(&mut self, mark: u64) -> bool {
        let most = self.bits.len().max(1) as u64;
        let mut is_known = true;
        for by in [0, 15, 30] {
            let bit = mark >> by;
            if let Some(word) = self.bits.get_mut((bit >> 6).wrapping_rem(most) as usize) {
                is_known &= *word >> (bit & 63) & 1 == 1;
                *word |= 1 << (bit & 63);
            }
        }
        if !is_known {
            self.number = self.number.saturating_add(1);
            // Too full to tell: it is learned anew, slowly, by halves.
            if self.number > 12_000 {
                self.bits.iter_mut().for_each(|word| *word &= 0x5555_5555_5555_5555);
                self.number /= 2;
            }
        }
        !is_known
    }

    /// Whether it hardly ever worked at this hour of the day, in five days or more.
    pub(in super::super) fn is_odd(&self, hour_of_day: usize) -> bool {
        self.days >= 5 && at(&self.hours, hour_of_day) <= self.days.div_ceil(6)
    }

    /// An hour with work ends.
    pub(in super::super) fn learn_hour(&mut self, hour_of_day: usize, day: u32) {
        if day != self.last_day {
            (self.last_day, self.days) = (day, self.days.saturating_add(1));
            if self.days == u8::MAX {
                self.days /= 2;
                self.hours.iter_mut().for_each(|days| *days /= 2);
            }
        }
        if let Some(days) = self.hours.get_mut(hour_of_day) {
            *days = days.saturating_add(1);
        }
    }

    pub(in super::super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        for word in &mut self.bits {
            flow.u64(word)?;
        }
        flow.u32(&mut self.number)?;
        flow.bytes(&mut self.hours)?;
        flow.u8(&mut self.days)?;
        flow.u32(&mut self.last_day)
    }
}
