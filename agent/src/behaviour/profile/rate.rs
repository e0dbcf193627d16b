use super::histogram::Histogram;
use super::record::{Cut, Take};

/// Seconds of a slot, over which publishes are summed.
pub(crate) const SLOT_SECONDS: u64 = 10;
/// Slots with publishes after which a baseline of one's own exists.
const LEARNED_SLOTS: u32 = 30;
/// One in this many wild slots is learned from.
const WILD_SLOTS: u64 = 16;
/// Publishes that a device may have saved up while it was silent.
const MOST_SAVED: u64 = 1000;
/// Bytes are counted in this unit.
const UNIT: u64 = 256;

/// How much a device publishes, and its rhythm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    number: u64,
    current: Slot,
    publishes: Histogram,
    bytes: Histogram,
    usual: Slot,
    last_ms: u64,
    /// Mean time between publishes.
    gap_ms: u32,
    gaps: u16,
    /// Publishes in a row that came much too early.
    pub(crate) hurried: u16,
    /// Events that may come at once after a silence, at the usual rhythm.
    saved: u64,
}

/// Publishes and bytes of ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) publishes: u64,
    pub(crate) bytes: u64,
}

impl Rate {
    /// Adds publishes; returns the slot before when this one opens a new one.
    pub(crate) fn add(
        &mut self,
        publishes: u32,
        bytes: u64,
        ceilings: (u64, u64),
        now_ms: u64,
    ) -> Option<Slot> {
        let number = now_ms / 1000 / SLOT_SECONDS;
        let done =
            (number != self.number && self.current != Slot::default()).then_some(self.current);
        if let Some(slot) = done {
            self.learn(slot, ceilings);
        }
        if number != self.number {
            self.number = number;
            self.current = Slot::default();
        }
        self.rhythm(publishes, now_ms);
        self.current.publishes += u64::from(publishes);
        self.current.bytes += bytes;
        done
    }

    /// Events of this slot beyond those that were saved up while the device was silent.
    pub(crate) fn excess(&self) -> Slot {
        let publishes = self.current.publishes.saturating_sub(self.saved);
        let each = self.current.bytes / self.current.publishes.max(1);
        Slot { publishes, bytes: publishes * each }
    }

    /// Nothing was published later than `now_ms`.
    pub(crate) fn heal(&mut self, now_ms: u64) {
        self.last_ms = self.last_ms.min(now_ms);
    }

    /// The most that is usual in a slot; `None` before it is learned.
    pub(crate) fn usual(&self) -> Option<Slot> {
        (self.publishes.count() >= LEARNED_SLOTS).then_some(self.usual)
    }

    /// Mean time between publishes, when it is learned.
    pub(crate) fn gap_ms(&self) -> Option<u32> {
        (self.gaps >= 50).then_some(self.gap_ms)
    }

    /// A burst teaches nothing and a lasting change is learned within hours: of the slots that are wild by the own
    /// baseline one in sixteen counts, as twice the usual. Before there is a baseline, nothing counts beyond the ceiling.
    fn learn(&mut self, slot: Slot, ceilings: (u64, u64)) {
        let (publishes, bytes) = match self.usual() {
            Some(usual) => {
                let wild = slot.publishes > usual.publishes * 4
                    || slot.bytes > (usual.bytes * 4).max(4096);
                if wild && !self.number.is_multiple_of(WILD_SLOTS) {
                    return;
                }
                (usual.publishes * 2, (usual.bytes * 2).max(4096))
            }
            None => ceilings,
        };
        self.publishes.add(slot.publishes.min(publishes));
        self.bytes.add(slot.bytes.min(bytes) / UNIT);
        self.usual = Slot {
            publishes: self.publishes.percentile(99),
            bytes: (self.bytes.percentile(99) + 1) * UNIT,
        };
    }

    fn rhythm(&mut self, publishes: u32, now_ms: u64) {
        let silence = now_ms.saturating_sub(self.last_ms);
        let first = self.last_ms == 0;
        self.last_ms = now_ms;
        if first || publishes == 0 {
            return;
        }
        let usual = u64::from(self.gap_ms.max(1));
        if self.gaps >= 10 && silence > usual * 3 {
            self.saved = (silence / usual).min(MOST_SAVED);
        } else if silence > SLOT_SECONDS * 1000 {
            self.saved = 0;
        }
        let gap = u32::try_from(silence / u64::from(publishes)).unwrap_or(u32::MAX);
        let early = self.gaps >= 50 && gap < self.gap_ms / 8 && self.saved == 0;
        self.hurried = if early { self.hurried.saturating_add(1) } else { 0 };
        if !early {
            self.gap_ms = closer(self.gap_ms, gap, self.gaps);
            self.gaps = self.gaps.saturating_add(1);
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.publishes.write(out);
        self.bytes.write(out);
        out.extend(self.last_ms.to_le_bytes());
        out.extend(self.gap_ms.to_le_bytes());
        out.extend(self.gaps.to_le_bytes());
    }

    pub(super) fn read(from: &mut Take<'_>) -> Result<Self, Cut> {
        let mut rate = Self {
            publishes: Histogram::read(from)?,
            bytes: Histogram::read(from)?,
            last_ms: from.u64()?,
            gap_ms: from.u32()?,
            gaps: from.u16()?,
            ..Self::default()
        };
        rate.usual = Slot {
            publishes: rate.publishes.percentile(99),
            bytes: (rate.bytes.percentile(99) + 1) * UNIT,
        };
        Ok(rate)
    }
}

/// The mean, one sample further: a plain mean at first, then one that forgets.
fn closer(mean: u32, sample: u32, samples: u16) -> u32 {
    let weight = u64::from(samples.clamp(1, 31)) + 1;
    let sum = u64::from(mean) * (weight - 1) + u64::from(sample);
    let first = samples == 0;
    if first {
        sample
    } else {
        u32::try_from(sum / weight).unwrap_or(u32::MAX)
    }
}
