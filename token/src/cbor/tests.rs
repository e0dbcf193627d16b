use super::loose::{deterministic, Fault};
use super::strict::{check, measure};
use super::*;
use crate::encoding::hex;

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
        let Some(raw) = hex::decode(bad.replace(' ', "")) else {
            continue;
        };
        assert_eq!(check(&raw), Err(CborError), "{bad}");
    }
}

/// RFC 8949 appendix A, and neighbours of the borders between the widths.
#[test]
fn floats_are_strict_in_their_shortest_form_alone() {
    for (shortest, longer) in [
        ("f90000", &["fa00000000", "fb0000000000000000"][..]),
        ("f98000", &["fa80000000", "fb8000000000000000"]),
        ("f93c00", &["fa3f800000", "fb3ff0000000000000"]),
        ("f97bff", &["fa477fe000", "fb40effc0000000000"]),
        ("f90001", &["fa33800000", "fb3e70000000000000"]),
        ("f903ff", &["fa387fc000", "fb3f0ff80000000000"]),
        ("f90400", &["fa38800000", "fb3f10000000000000"]),
        ("f9c400", &["fac0800000", "fbc010000000000000"]),
        ("f97c00", &["fa7f800000", "fb7ff0000000000000"]),
        ("f9fc00", &["faff800000", "fbfff0000000000000"]),
        // Every NaN but this one, whatever its sign and payload.
        (
            "f97e00",
            &["f97e01", "f9fe00", "f97c01", "fa7fc00000", "fa7f800001", "fb7ff8000000000000"],
        ),
        ("f97e00", &["fbfff8000000000000", "fb7ff0000000000001", "fb7ff8000000000001"]),
        ("fa47c35000", &["fb40f86a0000000000"]),
        ("fa7f7fffff", &["fb47efffffe0000000"]),
        // One bit too many for a half; below the smallest half; above the largest.
        ("fa3f801000", &["fb3ff0020000000000"]),
        ("fa33000000", &["fb3e60000000000000"]),
        ("fa33c00000", &["fb3e78000000000000"]),
        ("fa47800000", &["fb40f0000000000000"]),
        ("fa00000001", &["fb36a0000000000000"]),
        ("fb3ff199999999999a", &[]),
        ("fb7e37e43c8800759c", &[]),
        ("fb0000000000000001", &[]),
    ] {
        assert_eq!(check(&bytes(shortest)), Ok(()), "{shortest}");
        for longer in longer {
            assert_eq!(check(&bytes(longer)), Err(CborError), "{longer}");
            let read = deterministic(&bytes(longer)).unwrap().into_owned();
            assert_eq!(hex::encode(read), shortest, "{longer}");
        }
    }
}

#[test]
fn every_half_is_its_own_shortest_form() {
    for bits in 0..=u16::MAX {
        let item = [&[0xf9], bits.to_be_bytes().as_slice()].concat();
        let nan = bits & 0x7c00 == 0x7c00 && bits & 0x03ff != 0;
        assert_eq!(check(&item).is_ok(), !nan || bits == 0x7e00, "{bits:04x}");
    }
}

#[test]
fn a_request_may_be_written_in_any_way_and_is_read_in_one() {
    for (written, read) in [
        ("a2 02 01 01 02", "a2 01 02 02 01"),
        ("b9 0001 1801 1900 05", "a1 01 05"),
        ("ba 00000001 1a 00000001 1b 0000000000000005", "a1 01 05"),
        ("38 00", "20"),
        ("58 01 07", "41 07"),
        ("5f 42 0102 41 03 ff", "43 010203"),
        ("7f 61 61 61 62 ff", "62 6162"),
        ("9f 01 9f ff ff", "82 01 80"),
        ("bf 02 00 01 bf ff ff", "a2 01 a0 02 00"),
        ("d9d9f7 a1 01 02", "a1 01 02"),
        ("d90103 b90001 01 d840 42 0102", "a1 01 42 0102"),
        // Keys in the order of their deterministic form: integers, then texts by length and letters.
        ("a3 63 616263 01 61 62 02 20 03", "a3 20 03 61 62 02 63 616263 01"),
        ("f6", "f6"),
    ] {
        let read = bytes(read);
        assert_eq!(deterministic(&bytes(written)).as_deref(), Ok(read.as_slice()), "{written}");
        assert_eq!(check(&read), Ok(()), "{written}");
    }
}

#[test]
fn what_a_request_must_not_be_is_told_with_its_place() {
    for (written, at, what) in [
        ("", 0, "cut short"),
        ("a1 01", 2, "cut short"),
        ("a1 01 42 00", 2, "cut short"),
        ("5b ffffffffffffffff", 0, "cut short"),
        ("9b ffffffffffffffff 00", 10, "cut short"),
        ("00 00", 1, "bytes behind the item"),
        ("a2 01 00 01 00", 3, "a map key that was there before"),
        ("a2 01 00 1801 00", 3, "a map key that was there before"),
        ("bf 61 61 00 7f 61 61 ff 00 ff", 4, "a map key that was there before"),
        ("a1 80 00", 1, "a map key that is neither integer nor string"),
        ("a1 f6 00", 1, "a map key that is neither integer nor string"),
        ("c1 1a 6ab13b80", 0, "a tag that is not read"),
        ("d840 61 61", 0, "a tag that is not read"),
        ("c2 41 01", 0, "a tag that is not read"),
        ("a1 01 f0", 2, "a simple value that is not assigned"),
        ("f8 20", 0, "a simple value that is not assigned"),
        ("62 c3 28", 0, "text that is no UTF-8"),
        ("7f 61 c3 61 a9 ff", 1, "text that is no UTF-8"),
        ("5f 61 61 ff", 1, "another type within a string"),
        ("5f 5f ff ff", 1, "another type within a string"),
        ("1c", 0, "a reserved head"),
        ("1f", 0, "an indefinite length where there is none"),
        ("ff", 0, "a break where an item is due"),
        ("a1 01 ff", 2, "a break where an item is due"),
        ("bf 01 ff", 2, "a break where an item is due"),
        ("81 81 81 81 81 81 81 81 81 00", 8, "nested deeper than is read"),
        (
            "d9d9f7 d9d9f7 d9d9f7 d9d9f7 d9d9f7 d9d9f7 d9d9f7 d9d9f7 d9d9f7 00",
            24,
            "nested deeper than is read",
        ),
    ] {
        let told = deterministic(&bytes(written)).map(|read| read.into_owned());
        assert_eq!(told, Err(Fault { at, what }), "{written}");
    }
    let mut many = vec![0x9f];
    many.extend([0x18, 0x00].repeat(0x400));
    assert_eq!(deterministic(&many).unwrap_err().what, "more items than are read");
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
