//! Zlib (RFC 1950) with the fixed codes of DEFLATE (RFC 1951): runs of one byte become short, which is all that a list of
//! seldom set bits needs.

/// Base length and number of extra bits of the length codes 257 to 285.
const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];
/// The longest run in one code.
const LONGEST: usize = 258;
/// A shorter run is not worth a code.
const SHORTEST: usize = 3;

/// Compresses it.
pub(crate) fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut out = Bits { bytes: vec![0x78, 0x01], buffer: 0, held: 0 };
    // One last block, by fixed codes.
    out.low(1, 1);
    out.low(1, 2);
    let mut rest = bytes;
    let mut before = None;
    while let Some((first, behind)) = rest.split_first() {
        let run = rest.iter().take(LONGEST).take_while(|byte| Some(**byte) == before).count();
        if run >= SHORTEST {
            out.run(run);
            rest = rest.get(run..).unwrap_or_default();
        } else {
            out.literal(*first);
            before = Some(*first);
            rest = behind;
        }
    }
    // The end of the block.
    out.high(0, 7);
    out.end();
    let mut bytes_out = out.bytes;
    bytes_out.extend(adler(bytes).to_be_bytes());
    bytes_out
}

struct Bits {
    bytes: Vec<u8>,
    buffer: u32,
    held: u32,
}

impl Bits {
    /// Bits from the lowest on.
    fn low(&mut self, value: u32, count: u32) {
        self.buffer |= value << self.held;
        self.held += count;
        while self.held >= 8 {
            self.bytes.push((self.buffer & 0xff) as u8);
            self.buffer >>= 8;
            self.held -= 8;
        }
    }

    /// A code: bits from the highest on.
    fn high(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            self.low((value >> bit) & 1, 1);
        }
    }

    fn literal(&mut self, byte: u8) {
        let byte = u32::from(byte);
        match byte {
            0..=143 => self.high(0x30 + byte, 8),
            _ => self.high(0x190 + byte - 144, 9),
        }
    }

    /// The byte before, so many times more.
    fn run(&mut self, length: usize) {
        let length = u16::try_from(length).unwrap_or(0);
        let fits = |(_, (base, _)): &(usize, &(u16, u8))| *base <= length;
        let Some((code, (base, extra))) = LENGTHS.iter().enumerate().rev().find(fits) else {
            return;
        };
        let code = u32::try_from(code).unwrap_or(0) + 1;
        match code {
            0..=23 => self.high(code, 7),
            _ => self.high(0xc0 + code - 24, 8),
        }
        self.low(u32::from(length - base), u32::from(*extra));
        // Distance 1.
        self.high(0, 5);
    }

    fn end(&mut self) {
        if self.held > 0 {
            self.low(0, 8 - self.held);
        }
    }
}

fn adler(bytes: &[u8]) -> u32 {
    const MODULO: u32 = 65_521;
    let (mut one, mut two) = (1_u32, 0_u32);
    // So many sums fit into 32 bits.
    for part in bytes.chunks(5_552) {
        for byte in part {
            one += u32::from(*byte);
            two += one;
        }
        one %= MODULO;
        two %= MODULO;
    }
    two << 16 | one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_few_set_bits_is_small() {
        assert_eq!(adler(b"Wikipedia"), 0x11e6_0398);
        let mut list = vec![0_u8; 125_000];
        for at in (0..125_000).step_by(12_500) {
            list[at] = 4;
        }
        let small = compress(&list);
        assert!(small.len() < 2_000, "{}", small.len());
        assert_eq!(compress(&[]), [0x78, 0x01, 0x03, 0x00, 0, 0, 0, 1]);
    }
}
