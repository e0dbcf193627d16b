//! Random numbers of a simulation: fast, small, the same for the same seed.

/// A stream of numbers. Each device has several, so that one more draw for one purpose moves no other.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

/// One step of a mixer of 64 bits (SplitMix64).
const fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

impl Dice {
    /// The stream with this number for this purpose.
    pub(super) fn of(seed: u64, purpose: &str, number: u64) -> Self {
        let mut state = mixed(seed.wrapping_add(0x9E37_79B9_7F4A_7C15));
        for byte in purpose.bytes() {
            state = mixed(state ^ u64::from(byte)).wrapping_add(0x9E37_79B9_7F4A_7C15);
        }
        Self(mixed(state ^ mixed(number.wrapping_add(1))))
    }

    /// 64 bits.
    pub(super) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.0)
    }

    /// A number from 0 up to, and without, 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number below `end`; 0 when `end` is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(end)) >> 64) as u64
    }

    /// Whether something with this probability happens.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// Between two numbers.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Between two positive numbers, with each ratio as probable as the other.
    pub(super) fn ratio(&mut self, low: f64, high: f64) -> f64 {
        match low > 0.0 && high > low {
            true => low * (high / low).powf(self.unit()),
            false => self.between(low, high),
        }
    }

    /// Exponential with mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Normal with mean 0 and deviation 1: the inverse of the distribution by Acklam's fractions.
    pub(super) fn normal(&mut self) -> f64 {
        let p = ((self.word() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
        let q = p - 0.5;
        if q.abs() <= 0.475_75 {
            let r = q * q;
            let up = ((((-39.696_830_286_653_8 * r + 220.946_098_424_520_8) * r
                - 275.928_510_446_968_9)
                * r
                + 138.357_751_867_269)
                * r
                - 30.664_798_066_147_16)
                * r
                + 2.506_628_277_459_239;
            let down = ((((-54.476_098_798_224_1 * r + 161.585_836_858_040_9) * r
                - 155.698_979_859_886_6)
                * r
                + 66.801_311_887_719_7)
                * r
                - 13.280_681_552_885_72)
                * r
                + 1.0;
            return up * q / down;
        }
        let r = (-2.0 * p.min(1.0 - p).ln()).sqrt();
        let up = ((((-0.007_784_894_002_430_29 * r - 0.322_396_458_041_136_4) * r
            - 2.400_758_277_161_838)
            * r
            - 2.549_732_539_343_734)
            * r
            + 4.374_664_141_464_968)
            * r
            + 2.938_163_982_698_783;
        let down = (((0.007_784_695_709_041_46 * r + 0.322_467_129_070_039_8) * r
            + 2.445_134_137_142_996)
            * r
            + 3.754_408_661_907_416)
            * r
            + 1.0;
        (up / down).copysign(q) * if (up / down) < 0.0 { -1.0 } else { 1.0 }
    }

    /// A number of events with this mean.
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 30.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (mut left, mut count) = (mean - self.exponential(), 0);
        while left > 0.0 {
            left -= self.exponential();
            count += 1;
        }
        count
    }

    /// A member of a list.
    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(usize::try_from(self.below(list.len() as u64)).unwrap_or(0))
    }

    /// Puts a list into a random order.
    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            list.swap(end, usize::try_from(self.below(end as u64 + 1)).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_moments_of_their_names() {
        let mut dice = Dice::of(7, "test", 0);
        let of = |draw: &mut dyn FnMut() -> f64| {
            let all: Vec<f64> = (0..200_000).map(|_| draw()).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let var = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
            (mean, var.sqrt(), all.iter().filter(|x| **x > 3.0).count())
        };
        let (mean, sd, above) = of(&mut || dice.normal());
        assert!(mean.abs() < 0.01 && (sd - 1.0).abs() < 0.01, "{mean} {sd}");
        assert!((200..350).contains(&above), "{above} of 270 beyond three deviations");
        let (mean, sd, _) = of(&mut || dice.exponential());
        assert!((mean - 1.0).abs() < 0.02 && (sd - 1.0).abs() < 0.02, "{mean} {sd}");
        for rate in [0.3, 4.0, 60.0] {
            let (mean, sd, _) = of(&mut || dice.poisson(rate) as f64);
            assert!((mean / rate - 1.0).abs() < 0.03, "{rate}: {mean}");
            assert!((sd / rate.sqrt() - 1.0).abs() < 0.03, "{rate}: {sd}");
        }
    }

    #[test]
    fn streams_of_one_seed_differ_and_come_again() {
        let first = |seed, purpose, number| Dice::of(seed, purpose, number).word();
        assert_eq!(first(1, "flow", 3), first(1, "flow", 3));
        assert_ne!(first(1, "flow", 3), first(1, "flow", 4));
        assert_ne!(first(1, "flow", 3), first(1, "shape", 3));
        assert_ne!(first(1, "flow", 3), first(2, "flow", 3));
    }
}
