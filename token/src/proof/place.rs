use core::fmt;

use crate::time::UnixSeconds;

/// The place of a connect proof among all of its key and client id: time and counter, the 8 bytes at its head, as one
/// number. The counter tells proofs of one second apart and means nothing beyond it, so a lost counter heals in a second
/// and the highest one is forgotten with its second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

impl Place {
    /// The place of a proof of this time and counter. The wire holds 32 bits of seconds, which last until 2106.
    pub fn new(time: UnixSeconds, counter: u32) -> Self {
        Self(u64::from(short_time(time)) << 32 | u64::from(counter))
    }

    /// A place from a record.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number, for a record.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The second.
    pub const fn second(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The counter.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s#{}", self.second(), self.counter())
    }
}

pub(super) fn short_time(time: UnixSeconds) -> u32 {
    u32::try_from(time.get()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_comes_first_and_the_counter_orders_a_second() {
        let place = |time, counter| Place::new(UnixSeconds::new(time), counter);
        assert!(place(7, u32::MAX) < place(8, 0));
        assert!(place(8, 0) < place(8, 1));
        assert_eq!((place(8, 9).second(), place(8, 9).counter()), (8, 9));
        assert_eq!(Place::from_number(place(8, 9).number()), place(8, 9));
        assert_eq!(place(u64::MAX, 0).second(), u32::MAX);
    }
}
