//! Fields of an MQTT packet (MQTT 5 section 1.5).

/// The rest of a packet's body.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    pub(super) fn two(&mut self) -> Option<u16> {
        self.bytes(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// Bytes behind a length of two bytes.
    pub(super) fn field(&mut self) -> Option<&'a [u8]> {
        let length = self.two()?;
        self.bytes(usize::from(length))
    }

    /// A variable byte integer.
    pub(super) fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// The properties of a packet of MQTT 5.
    pub(super) fn properties(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.bytes(length)
    }
}

/// Appends a variable byte integer.
pub(super) fn put_number(mut number: usize, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        match number {
            0 => return out.push(low),
            _ => out.push(low | 0x80),
        }
    }
}

/// Appends bytes behind a length of two bytes; longer ones are cut, and the callers have none.
pub(super) fn put_field(field: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(field.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend(field.iter().take(usize::from(length)));
}

/// A packet of this first byte and this body.
pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    put_number(body.len(), &mut out);
    out.extend_from_slice(body);
    out
}
