use super::record::{Cut, Take};

const BUCKETS: usize = 32;
/// Past this many samples everything is halved, so that old habits fade.
const FULL: u32 = 4096;

static SILENCE: [u16; BUCKETS] = [0; BUCKETS];

/// How often values of about this size were seen, in steps of half a power of two: 64 bytes, once there was one. Most
/// of a fleet is silent, and its silence takes no room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram(Option<Box<[u16; BUCKETS]>>);

impl Histogram {
    /// Counts a value; 0 counts as 1, what is beyond the last step counts there.
    pub(crate) fn add(&mut self, value: u64) {
        let full = self.count() >= FULL;
        let counts = self.0.get_or_insert_default();
        if full {
            counts.iter_mut().for_each(|count| *count /= 2);
        }
        if let Some(count) = counts.get_mut(step(value)) {
            *count = count.saturating_add(1);
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.counts().iter().map(|count| u32::from(*count)).sum()
    }

    fn counts(&self) -> &[u16; BUCKETS] {
        self.0.as_deref().unwrap_or(&SILENCE)
    }

    /// The value that `percent` of all samples do not exceed, rounded up to the end of its step; 0 without samples.
    pub(crate) fn percentile(&self, percent: u32) -> u64 {
        let wanted = self.count() * percent;
        let mut seen = 0;
        for (number, count) in self.counts().iter().enumerate() {
            seen += u32::from(*count);
            if *count > 0 && seen * 100 >= wanted {
                return end(number);
            }
        }
        0
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.counts().iter().for_each(|count| out.extend(count.to_le_bytes()));
    }

    pub(crate) fn read(from: &mut Take<'_>) -> Result<Self, Cut> {
        let mut counts = [0; BUCKETS];
        for count in &mut counts {
            *count = u16::from_le_bytes(from.bytes()?);
        }
        Ok(Self(counts.iter().any(|count| *count > 0).then(|| Box::new(counts))))
    }
}

fn step(value: u64) -> usize {
    let value = value.clamp(1, 1 << 24);
    let power = value.ilog2();
    let upper_half = value * value >= 1 << (2 * power + 1);
    let number = 2 * power as usize + usize::from(upper_half);
    number.min(BUCKETS - 1)
}

fn end(number: usize) -> u64 {
    // The end of step n is the root of 2^(n+1).
    let square = 1u64 << (number + 1);
    square.isqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_within_a_step() {
        for value in [1u64, 2, 3, 7, 10, 100, 1000, 30_000] {
            let mut histogram = Histogram::default();
            (0..100).for_each(|_| histogram.add(value));
            let found = histogram.percentile(99);
            assert!(found >= value * 7 / 10 && found <= value * 3 / 2, "{value} → {found}");
        }
        assert_eq!(Histogram::default().percentile(99), 0);
    }

    #[test]
    fn the_tail_is_told_from_the_rest() {
        let mut histogram = Histogram::default();
        (0..990).for_each(|_| histogram.add(4));
        (0..10).for_each(|_| histogram.add(4000));
        assert!(histogram.percentile(50) < 8);
        assert!(histogram.percentile(99) < 8);
        assert!(histogram.percentile(100) > 2000);
    }

    #[test]
    fn counts_fade_and_never_overflow() {
        let mut histogram = Histogram::default();
        (0..200_000).for_each(|_| histogram.add(u64::MAX));
        assert!(histogram.count() <= FULL + 1);
    }
}
