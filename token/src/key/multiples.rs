//! Multiples of one point, by which a product with it is additions alone. They are looked up by the scalar itself, so
//! this is for public scalars only: a verification's.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::ed25519::CurvePoint;

/// Bits of one digit of the scalar.
const BITS: usize = 6;
/// Digits lie between minus that and that.
const HALF: i16 = 1 << (BITS - 1);
/// Digits of a scalar below 2^255, and the carry of the last one.
const DIGITS: usize = 256_usize.div_ceil(BITS);

/// For each digit its 32 multiples: in all 215 KiB.
pub(super) struct Multiples {
    rows: Box<[[CurvePoint; HALF as usize]]>,
}

impl Multiples {
    /// Takes as long as about 15 verifications.
    pub(super) fn of(point: &CurvePoint) -> Self {
        let mut first = *point;
        let mut rows = Vec::with_capacity(DIGITS);
        for _ in 0..DIGITS {
            let mut row = [first; HALF as usize];
            let mut last = first;
            for multiple in row.iter_mut().skip(1) {
                last += &first;
                *multiple = last;
            }
            rows.push(row);
            // The last is half of what the next digit counts.
            first = last + last;
        }
        Self { rows: rows.into() }
    }

    /// Adds so many times the point to `sum`. The scalar is little-endian and below 2^255.
    pub(super) fn add_times(&self, scalar: &[u8; 32], sum: &mut CurvePoint) {
        let mut carry = 0;
        for (row, digit) in self.rows.iter().zip(digits(scalar)) {
            let mut digit = digit + carry;
            carry = i16::from(digit > HALF);
            digit -= carry << BITS;
            let Some(place) = usize::from(digit.unsigned_abs()).checked_sub(1) else { continue };
            let Some(multiple) = row.get(place) else { continue };
            match digit > 0 {
                true => *sum += multiple,
                false => *sum -= multiple,
            }
        }
    }
}

/// The scalar in digits of 0 to 63, the lowest first.
fn digits(scalar: &[u8; 32]) -> impl Iterator<Item = i16> + '_ {
    (0..DIGITS).map(|place| {
        let (byte, shift) = (place * BITS / 8, place * BITS % 8);
        let at = |byte: usize| u16::from(scalar.get(byte).copied().unwrap_or(0));
        let bits = (at(byte) | at(byte + 1) << 8) >> shift;
        // Six bits.
        (bits & ((1 << BITS) - 1)) as i16
    })
}
