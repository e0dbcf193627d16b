use super::record::{Cut, Take};
use crate::behaviour::observation::mix;

const WORDS: usize = 8;
const MARKS: u32 = 3;

/// The topics a device has used, as a Bloom filter of 512 bits. Its errors are on the quiet side: at 40 topics one in a
/// hundred new ones is taken for known. There once there was a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topics(Option<Box<[u64; WORDS]>>);

impl Topics {
    /// Adds a topic; whether it was new.
    pub(crate) fn add(&mut self, topic: u64) -> bool {
        let words = self.0.get_or_insert_default();
        let mut new = false;
        for mark in 0..MARKS {
            let bit = mix(topic ^ u64::from(mark) << 56);
            let word = usize::try_from(bit >> 6).unwrap_or(0) % WORDS;
            if let Some(word) = words.get_mut(word) {
                new |= *word & 1 << (bit & 63) == 0;
                *word |= 1 << (bit & 63);
            }
        }
        new
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let words = self.0.as_deref().unwrap_or(&[0; WORDS]);
        words.iter().for_each(|word| out.extend(word.to_le_bytes()));
    }

    pub(super) fn read(from: &mut Take<'_>) -> Result<Self, Cut> {
        let mut words = [0; WORDS];
        for word in &mut words {
            *word = u64::from_le_bytes(from.bytes()?);
        }
        Ok(Self(words.iter().any(|word| *word > 0).then(|| Box::new(words))))
    }
}

/// About how many different values were marked in 64 bits (linear counting), at most 64 × ln 64.
pub(crate) fn distinct(marks: u64) -> u32 {
    let zeros = f64::from(marks.count_zeros().max(1));
    ((64.0 * (64.0 / zeros).ln()).round()) as u32
}

/// Marks a value.
pub(crate) fn mark(marks: &mut u64, value: u64) {
    *marks |= 1 << (mix(value) & 63);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_topics_are_known() {
        let mut topics = Topics::default();
        let new = (0..40u64).filter(|topic| topics.add(mix(*topic))).count();
        assert!(new >= 38, "{new}");
        assert!((0..40u64).all(|topic| !topics.add(mix(topic))));
    }

    #[test]
    fn distinct_values_are_about_counted() {
        let mut marks = 0;
        (0..3).for_each(|_| mark(&mut marks, 7));
        assert_eq!(distinct(marks), 1);
        (0..30u64).for_each(|value| mark(&mut marks, value));
        assert!((20..=42).contains(&distinct(marks)), "{}", distinct(marks));
    }
}
