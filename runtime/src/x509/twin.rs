//! The twin of a certificate. A signature by ECDSA (r, s) has another form (r, n - s) that verifies too, and the signature is
//! not among the signed bytes: the holder of a certificate can make a second one, with another fingerprint. A list of
//! fingerprints holds for both.

use x509_parser::oid_registry::{OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384};

use super::{read, CertificateFault};

/// The order n of P-256 (SEC 2 section 2.4.2), the only curve of signatures here.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// Lengths of one byte in DER.
const SHORT: usize = 0x80;

/// The same certificate with the other form of its signature, in DER; `None` when the signature has one form alone, or
/// cannot verify in any.
///
/// # Errors
/// [`CertificateFault::Unreadable`].
pub fn twin(der: &[u8]) -> Result<Option<Vec<u8>>, CertificateFault> {
    let certificate = read(der)?;
    let kind = &certificate.signature_algorithm.algorithm;
    if *kind != OID_SIG_ECDSA_WITH_SHA256 && *kind != OID_SIG_ECDSA_WITH_SHA384 {
        return Ok(None);
    }
    let signature = certificate.signature_value.data.as_ref();
    Ok(other_form(signature).and_then(|other| in_place_of(der, signature, &other)))
}

/// `SEQUENCE { r, s }` as `SEQUENCE { r, n - s }`.
fn other_form(signature: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = pair(signature)?;
    let both = [integer(&r), integer(&minus(&ORDER, &s)?)].concat();
    Some([&[0x30, u8::try_from(both.len()).ok()?], both.as_slice()].concat())
}

/// The certificate with another signature: the BIT STRING is the last of the three members.
fn in_place_of(der: &[u8], signature: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let header = match der.get(1)? {
        length if usize::from(*length) < SHORT => 2,
        bytes => 2 + usize::from(*bytes) % SHORT,
    };
    // Tag, length, and the number of unused bits.
    let kept = der.get(header..der.len().checked_sub(signature.len() + 3)?)?;
    if other.len() + 1 >= SHORT {
        return None;
    }
    let bits = [&[0x03, u8::try_from(other.len() + 1).ok()?, 0], other].concat();
    let body = [kept, bits.as_slice()].concat();
    Some([vec![0x30], length(body.len())?, body].concat())
}

/// A length in DER.
fn length(bytes: usize) -> Option<Vec<u8>> {
    if bytes < SHORT {
        return Some(vec![u8::try_from(bytes).ok()?]);
    }
    let digits = u32::try_from(bytes).ok()?.to_be_bytes();
    let digits: Vec<u8> = digits.into_iter().skip_while(|digit| *digit == 0).collect();
    Some([vec![0x80 | u8::try_from(digits.len()).ok()?], digits].concat())
}

/// r and s of 32 bytes each, from `SEQUENCE { INTEGER, INTEGER }` (RFC 3279 section 2.2.3).
pub(crate) fn pair(der: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let (0x30, rest) = der.split_first().map(|(tag, rest)| (*tag, rest))? else { return None };
    let (length, rest) = rest.split_first()?;
    if usize::from(*length) != rest.len() {
        return None;
    }
    let (r, rest) = number(rest)?;
    let (s, rest) = number(rest)?;
    rest.is_empty().then_some((r, s))
}

/// The next integer as 32 bytes, and the bytes behind it.
fn number(bytes: &[u8]) -> Option<([u8; 32], &[u8])> {
    let (0x02, rest) = bytes.split_first().map(|(tag, rest)| (*tag, rest))? else { return None };
    let (length, rest) = rest.split_first()?;
    let (number, rest) = rest.split_at_checked(usize::from(*length))?;
    let number = number.strip_prefix(&[0]).unwrap_or(number);
    let mut whole = [0; 32];
    let at = whole.len().checked_sub(number.len())?;
    whole.iter_mut().skip(at).zip(number).for_each(|(to, from)| *to = *from);
    Some((whole, rest))
}

/// A positive integer in DER, of the fewest bytes.
fn integer(number: &[u8; 32]) -> Vec<u8> {
    let digits: Vec<u8> = number.iter().copied().skip_while(|digit| *digit == 0).collect();
    // A first bit that is set would make it negative.
    let zero = digits.first().is_none_or(|first| *first >= 0x80);
    let digits = if zero { [vec![0], digits].concat() } else { digits };
    [vec![0x02, u8::try_from(digits.len()).unwrap_or(33)], digits].concat()
}

/// The difference, when it is above 0.
fn minus(one: &[u8; 32], other: &[u8; 32]) -> Option<[u8; 32]> {
    if one <= other {
        return None;
    }
    let (mut difference, mut borrow) = ([0; 32], false);
    for ((to, one), other) in difference.iter_mut().zip(one).zip(other).rev() {
        let (first, under) = one.overflowing_sub(*other);
        let (second, further) = first.overflowing_sub(u8::from(borrow));
        (*to, borrow) = (second, under || further);
    }
    Some(difference)
}
