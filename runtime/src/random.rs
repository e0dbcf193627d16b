//! The one place that draws randomness. All other code is handed a [`SharedRandom`].

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// A source of bytes.
pub trait Random: Send + Sync + 'static {
    /// Fills `out`, or fails without a usable byte in it.
    ///
    /// # Errors
    /// [`RandomError`] when the source is away; callers must then refuse their task.
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomError>;
}

/// A source that can be handed around.
pub type SharedRandom = Arc<dyn Random>;

/// The source of randomness is away. Nothing may be signed, issued or created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomError;

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operating system gave no randomness")
    }
}

impl std::error::Error for RandomError {}

/// `N` bytes of `source`.
///
/// # Errors
/// As [`Random::fill`].
pub fn bytes<const N: usize>(source: &dyn Random) -> Result<[u8; N], RandomError> {
    let mut out = [0; N];
    source.fill(&mut out)?;
    Ok(out)
}

/// A number of `source`, all 64 bits.
///
/// # Errors
/// As [`Random::fill`].
pub fn number(source: &dyn Random) -> Result<u64, RandomError> {
    Ok(u64::from_be_bytes(bytes(source)?))
}

/// The generator of the operating system; fails closed.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl SystemRandom {
    /// Ready to be handed around.
    pub fn shared() -> SharedRandom {
        Arc::new(Self)
    }
}

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(out).map_err(|_| {
            out.fill(0);
            RandomError
        })
    }
}

/// Predictable bytes from one seed, for simulators and tests alone: who knows the seed knows every key made from it.
pub struct SeededRandom {
    seed: [u8; 32],
    state: Mutex<SeededState>,
}

struct SeededState {
    counter: u64,
    rest: Vec<u8>,
}

impl SeededRandom {
    /// The stream of `seed`: the same seed gives the same bytes on every machine.
    pub fn predictable(seed: u64) -> Self {
        Self::from_digest(
            Sha256::digest([b"tessera-seeded".as_slice(), &seed.to_be_bytes()].concat()).into(),
        )
    }

    /// A stream of its own for `name`, so that adding one consumer does not shift the bytes of the others.
    pub fn fork(&self, name: &str) -> Self {
        Self::from_digest(Sha256::digest([self.seed.as_slice(), name.as_bytes()].concat()).into())
    }

    /// Ready to be handed around.
    pub fn shared(self) -> SharedRandom {
        Arc::new(self)
    }

    fn from_digest(seed: [u8; 32]) -> Self {
        let state = SeededState { counter: 0, rest: Vec::new() };
        Self { seed, state: Mutex::new(state) }
    }
}

impl Random for SeededRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomError> {
        let mut state = self.state.lock();
        for byte in out {
            if state.rest.is_empty() {
                let block =
                    Sha256::digest([self.seed.as_slice(), &state.counter.to_be_bytes()].concat());
                state.counter += 1;
                state.rest = block.to_vec();
            }
            *byte = state.rest.pop().ok_or(RandomError)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_stream_repeats_and_forks_differ() {
        let one = bytes::<40>(&SeededRandom::predictable(7)).unwrap();
        let two = bytes::<40>(&SeededRandom::predictable(7)).unwrap();
        let other = bytes::<40>(&SeededRandom::predictable(8)).unwrap();
        let fork = bytes::<40>(&SeededRandom::predictable(7).fork("a")).unwrap();
        assert_eq!(one, two);
        assert_ne!(one, other);
        assert_ne!(one, fork);
    }

    #[test]
    fn split_reads_give_the_same_stream() {
        let split = SeededRandom::predictable(7);
        let mut joined = bytes::<5>(&split).unwrap().to_vec();
        joined.extend(bytes::<35>(&split).unwrap());
        assert_eq!(joined, bytes::<40>(&SeededRandom::predictable(7)).unwrap());
    }

    #[test]
    fn system_random_differs() {
        assert_ne!(bytes::<32>(&SystemRandom).unwrap(), bytes::<32>(&SystemRandom).unwrap());
    }
}
