//! How one input becomes another.

use crate::rng::Rng;

/// Bytes of an input at most.
pub const MOST: usize = 8 * 1024;

const INTERESTING: [u8; 12] = [0, 1, 2, 0x7f, 0x80, 0xff, 0x17, 0x18, 0x58, 0xa0, b'/', b'#'];
const WIDE: [u32; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, u32::MAX];

/// Changes `input` in one to eight places; `other` is another input to take from.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let times = 1 << rng.below(4);
    for _ in 0..times {
        once(rng, input, other);
    }
    input.truncate(MOST);
}

fn once(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    if input.is_empty() {
        input.extend((0..1 + rng.below(32)).map(|_| rng.bits() as u8));
        return;
    }
    let at = rng.below(input.len());
    match rng.below(12) {
        0 | 1 => input[at] ^= 1 << rng.below(8),
        2 => input[at] = rng.bits() as u8,
        3 => input[at] = INTERESTING[rng.below(INTERESTING.len())],
        4 => input[at] = input[at].wrapping_add(1 + rng.below(4) as u8),
        5 => input[at] = input[at].wrapping_sub(1 + rng.below(4) as u8),
        6 => wide(rng, input, at),
        7 => {
            let end = at + 1 + rng.below((input.len() - at).min(16));
            drop(input.drain(at..end.min(input.len())));
        }
        8 => {
            let new: Vec<u8> = (0..1 + rng.below(8)).map(|_| rng.bits() as u8).collect();
            drop(input.splice(at..at, new));
        }
        9 => repeat(rng, input, at),
        _ => splice(rng, input, at, other),
    }
}

fn wide(rng: &mut Rng, input: &mut [u8], at: usize) {
    let bytes = WIDE[rng.below(WIDE.len())].to_be_bytes();
    let width = 1 << rng.below(3);
    for (to, from) in input[at..].iter_mut().zip(&bytes[4 - width..]) {
        *to = *from;
    }
}

fn repeat(rng: &mut Rng, input: &mut Vec<u8>, at: usize) {
    let end = (at + 1 + rng.below(24)).min(input.len());
    let part = input[at..end].to_vec();
    let to = rng.below(input.len() + 1);
    drop(input.splice(to..to, part));
}

fn splice(rng: &mut Rng, input: &mut Vec<u8>, at: usize, other: &[u8]) {
    if other.is_empty() {
        return;
    }
    let from = rng.below(other.len());
    let end = (from + 1 + rng.below(64)).min(other.len());
    let until = if rng.below(2) == 0 { at } else { (at + end - from).min(input.len()) };
    drop(input.splice(at..until, other[from..end].iter().copied()));
}
