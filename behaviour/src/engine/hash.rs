//! Marks of texts: 64 bits that stand for a name or a topic. A mark is no secret and proves nothing; a seed that the
//! observer draws once keeps an outsider from choosing texts whose marks meet.

const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
/// Stands for the device's own name in the pattern of a topic.
const OWN_NAME: u64 = 0x5DEE_CE66_D0B5_A1C3;

fn mix(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ word) * u128::from(FACTOR | 1);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The mark of a text.
pub(super) fn mark(seed: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut state = seed ^ FACTOR.rotate_left(17) ^ bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        state = mix(state, word);
    }
    let rest = words.remainder().iter().fold(1_u64, |rest, byte| rest << 8 | u64::from(*byte));
    mix(mix(state, rest), FACTOR)
}

/// The mark of a number.
pub(super) fn mark_number(seed: u64, number: u64) -> u64 {
    mix(mix(seed ^ FACTOR, number), FACTOR.rotate_left(31))
}

/// The mark of a topic with the device's own name left out, so that a group has one mark for the same topic of all.
pub(super) fn pattern(seed: u64, topic: &str, device: &str) -> u64 {
    topic.split('/').fold(seed, |state, level| {
        let level = if level == device { OWN_NAME } else { mark(seed, level) };
        mix(state.rotate_left(5), level)
    })
}

/// 32 bits of a mark, never 0, which stands for an empty place.
pub(super) fn short(mark: u64) -> u32 {
    ((mark >> 32) as u32).max(1)
}

/// Marks of networks in 32 bits.
pub(super) fn network(seed: u64, prefix: u64) -> u32 {
    short(mark_number(seed, prefix))
}

/// A few bits that count distinct marks.
pub(super) fn sketch(bits: &mut u64, mark: u64) -> bool {
    let bit = 1 << (mark >> 13 & 63);
    let is_new = *bits & bit == 0;
    *bits |= bit;
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_tells_texts_and_seeds_apart_and_pattern_leaves_the_name_out() {
        let texts =
            ["", "a", "b", "ab", "d/17/data", "d/18/data", "d/17/dat", "abcdefgh", "abcdefg"];
        let marks: std::collections::BTreeSet<u64> = texts.iter().map(|t| mark(1, t)).collect();
        assert_eq!(marks.len(), texts.len());
        assert_ne!(mark(1, "a"), mark(2, "a"));
        assert_eq!(pattern(1, "d/17/data", "17"), pattern(1, "d/18/data", "18"));
        assert_ne!(pattern(1, "d/17/data", "17"), pattern(1, "d/17/cmd", "17"));
        assert_ne!(pattern(1, "d/17/data", "17"), pattern(1, "d/18/data", "17"));
    }
}
