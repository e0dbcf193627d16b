//! Hexadecimal digits (RFC 4648 section 8), by `base16ct`: written in lower case, read in either.

use alloc::string::String;
use alloc::vec::Vec;

use base16ct::{lower, mixed};
use zeroize::Zeroizing;

/// The digits of `bytes`.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    lower::encode_string(bytes.as_ref())
}

/// The bytes behind `digits`; `None` when they are none.
pub fn decode(digits: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    mixed::decode_vec(digits).ok()
}

/// A key of 32 bytes from 64 digits.
pub fn decode_key(digits: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let len = mixed::decode(digits, &mut *key).ok()?.len();
    (len == key.len()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_either_case_are_read() {
        let bytes: Vec<u8> = (0..=255).collect();
        let digits = encode(&bytes);
        assert!(digits.starts_with("000102") && digits.ends_with("fdfeff"), "{digits}");
        assert_eq!(decode(&digits).as_ref(), Some(&bytes));
        assert_eq!(decode(digits.to_uppercase()), Some(bytes));
        assert_eq!(decode(""), Some(Vec::new()));
    }

    #[test]
    fn other_texts_are_no_digits() {
        for bad in ["0", "0g", "g0", " 00", "00 ", "0x00", "é", "/0", ":0", "@0", "`0"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_has_64_digits() {
        let key = decode_key(&"aB".repeat(32)).unwrap();
        assert_eq!(*key, [0xab; 32]);
        for bad in ["", "ab", &"ab".repeat(31), &"ab".repeat(33), &"a".repeat(63), &"ag".repeat(32)]
        {
            assert!(decode_key(bad).is_none(), "{bad}");
        }
    }
}
