//! Properties of packets that we write.

use super::table::{PropertyId, Shape};
use super::{lookup, Properties};
use crate::codec::error::{CodecError, Result};
use crate::codec::primitive::{put_binary, put_text, put_varint};
use bytes::{BufMut, BytesMut};

/// Writes properties one after the other. Which packet they suit is the caller's care; types and lengths are checked.
#[derive(Default)]
pub struct PropertiesBuilder {
    raw: BytesMut,
    failed: Option<CodecError>,
}

impl PropertiesBuilder {
    /// Adds a number in the width that the property has.
    #[must_use]
    pub fn number(mut self, id: PropertyId, value: u32) -> Self {
        let done = self.try_number(id, value);
        self.note(done)
    }

    /// Adds a string.
    #[must_use]
    pub fn text(mut self, id: PropertyId, value: &str) -> Self {
        let done = self.start(id, |shape| matches!(shape, Shape::Text | Shape::Topic));
        let done = done.and_then(|()| put_text(&mut self.raw, value));
        self.note(done)
    }

    /// Adds binary data.
    #[must_use]
    pub fn binary(mut self, id: PropertyId, value: &[u8]) -> Self {
        let done = self.start(id, |shape| shape == Shape::Binary);
        let done = done.and_then(|()| put_binary(&mut self.raw, value));
        self.note(done)
    }

    /// Adds a user property.
    #[must_use]
    pub fn user(mut self, name: &str, value: &str) -> Self {
        let done = self.start(PropertyId::UserProperty, |shape| shape == Shape::Pair);
        let done = done.and_then(|()| put_text(&mut self.raw, name));
        let done = done.and_then(|()| put_text(&mut self.raw, value));
        self.note(done)
    }

    /// Adds all of another set, in its order.
    #[must_use]
    pub fn all_of(mut self, other: &Properties) -> Self {
        self.raw.extend_from_slice(&other.raw);
        self
    }

    /// The finished set.
    ///
    /// # Errors
    /// A value of the wrong type or of more than 65,535 bytes.
    pub fn finish(self) -> Result<Properties> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(Properties { raw: self.raw.freeze() }),
        }
    }

    fn try_number(&mut self, id: PropertyId, value: u32) -> Result<()> {
        const TOO_BIG: CodecError = CodecError::malformed("property_number_too_big");
        let (_, shape, _) = lookup(id as u8)?;
        self.raw.put_u8(id as u8);
        match shape {
            Shape::Flag => self.raw.put_u8(u8::try_from(value).map_err(|_| TOO_BIG)?),
            Shape::Two(_) => self.raw.put_u16(u16::try_from(value).map_err(|_| TOO_BIG)?),
            Shape::Four(_) => self.raw.put_u32(value),
            Shape::Var => put_varint(&mut self.raw, value as usize)?,
            _ => return Err(CodecError::malformed("property_wrong_type")),
        }
        Ok(())
    }

    fn start(&mut self, id: PropertyId, fits: impl Fn(Shape) -> bool) -> Result<()> {
        let (_, shape, _) = lookup(id as u8)?;
        if !fits(shape) {
            return Err(CodecError::malformed("property_wrong_type"));
        }
        self.raw.put_u8(id as u8);
        Ok(())
    }

    fn note(mut self, done: Result<()>) -> Self {
        if let Err(error) = done {
            self.failed.get_or_insert(error);
        }
        self
    }
}
