//! Packets of tests, byte by byte: not by the codec that the proxy uses.

/// Appends bytes behind a length of two bytes.
pub(super) fn put_field(field: &[u8], out: &mut Vec<u8>) {
    out.extend(u16::try_from(field.len()).unwrap().to_be_bytes());
    out.extend(field);
}

/// A packet of this first byte and this body.
pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut out, mut length) = (vec![first], body.len());
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            out.push(low);
            break;
        }
        out.push(low | 0x80);
    }
    out.extend(body);
    out
}
