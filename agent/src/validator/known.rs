use std::mem;

use hashbrown::HashSet;
use parking_lot::RwLock;

/// Device keys that passed the torsion test, which costs as much as a signature, by the first half of each: to find a bad
/// key with the first half of a good one takes 2^128 tries. Two halves of the table: when one is full, the older is dropped,
/// so what is used stays and memory is bounded.
pub(super) struct KnownKeys {
    half: usize,
    halves: RwLock<Halves>,
}

#[derive(Default)]
struct Halves {
    young: HashSet<Half>,
    old: HashSet<Half>,
}

/// The first half of a key.
type Half = [u8; 16];

impl KnownKeys {
    /// Room for at most `most` keys.
    pub(super) fn new(most: usize) -> Self {
        Self { half: most / 2, halves: RwLock::default() }
    }

    pub(super) fn holds(&self, key: &[u8; 32]) -> bool {
        let half = half_of(key);
        let halves = self.halves.read();
        if halves.young.contains(&half) {
            return true;
        }
        let aged = halves.old.contains(&half);
        drop(halves);
        if aged {
            self.add(key);
        }
        aged
    }

    pub(super) fn add(&self, key: &[u8; 32]) {
        let mut halves = self.halves.write();
        if halves.young.len() >= self.half {
            halves.old = mem::take(&mut halves.young);
        }
        halves.young.insert(half_of(key));
    }
}

fn half_of(key: &[u8; 32]) -> Half {
    let [half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *key;
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u16) -> [u8; 32] {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        key
    }

    #[test]
    fn what_is_used_stays_and_memory_is_bounded() {
        let known = KnownKeys::new(100);
        for number in 0..10_000 {
            known.add(&key(number));
            known.add(&key(0));
            let halves = known.halves.read();
            assert!(halves.young.len() + halves.old.len() <= 100);
        }
        assert!(known.holds(&key(0)) && known.holds(&key(9_999)));
        assert!(!known.holds(&key(1)));
        // A key that is asked for moves to the young half and outlives the next turn.
        for number in 0..60 {
            assert!(known.holds(&key(9_999)));
            known.add(&key(20_000 + number));
        }
        assert!(known.holds(&key(9_999)));
    }
}
