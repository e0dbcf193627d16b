//! The pre-check: are these bytes deterministic CBOR (RFC 8949 section 4.2.1) within our bounds?
//!
//! Refused: indefinite lengths, heads that are not shortest, map keys out of order or twice, tags,
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
        // false, true, null, undefined, and floats of any width; no other simple value.
        if (20..=23).contains(&info) || (25..=27).contains(&info) {
            return Ok(Head { major, value, end });
        }
        return Err(CborError);
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
