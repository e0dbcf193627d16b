//! A profile at rest: a version byte and the learned fields, little endian. About 400 bytes.

/// The record ends too early or comes from another version: the device is learned anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut;

/// Takes fields off the front of a record.
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl Take<'_> {
    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Cut> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(Cut)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Cut> {
        self.bytes().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Cut> {
        self.bytes().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Cut> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Cut> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub(crate) fn end(&self) -> Result<(), Cut> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Cut)
        }
    }
}
