//! Limits how many sockets of suspect prefixes are accepted: a fixed number per second, in even shares for the prefixes
//! that ask.
//!
//! Chance decides which sockets of a prefix are accepted, not their order. With the order, a device that tries again
//! every second would fall on the same place in each window, always after the attacker's sockets.

use std::time::Duration;

use crate::limits::SUSPECT_WINDOW;

/// The sockets accepted in the present window of time.
#[derive(Default)]
pub(super) struct Shares {
    window: u128,
    taken: u32,
    asking: u32,
    asked: u32,
    throws: u64,
}

/// The sockets that one prefix has asked for and received.
#[derive(Clone, Copy, Default)]
pub(super) struct Taken {
    window: Option<u128>,
    sockets: u32,
    asks: u32,
    asked: u32,
}

impl Shares {
    /// Whether a suspect prefix may have one more socket now.
    pub(super) fn take(&mut self, taken: &mut Taken, per_second: u32, now: Duration) -> bool {
        self.turn(now);
        self.asking += u32::from(taken.turn(self.window));
        taken.asks = taken.asks.saturating_add(1);
        let whole = whole(per_second);
        // Prefixes that asked in the window before are expected to ask again: otherwise the first ones would take all.
        let share = (whole / self.asking.max(self.asked)).max(1);
        // Chance may give one window more than the share and another less.
        let most = if taken.asked > share { share.saturating_mul(2) } else { share };
        let within = self.taken < whole && taken.sockets < most;
        if !within || !self.chance(share, taken.asked) {
            return false;
        }
        self.taken += 1;
        taken.sockets += 1;
        true
    }

    /// True `share` times in `asked`.
    fn chance(&mut self, share: u32, asked: u32) -> bool {
        self.throws = self.throws.wrapping_add(1);
        let throw = u32::try_from(mix(self.throws) >> 32).unwrap_or(u32::MAX);
        u64::from(throw) * u64::from(asked) < u64::from(share) << 32
    }

    fn turn(&mut self, now: Duration) {
        let window = now.as_millis() / SUSPECT_WINDOW.as_millis().max(1);
        if window != self.window {
            let asked = if window == self.window + 1 { self.asking } else { 0 };
            *self = Self { window, taken: 0, asking: 0, asked, throws: self.throws };
        }
    }
}

impl Taken {
    /// True when it is the first time in this window.
    fn turn(&mut self, window: u128) -> bool {
        let new = self.window != Some(window);
        if new {
            let follows = self.window.is_some_and(|before| before + 1 == window);
            let asked = if follows { self.asks } else { 0 };
            *self = Self { window: Some(window), sockets: 0, asks: 0, asked };
        }
        new
    }
}

fn whole(per_second: u32) -> u32 {
    let millis = u64::try_from(SUSPECT_WINDOW.as_millis()).unwrap_or(u64::MAX);
    let whole = u64::from(per_second).saturating_mul(millis) / 1000;
    u32::try_from(whole).unwrap_or(u32::MAX).max(1)
}

/// SplitMix64. A peer that foresaw the numbers would gain no more than the share of its prefix.
fn mix(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
