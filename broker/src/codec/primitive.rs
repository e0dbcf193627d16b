//! The data types of MQTT 5 section 1.5: integers, variable byte integers, strings, binary data.

use super::error::{CodecError, Result};
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

/// Largest value of a variable byte integer, and so the longest remaining length (MQTT 5 section 1.5.5).
pub(super) const MAX_VARINT: u32 = 268_435_455;

const SHORT: CodecError = CodecError::malformed("packet_truncated");

/// Reads forward through the body of one packet. The values that it returns share the packet's memory.
pub(super) struct Cursor<'a> {
    whole: &'a Bytes,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(whole: &'a Bytes) -> Self {
        Self { whole, at: 0 }
    }

    pub(super) fn remaining(&self) -> usize {
        self.whole.len().saturating_sub(self.at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// All that was read since `start`.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.whole.get(start..self.at).unwrap_or(&[])
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len).ok_or(SHORT)?;
        let slice = self.whole.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(slice)
    }

    pub(super) fn take_bytes(&mut self, len: usize) -> Result<Bytes> {
        let start = self.at;
        self.take(len)?;
        Ok(self.whole.slice(start..self.at))
    }

    pub(super) fn rest(&mut self) -> Bytes {
        let start = self.at;
        self.at = self.whole.len();
        self.whole.slice(start..)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.take(1)?.first().copied().ok_or(SHORT)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        let raw = self.take(2)?.try_into().map_err(|_| SHORT)?;
        Ok(u16::from_be_bytes(raw))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        let raw = self.take(4)?.try_into().map_err(|_| SHORT)?;
        Ok(u32::from_be_bytes(raw))
    }

    pub(super) fn varint(&mut self) -> Result<u32> {
        let tail = self.whole.get(self.at..).unwrap_or(&[]);
        match read_varint(tail)? {
            Some((value, width)) => {
                self.at += width;
                Ok(value)
            }
            None => Err(SHORT),
        }
    }

    pub(super) fn binary_slice(&mut self) -> Result<&'a [u8]> {
        let len = usize::from(self.u16()?);
        self.take(len)
    }

    pub(super) fn binary(&mut self) -> Result<Bytes> {
        let len = usize::from(self.u16()?);
        self.take_bytes(len)
    }

    pub(super) fn text_slice(&mut self) -> Result<&'a str> {
        utf8(self.binary_slice()?)
    }

    pub(super) fn text(&mut self) -> Result<ByteString> {
        let raw = self.binary()?;
        if raw.contains(&0) {
            return Err(CodecError::malformed("utf8_null_character"));
        }
        ByteString::try_from(raw).map_err(|_| CodecError::malformed("utf8_invalid"))
    }

    pub(super) fn packet_id(&mut self) -> Result<u16> {
        match self.u16()? {
            0 => Err(CodecError::protocol("packet_id_zero")),
            id => Ok(id),
        }
    }

    pub(super) fn finish(&self) -> Result<()> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(CodecError::malformed("trailing_bytes"))
        }
    }
}

/// UTF-8 without U+0000 (MQTT-1.5.4-1, -2; surrogates are no UTF-8).
pub(super) fn utf8(raw: &[u8]) -> Result<&str> {
    if raw.contains(&0) {
        return Err(CodecError::malformed("utf8_null_character"));
    }
    core::str::from_utf8(raw).map_err(|_| CodecError::malformed("utf8_invalid"))
}

/// Reads a variable byte integer: `None` when more bytes are needed, else the value and its width.
pub(super) fn read_varint(raw: &[u8]) -> Result<Option<(u32, usize)>> {
    let mut value = 0u32;
    for index in 0..4usize {
        let Some(&byte) = raw.get(index) else {
            return Ok(None);
        };
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if byte == 0 && index > 0 {
                return Err(CodecError::malformed("varint_not_shortest"));
            }
            return Ok(Some((value, index + 1)));
        }
    }
    Err(CodecError::malformed("varint_too_long"))
}

/// Bytes that a variable byte integer takes.
pub(super) const fn varint_len(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

pub(super) fn put_varint(out: &mut BytesMut, value: usize) -> Result<()> {
    let mut left = u32::try_from(value)
        .ok()
        .filter(|v| *v <= MAX_VARINT)
        .ok_or(CodecError::malformed("length_above_varint"))?;
    loop {
        let low = (left & 0x7f) as u8;
        left >>= 7;
        if left == 0 {
            out.put_u8(low);
            return Ok(());
        }
        out.put_u8(low | 0x80);
    }
}

pub(super) fn put_binary(out: &mut BytesMut, raw: &[u8]) -> Result<()> {
    let len =
        u16::try_from(raw.len()).map_err(|_| CodecError::malformed("field_above_65535_bytes"))?;
    out.put_u16(len);
    out.put_slice(raw);
    Ok(())
}

pub(super) fn put_text(out: &mut BytesMut, text: &str) -> Result<()> {
    put_binary(out, text.as_bytes())
}
