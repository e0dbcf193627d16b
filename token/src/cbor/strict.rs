//! The pre-check: are these bytes deterministic CBOR (RFC 8949 section 4.2.1) within our bounds?
//!
//! Refused: indefinite lengths, heads and floats that are not shortest, NaN but `f97e00`, map keys out of order or twice, tags,
//! floats in keys, unassigned simple values, text that is no UTF-8, more than
//! [`limits::CBOR_DEPTH`] levels or [`limits::CBOR_ITEMS`] items, anything behind the item.
//! Nothing is allocated and nothing recurses, whatever length a head declares.

use super::CborError;
use crate::limits;

struct Head {
    major: u8,
    value: u64,
    end: usize,
}

#[derive(Clone, Copy, Default)]
struct Level {
    left: u64,
    map: bool,
    key_next: bool,
    last_key: (usize, usize),
}

/// Accepts `bytes` when they are exactly one strict item.
///
/// # Errors
/// [`CborError`] for everything else.
pub fn check(bytes: &[u8]) -> Result<(), CborError> {
    if measure(bytes, 0, limits::CBOR_ITEMS)? == bytes.len() {
        Ok(())
    } else {
        Err(CborError)
    }
}

/// As [`check`], for our own large documents (a trust snapshot): `items` bounds the work.
///
/// # Errors
/// [`CborError`].
pub fn check_large(bytes: &[u8], items: usize) -> Result<(), CborError> {
    if measure(bytes, 0, items)? == bytes.len() {
        Ok(())
    } else {
        Err(CborError)
    }
}

/// The end of the strict item that starts at `start`.
///
/// # Errors
/// [`CborError`] when the item is not strict or not complete.
pub fn measure(bytes: &[u8], start: usize, items: usize) -> Result<usize, CborError> {
    let mut stack = [Level::default(); limits::CBOR_DEPTH];
    let mut depth = 0usize;
    let mut at = start;
    let mut budget = items;
    loop {
        budget = budget.checked_sub(1).ok_or(CborError)?;
        let item_start = at;
        let head = head(bytes, at)?;
        at = head.end;
        let opened = match head.major {
            0 | 1 => None,
            2 | 3 => {
                let len = usize::try_from(head.value).map_err(|_| CborError)?;
                let end = at.checked_add(len).ok_or(CborError)?;
                let body = bytes.get(at..end).ok_or(CborError)?;
                if head.major == 3 && core::str::from_utf8(body).is_err() {
                    return Err(CborError);
                }
                at = end;
                None
            }
            4 if head.value > 0 => Some(Level { left: head.value, ..Level::default() }),
            5 if head.value > 0 => {
                let left = head.value.checked_mul(2).ok_or(CborError)?;
                Some(Level { left, map: true, key_next: true, ..Level::default() })
            }
            4 | 5 if depth < limits::CBOR_DEPTH => None,
            7 => None,
            _ => return Err(CborError),
        };
        let in_key = depth.checked_sub(1).and_then(|d| stack.get(d)).is_some_and(|l| l.key_next);
        if in_key && !matches!(head.major, 0..=3) {
            return Err(CborError);
        }
        if let Some(level) = opened {
            *stack.get_mut(depth).ok_or(CborError)? = level;
            depth += 1;
            continue;
        }
        // One item is complete; close every container it completes.
        let mut done = (item_start, at);
        loop {
            let Some(level) = depth.checked_sub(1).and_then(|d| stack.get_mut(d)) else {
                return Ok(at);
            };
            if level.map {
                if level.key_next {
                    let (a, b) = level.last_key;
                    if b > 0 && bytes.get(a..b) >= bytes.get(done.0..done.1) {
                        return Err(CborError);
                    }
                    level.last_key = done;
                }
                level.key_next = !level.key_next;
            }
            level.left -= 1;
            if level.left > 0 {
                break;
            }
            depth -= 1;
            // A container is never a key, so where it starts does not matter to the one around it.
            done = (at, at);
        }
    }
}

fn head(bytes: &[u8], at: usize) -> Result<Head, CborError> {
    let first = *bytes.get(at).ok_or(CborError)?;
    let (major, info) = (first >> 5, first & 31);
    let extra = match info {
        0..=23 => 0,
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return Err(CborError),
    };
    let end = at + 1 + extra;
    let mut value = u64::from(info);
    if extra > 0 {
        value = bytes
            .get(at + 1..end)
            .ok_or(CborError)?
            .iter()
            .fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    }
    if major == 7 {
        // false, true, null, undefined, and floats in their shortest form; no other simple value.
        return match info {
            20..=23 => Ok(Head { major, value, end }),
            25..=27 if shortest_float(float(info, value)) == (info, value) => {
                Ok(Head { major, value, end })
            }
            _ => Err(CborError),
        };
    }
    let shortest = match extra {
        0 => true,
        1 => value >= 24,
        2 => value > 0xff,
        4 => value > 0xffff,
        _ => value > 0xffff_ffff,
    };
    if shortest {
        Ok(Head { major, value, end })
    } else {
        Err(CborError)
    }
}

/// The float that these bits of a head are: `info` is 25, 26 or 27.
pub(super) fn float(info: u8, bits: u64) -> f64 {
    match info {
        25 => of_half(bits),
        26 => f64::from(f32::from_bits(u32::try_from(bits).unwrap_or_default())),
        _ => f64::from_bits(bits),
    }
}

/// The shortest form of a float (RFC 8949 section 4.2.1): `info` and the bits. Every NaN is the one of section 4.2.2.
pub(super) fn shortest_float(value: f64) -> (u8, u64) {
    const NAN: u64 = 0x7e00;
    if value.is_nan() {
        return (25, NAN);
    }
    #[allow(clippy::cast_possible_truncation, reason = "whether anything is lost is compared next")]
    let single = value as f32;
    if f64::from(single).to_bits() != value.to_bits() {
        return (27, value.to_bits());
    }
    match to_half(single.to_bits()) {
        Some(half) => (25, half),
        None => (26, u64::from(single.to_bits())),
    }
}

/// A half as a double, which holds every one of them.
fn of_half(bits: u64) -> f64 {
    let (sign, exponent, fraction) = ((bits >> 15) & 1, (bits >> 10) & 0x1f, bits & 0x3ff);
    let wide = match (exponent, fraction) {
        (0, 0) => 0,
        (0, _) => {
            // Subnormal: 2^-24 times the fraction. Its highest bit becomes the hidden one.
            let high = u64::from(63 - fraction.leading_zeros());
            ((high + 1023 - 24) << 52) | ((fraction << (52 - high)) & ((1 << 52) - 1))
        }
        (0x1f, _) => (0x7ff << 52) | (fraction << 42),
        _ => ((exponent + 1023 - 15) << 52) | (fraction << 42),
    };
    f64::from_bits((sign << 63) | wide)
}

/// The half that is equal to this single, when there is one. It is no NaN.
fn to_half(bits: u32) -> Option<u64> {
    let (sign, exponent, fraction) = (bits >> 31, (bits >> 23) & 0xff, bits & 0x7f_ffff);
    let half = match exponent {
        0 if fraction == 0 => 0,
        0xff => 0x1f << 10,
        // 2^-14 to 2^15: normal.
        113..=142 if fraction & 0x1fff == 0 => ((exponent - 112) << 10) | (fraction >> 13),
        // 2^-24 to 2^-15: subnormal, in units of 2^-24.
        103..=112 => {
            let (whole, shift) = (fraction | 0x80_0000, 126 - exponent);
            (whole.trailing_zeros() >= shift).then_some(whole >> shift)?
        }
        _ => return None,
    };
    Some(u64::from((sign << 15) | half))
}
