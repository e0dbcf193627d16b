//! Numbers that look like chance and are the same for the same seed (xorshift).

pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            chance.next();
        }
        chance
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from((self.next() >> 16) % end as u64).unwrap()
    }

    /// From `least` to `most`, both included.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for end in (1..all.len()).rev() {
            all.swap(end, self.below(end + 1));
        }
    }
}

/// The seeds to run.
pub fn seeds(fixed: &[u64]) -> Vec<u64> {
    let seeds = match std::env::var("TESSERA_SIM_SEEDS") {
        Ok(text) => text.split(',').map(|one| one.trim().parse().expect("a seed")).collect(),
        Err(_) => fixed.to_vec(),
    };
    assert!(!seeds.is_empty());
    seeds
}
