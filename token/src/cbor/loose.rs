//! Requests of strangers: any well-formed CBOR within our bounds, brought into the deterministic form that [`super::Reader`]
//! takes.
//!
//! Encoders of other languages write maps in the order of insertion, lengths in more bytes than needed, or of indefinite
//! length. That changes nothing where the bytes themselves are neither signed nor compared. Duplicate keys stay refused,
//! also when the two are written differently. Three tags mean nothing here and are left out: 55799 (self-described CBOR),
//! and those by which cbor-x marks a `Uint8Array` (64 in front of a byte string, RFC 8746) and a `Map` (259 in front of a
//! map).

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use super::strict;
use crate::limits;

const SELF_DESCRIBED: u64 = 55_799;
const UINT8_ARRAY: u64 = 64;
const EXPLICIT_MAP: u64 = 259;

/// A fault in the CBOR of a request, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The byte at which the item starts, counted from 0.
    pub at: usize,
    /// Its kind, in words.
    pub what: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CBOR at byte {}: {}", self.at, self.what)
    }
}

/// The deterministic form of one item; the bytes themselves when they are in it already.
///
/// # Errors
/// [`Fault`] when they are not one well-formed item of at most [`limits::CBOR_DEPTH`] levels and [`limits::CBOR_ITEMS`]
/// items, hold a map key twice, a tag that means something, a simple value that is not assigned, or a key that is neither
/// integer nor string.
pub fn deterministic(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    deterministic_large(bytes, limits::CBOR_ITEMS)
}

/// As [`deterministic`], for a large document: `items` bounds the work.
///
/// # Errors
/// As [`deterministic`].
pub fn deterministic_large(bytes: &[u8], items: usize) -> Result<Cow<'_, [u8]>, Fault> {
    if strict::check_large(bytes, items).is_ok() {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut walk = Walk { bytes, at: 0, items };
    let mut out = Vec::with_capacity(bytes.len());
    walk.item(0, &mut out)?;
    match walk.at == bytes.len() {
        true => Ok(Cow::Owned(out)),
        false => Err(Fault { at: walk.at, what: "bytes behind the item" }),
    }
}

struct Walk<'b> {
    bytes: &'b [u8],
    at: usize,
    items: usize,
}

/// A head: major type and argument; no argument is an indefinite length or a break.
struct Head {
    at: usize,
    major: u8,
    info: u8,
    argument: Option<u64>,
}

impl Head {
    fn fault(&self, what: &'static str) -> Fault {
        Fault { at: self.at, what }
    }
}

impl<'b> Walk<'b> {
    fn head(&mut self) -> Result<Head, Fault> {
        let at = self.at;
        let fault = |what| Fault { at, what };
        let cut = fault("cut short");
        self.items = self.items.checked_sub(1).ok_or(fault("more items than are read"))?;
        let first = *self.bytes.get(at).ok_or(cut)?;
        let (major, info) = (first >> 5, first & 31);
        let extra = match info {
            0..=23 | 31 => 0,
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(fault("a reserved head")),
        };
        let end = at.saturating_add(1 + extra);
        let rest = self.bytes.get(at + 1..end).ok_or(cut)?;
        self.at = end;
        let argument = match info {
            31 => None,
            0..=23 => Some(u64::from(info)),
            _ => Some(rest.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))),
        };
        Ok(Head { at, major, info, argument })
    }

    /// Copies one item to `out`, in deterministic form.
    fn item(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        let head = self.head()?;
        self.item_of(head, depth, out)
    }

    fn item_of(&mut self, head: Head, depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        if depth >= limits::CBOR_DEPTH && matches!(head.major, 4..=6) {
            return Err(head.fault("nested deeper than is read"));
        }
        match (head.major, head.argument) {
            (0 | 1, Some(number)) => write_head(out, head.major, number),
            (2 | 3, length) => self.string(&head, length, out)?,
            (4, length) => self.array(length, depth, out)?,
            (5, length) => self.map(length, depth, out)?,
            (6, Some(tag)) => self.tag(&head, tag, depth, out)?,
            (7, Some(value)) => simple(&head, value, out)?,
            (7, None) => return Err(head.fault("a break where an item is due")),
            _ => return Err(head.fault("an indefinite length where there is none")),
        }
        Ok(())
    }

    fn string(&mut self, head: &Head, length: Option<u64>, out: &mut Vec<u8>) -> Result<(), Fault> {
        let chunks;
        let body = match length {
            Some(length) => self.body(head, length)?,
            None => {
                chunks = self.chunks(head)?;
                &chunks
            }
        };
        if head.major == 3 && core::str::from_utf8(body).is_err() {
            return Err(head.fault("text that is no UTF-8"));
        }
        write_head(out, head.major, body.len() as u64);
        out.extend_from_slice(body);
        Ok(())
    }

    fn chunks(&mut self, whole: &Head) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        loop {
            let head = self.head()?;
            match (head.major, head.argument) {
                (7, None) => return Ok(body),
                (major, Some(length)) if major == whole.major => {
                    let chunk = self.body(&head, length)?;
                    // Each chunk of a text is text of its own (RFC 8949 section 3.2.3).
                    if major == 3 && core::str::from_utf8(chunk).is_err() {
                        return Err(head.fault("text that is no UTF-8"));
                    }
                    body.extend_from_slice(chunk);
                }
                _ => return Err(head.fault("another type within a string")),
            }
        }
    }

    fn body(&mut self, head: &Head, length: u64) -> Result<&'b [u8], Fault> {
        let cut = head.fault("cut short");
        let length = usize::try_from(length).map_err(|_| cut)?;
        let end = self.at.checked_add(length).ok_or(cut)?;
        let body = self.bytes.get(self.at..end).ok_or(cut)?;
        self.at = end;
        Ok(body)
    }

    /// Whether a container of this length has another item; takes the break at its end.
    fn more(&mut self, length: Option<u64>, seen: u64) -> bool {
        match length {
            Some(length) => seen < length,
            None => {
                let ends = self.bytes.get(self.at) == Some(&0xff);
                self.at += usize::from(ends);
                !ends
            }
        }
    }

    fn array(&mut self, length: Option<u64>, depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        if let Some(length) = length {
            write_head(out, 4, length);
            return (0..length).try_for_each(|_| self.item(depth + 1, out));
        }
        let (mut items, mut seen) = (Vec::new(), 0);
        while self.more(None, seen) {
            self.item(depth + 1, &mut items)?;
            seen += 1;
        }
        write_head(out, 4, seen);
        out.extend_from_slice(&items);
        Ok(())
    }

    fn map(&mut self, length: Option<u64>, depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        while self.more(length, pairs.len() as u64) {
            let key_head = self.head()?;
            let at = key_head.at;
            if !matches!(key_head.major, 0..=3) {
                return Err(key_head.fault("a map key that is neither integer nor string"));
            }
            let (mut key, mut value) = (Vec::new(), Vec::new());
            self.item_of(key_head, depth + 1, &mut key)?;
            let Err(place) = pairs.binary_search_by(|(known, _)| known.cmp(&key)) else {
                return Err(Fault { at, what: "a map key that was there before" });
            };
            self.item(depth + 1, &mut value)?;
            pairs.insert(place, (key, value));
        }
        write_head(out, 5, pairs.len() as u64);
        for (key, value) in pairs {
            out.extend_from_slice(&key);
            out.extend_from_slice(&value);
        }
        Ok(())
    }

    fn tag(&mut self, head: &Head, tag: u64, depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        let next = self.head()?;
        match (tag, next.major) {
            (SELF_DESCRIBED, _) | (UINT8_ARRAY, 2) | (EXPLICIT_MAP, 5) => {
                self.item_of(next, depth + 1, out)
            }
            _ => Err(head.fault("a tag that is not read")),
        }
    }
}

/// false, true, null, undefined and floats, which are brought to their shortest form.
fn simple(head: &Head, value: u64, out: &mut Vec<u8>) -> Result<(), Fault> {
    match head.info {
        20..=23 => out.push(0xe0 | head.info),
        25..=27 => write_float(out, strict::float(head.info, value)),
        _ => return Err(head.fault("a simple value that is not assigned")),
    }
    Ok(())
}

fn write_float(out: &mut Vec<u8>, value: f64) {
    let (info, bits) = strict::shortest_float(value);
    out.push(0xe0 | info);
    let width = match info {
        25 => 2,
        26 => 4,
        _ => 8,
    };
    let bytes = bits.to_be_bytes();
    out.extend_from_slice(bytes.get(8 - width..).unwrap_or_default());
}

fn write_head(out: &mut Vec<u8>, major: u8, value: u64) {
    let major = major << 5;
    let bytes = value.to_be_bytes();
    let (info, width) = match value {
        0..=23 => (u8::try_from(value).unwrap_or_default(), 0),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    out.push(major | info);
    out.extend_from_slice(bytes.get(8 - width..).unwrap_or_default());
}
