//! The strict pre-check against a recursive reading of RFC 8949 section 4.2.1, in both directions; what it accepts,
//! another library reads too, and our reader walks through.

use tessera_token::cbor::strict::{check, measure};
use tessera_token::cbor::{Reader, Writer};
use tessera_token::limits::{CBOR_DEPTH, CBOR_ITEMS};

use super::numbered;
use crate::signal::note;

/// Runs one input.
pub fn target(data: &[u8]) {
    let accepted = check(data).is_ok();
    assert_eq!(accepted, strict(data), "accepted by one reading alone");
    match measure(data, 0, CBOR_ITEMS) {
        Ok(end) => {
            assert!(end <= data.len() && check(&data[..end]).is_ok());
            assert_eq!(accepted, end == data.len());
            for cut in [end.saturating_sub(1), end / 2] {
                assert!(cut == end || check(&data[..cut]).is_err(), "a prefix is an item too");
            }
        }
        Err(_) => assert!(!accepted),
    }
    let first = data.first().map(|byte| byte >> 3);
    let second = data.get(1).map(|byte| byte >> 5);
    note((first, second, accepted, data.len().min(12)));
    if accepted {
        let read: Result<ciborium::Value, _> = ciborium::from_reader(data);
        assert!(read.is_ok(), "another library cannot read it");
        let mut reader = Reader::new(data);
        assert!(reader.skip().is_ok() && reader.end().is_ok(), "our reader stops in it");
    }
}

/// Whether `bytes` are one item as we accept it, read recursively and without thought for speed.
pub(crate) fn strict(bytes: &[u8]) -> bool {
    let mut items = CBOR_ITEMS;
    item(bytes, 0, &mut items).is_some_and(|rest| rest.is_empty())
}

/// The bytes after the first item; `None` when it is not acceptable.
fn item<'b>(bytes: &'b [u8], depth: usize, items: &mut usize) -> Option<&'b [u8]> {
    *items = items.checked_sub(1)?;
    let (first, rest) = bytes.split_first()?;
    let (major, info) = (first >> 5, first & 31);
    let (value, mut rest) = match info {
        0..=23 => (u64::from(info), rest),
        24..=27 => {
            let (number, rest) = rest.split_at_checked(1 << (info - 24))?;
            (number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), rest)
        }
        _ => return None,
    };
    let least = [24, 1 << 8, 1 << 16, 1 << 32].get(usize::from(info).wrapping_sub(24));
    if major != 7 && least.is_some_and(|least| value < *least) {
        return None;
    }
    match major {
        0 | 1 => {}
        2 | 3 => {
            let (body, behind) = rest.split_at_checked(usize::try_from(value).ok()?)?;
            if major == 3 {
                core::str::from_utf8(body).ok()?;
            }
            rest = behind;
        }
        4 | 5 if depth == CBOR_DEPTH => return None,
        4 => {
            for _ in 0..value {
                rest = item(rest, depth + 1, items)?;
            }
        }
        5 => {
            let mut last: Option<&[u8]> = None;
            for _ in 0..value {
                let behind = item(rest, depth + 1, items)?;
                let key = &rest[..rest.len() - behind.len()];
                if key[0] >> 5 > 3 || last.is_some_and(|last| last >= key) {
                    return None;
                }
                last = Some(key);
                rest = item(behind, depth + 1, items)?;
            }
        }
        7 => match info {
            20..=23 => {}
            25..=27 if is_shortest_float(&bytes[..bytes.len() - rest.len()]) => {}
            _ => return None,
        },
        _ => return None,
    }
    Some(rest)
}

/// Whether another library writes the float in these bytes; of NaN there is one.
fn is_shortest_float(item: &[u8]) -> bool {
    let Ok(ciborium::Value::Float(value)) = ciborium::from_reader(item) else { return false };
    let mut written = Vec::new();
    ciborium::into_writer(&ciborium::Value::Float(value), &mut written).expect("a vector");
    if value.is_nan() {
        item == [0xf9, 0x7e, 0x00]
    } else {
        item == written
    }
}

/// Items of every type, nested to the limit and above it.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let nested = |depth: usize| [vec![0x81; depth], vec![0xa1, 0x01, 0x80]].concat();
    let mut w = Writer::new();
    w.map(3).int(1).text("ä").int(24).array(2).bytes(&[0; 30]).bool(true).int(-65537).array(0);
    let map = w.finish();
    let mut wide = vec![0x99, 0x03, 0xff];
    wide.extend(std::iter::repeat_n(0x01, 0x3ff));
    numbered([
        map,
        super::world::claims().to_cbor(),
        super::world::claims().scope.to_aif(),
        wide,
        nested(6),
        nested(7),
        nested(8),
        vec![0xf9, 0x7e, 0x00],
        vec![0xf9, 0x03, 0xff],
        vec![0xfa, 0x47, 0xc3, 0x50, 0x00],
        vec![0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a],
        vec![0x1b, 0, 0, 0, 1, 0, 0, 0, 0],
        vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0xa2, 0x01, 0xa1, 0x02, 0x03, 0x02, 0x00],
    ])
}
