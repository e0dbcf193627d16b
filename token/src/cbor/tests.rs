use super::strict::{check, measure};
use super::*;

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

#[test]
fn strict_items_pass() {
    for good in [
        "00",
        "17",
        "1818",
        "20",
        "3863",
        "40",
        "43010203",
        "60",
        "6161",
        "80",
        "83010203",
        "a0",
        "a201020304",
        "a2016161 02 80",
        "a10120",
        "f4",
        "f5",
        "f6",
        "f97e00",
        "a1016161",
        "a2 01 a10203 02 00",
        "1bffffffffffffffff",
        "a26161006162 00",
        "8181818181818180",
    ] {
        assert_eq!(check(&bytes(good)), Ok(()), "{good}");
    }
}

#[test]
fn everything_else_is_refused() {
    for bad in [
        "",
        "1800",
        "190001",
        "1a00000001",
        "1b0000000000000001",
        "3800",
        "5800",
        "7801 61",
        "5f4101ff",
        "7f6161ff",
        "9f01ff",
        "bf0102ff",
        "a2010201 03",
        "a202010103",
        "c000",
        "d83d00",
        "c249010000000000000000",
        "f0",
        "f800",
        "f8ff",
        "ff",
        "61ff",
        "62c3",
        "4201",
        "820 1",
        "0000",
        "a1800 0",
        "a1a000",
        "a1f600",
        "a1f90000 00",
        "818181818181818180",
        "9bffffffffffffffff",
        "5bffffffffffffffff",
        "bbffffffffffffffff",
        "1c",
        "fc",
    ] {
        let Ok(raw) = hex::decode(bad.replace(' ', "")) else {
            continue;
        };
        assert_eq!(check(&raw), Err(CborError), "{bad}");
    }
}

#[test]
fn every_prefix_of_an_item_is_refused() {
    let whole = bytes("a3 01 82 61 61 43 010203 02 a1 20 f5 19 0100 1a 00010000");
    assert_eq!(check(&whole), Ok(()));
    for end in 0..whole.len() {
        assert_eq!(check(&whole[..end]), Err(CborError), "{end}");
    }
}

#[test]
fn work_is_bounded_by_the_item_budget() {
    let mut many = vec![0x99, 0x04, 0x01];
    many.extend([0u8; 0x401]);
    assert_eq!(check(&many), Err(CborError));
    assert_eq!(measure(&many, 0, 2000), Ok(many.len()));
}
