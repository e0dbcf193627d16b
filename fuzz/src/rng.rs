//! The one source of chance of the driver: xorshift64*, the same on every machine.

/// A generator; the same seed gives the same run.
pub struct Rng(u64);

impl Rng {
    /// A generator from a seed; zero is as good as any.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `most`; 0 when `most` is 0.
    pub fn below(&mut self, most: usize) -> usize {
        if most == 0 {
            return 0;
        }
        ((self.bits() >> 16) % most as u64) as usize
    }
}
