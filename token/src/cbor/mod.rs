//! CBOR (RFC 8949) as this product speaks it: deterministic, without tags, bounded.
//!
//! [`strict::check`] decides whether bytes that are signed or compared are acceptable at all, [`loose::deterministic`]
//! brings those of a request into the same form; [`Reader`] then takes
//! typed items out of them and [`Writer`] makes them. Only this file names the CBOR library.

use alloc::vec::Vec;
use core::convert::Infallible;

pub mod loose;
pub mod strict;
#[cfg(test)]
mod tests;

/// The bytes are not the CBOR that was expected: not deterministic, of another type, or cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CborError;

impl core::fmt::Display for CborError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not the CBOR that was expected")
    }
}

impl core::error::Error for CborError {}

impl From<minicbor::decode::Error> for CborError {
    fn from(_: minicbor::decode::Error) -> Self {
        Self
    }
}

/// Writes CBOR items with shortest heads. The caller writes map keys in deterministic order.
pub struct Writer(minicbor::Encoder<Vec<u8>>);

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self(minicbor::Encoder::new(Vec::new()))
    }

    fn done(&mut self, result: Result<(), minicbor::encode::Error<Infallible>>) -> &mut Self {
        // Writing to a Vec cannot fail: the error type is uninhabited but for custom messages,
        // which only derived encoders make.
        debug_assert!(result.is_ok());
        self
    }

    /// Head of an array of `n` items.
    pub fn array(&mut self, n: usize) -> &mut Self {
        let r = self.0.array(n as u64).map(drop);
        self.done(r)
    }

    /// Head of a map of `n` pairs.
    pub fn map(&mut self, n: usize) -> &mut Self {
        let r = self.0.map(n as u64).map(drop);
        self.done(r)
    }

    /// An unsigned integer.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        let r = self.0.u64(value).map(drop);
        self.done(r)
    }

    /// A signed integer.
    pub fn int(&mut self, value: i64) -> &mut Self {
        let r = self.0.i64(value).map(drop);
        self.done(r)
    }

    /// A text string.
    pub fn text(&mut self, value: &str) -> &mut Self {
        let r = self.0.str(value).map(drop);
        self.done(r)
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        let r = self.0.bytes(value).map(drop);
        self.done(r)
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        let r = self.0.bool(value).map(drop);
        self.done(r)
    }

    /// Null.
    pub fn null(&mut self) -> &mut Self {
        let r = self.0.null().map(drop);
        self.done(r)
    }

    /// Items that were encoded before.
    pub fn raw(&mut self, items: &[u8]) -> &mut Self {
        self.0.writer_mut().extend_from_slice(items);
        self
    }

    /// The bytes written so far; the writer is empty afterwards.
    pub fn finish(&mut self) -> Vec<u8> {
        core::mem::take(self.0.writer_mut())
    }
}

/// The type of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An integer of either sign.
    Int,
    /// A text string.
    Text,
    /// A byte string.
    Bytes,
    /// A boolean.
    Bool,
    /// Null.
    Null,
    /// An array.
    Array,
    /// A map.
    Map,
    /// Any other: a float, a tag, a simple value.
    Other,
}

/// Takes typed items out of bytes that [`strict::check`] accepted.
pub struct Reader<'b>(minicbor::Decoder<'b>);

impl<'b> Reader<'b> {
    /// A reader over items that have been checked.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(minicbor::Decoder::new(bytes))
    }

    /// Checks that `bytes` are one strict item of at most `most` bytes, then reads it.
    ///
    /// # Errors
    /// [`CborError`] when they are not.
    pub fn strict(bytes: &'b [u8], most: usize) -> Result<Self, CborError> {
        if bytes.len() > most {
            return Err(CborError);
        }
        strict::check(bytes)?;
        Ok(Self::new(bytes))
    }

    /// The length of an array.
    ///
    /// # Errors
    /// [`CborError`] when the next item is something else.
    pub fn array(&mut self) -> Result<usize, CborError> {
        usize::try_from(self.0.array()?.ok_or(CborError)?).map_err(|_| CborError)
    }

    /// The length of an array, which must be `n`.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn array_of(&mut self, n: usize) -> Result<(), CborError> {
        if self.array()? == n {
            Ok(())
        } else {
            Err(CborError)
        }
    }

    /// The number of pairs of a map.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn map(&mut self) -> Result<usize, CborError> {
        usize::try_from(self.0.map()?.ok_or(CborError)?).map_err(|_| CborError)
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn uint(&mut self) -> Result<u64, CborError> {
        Ok(self.0.u64()?)
    }

    /// A signed integer.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn int(&mut self) -> Result<i64, CborError> {
        Ok(self.0.i64()?)
    }

    /// A boolean.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn bool(&mut self) -> Result<bool, CborError> {
        Ok(self.0.bool()?)
    }

    /// A text string.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn text(&mut self) -> Result<&'b str, CborError> {
        Ok(self.0.str()?)
    }

    /// A byte string.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn bytes(&mut self) -> Result<&'b [u8], CborError> {
        Ok(self.0.bytes()?)
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn bytes_of<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        self.bytes()?.try_into().map_err(|_| CborError)
    }

    /// A map key: integers as they are, text keys and integers beyond `i64` as `None`.
    ///
    /// # Errors
    /// [`CborError`] when the key is of another type.
    pub fn label(&mut self) -> Result<Option<i64>, CborError> {
        use minicbor::data::Type;
        match self.0.datatype()? {
            Type::String => {
                self.0.str()?;
                Ok(None)
            }
            Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::I8
            | Type::I16
            | Type::I32
            | Type::I64
            | Type::Int => {
                let wide = i128::from(self.0.int()?);
                Ok(i64::try_from(wide).ok())
            }
            _ => Err(CborError),
        }
    }

    /// The type of the next item, which is not taken.
    ///
    /// # Errors
    /// [`CborError`] when there is none.
    pub fn kind(&self) -> Result<Kind, CborError> {
        use minicbor::data::Type;
        Ok(match self.0.datatype()? {
            Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::I8
            | Type::I16
            | Type::I32
            | Type::I64
            | Type::Int => Kind::Int,
            Type::String => Kind::Text,
            Type::Bytes => Kind::Bytes,
            Type::Bool => Kind::Bool,
            Type::Null => Kind::Null,
            Type::Array => Kind::Array,
            Type::Map => Kind::Map,
            _ => Kind::Other,
        })
    }

    /// Leaves out one item.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn skip(&mut self) -> Result<(), CborError> {
        Ok(self.0.skip()?)
    }

    /// The bytes of the next item, whole.
    ///
    /// # Errors
    /// [`CborError`].
    pub fn item(&mut self) -> Result<&'b [u8], CborError> {
        let start = self.0.position();
        self.0.skip()?;
        self.0.input().get(start..self.0.position()).ok_or(CborError)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`CborError`] when bytes are left.
    pub fn end(&self) -> Result<(), CborError> {
        if self.0.position() == self.0.input().len() {
            Ok(())
        } else {
            Err(CborError)
        }
    }
}
