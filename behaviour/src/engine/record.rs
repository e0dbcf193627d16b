//! Stored forms: bytes with a version, read back whole or not at all. One function of a type names its fields in order,
//! for the writer and for the reader.

use std::fmt;

/// Why a record was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Another version wrote it: the subject is learned anew.
    Version(u8),
    /// It is cut, too long, or holds what was never written.
    Torn,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "the record has version {version}: the habits are learned anew")
            }
            Self::Torn => write!(f, "the record is damaged: the habits are learned anew"),
        }
    }
}

impl std::error::Error for RecordError {}

/// The record ends early, or holds what was never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn;

impl From<Torn> for RecordError {
    fn from(_: Torn) -> Self {
        Self::Torn
    }
}

/// Where the fields go to, or come from.
pub(super) enum Flow<'a> {
    /// They are written.
    Out(&'a mut Vec<u8>),
    /// They are read; times move by so many seconds, since the engine's time may stand elsewhere by now.
    In { rest: &'a [u8], move_by: i64 },
}

pub(super) type Flowed = Result<(), Torn>;

macro_rules! numbers {
    ($($name:ident: $kind:ty),*) => {
        $(pub(super) fn $name(&mut self, value: &mut $kind) -> Flowed {
            let mut bytes = value.to_le_bytes();
            self.bytes(&mut bytes)?;
            *value = <$kind>::from_le_bytes(bytes);
            Ok(())
        })*
    };
}

impl Flow<'_> {
    pub(super) fn bytes(&mut self, bytes: &mut [u8]) -> Flowed {
        match self {
            Self::Out(out) => out.extend_from_slice(bytes),
            Self::In { rest, .. } => {
                let (head, tail) = rest.split_at_checked(bytes.len()).ok_or(Torn)?;
                bytes.copy_from_slice(head);
                *rest = tail;
            }
        }
        Ok(())
    }

    numbers!(u8: u8, u16: u16, i16: i16, u32: u32, u64: u64);

    /// A float that is a number.
    pub(super) fn f32(&mut self, value: &mut f32) -> Flowed {
        let mut bytes = value.to_le_bytes();
        self.bytes(&mut bytes)?;
        *value = Some(f32::from_le_bytes(bytes)).filter(|value| value.is_finite()).ok_or(Torn)?;
        Ok(())
    }

    /// A time in seconds; 0 stands for never.
    pub(super) fn seconds(&mut self, value: &mut u32) -> Flowed {
        self.time(value, 1)
    }

    /// A time in hours; 0 stands for never.
    pub(super) fn hour(&mut self, value: &mut u32) -> Flowed {
        self.time(value, 3600)
    }

    fn time(&mut self, value: &mut u32, unit: i64) -> Flowed {
        self.u32(value)?;
        if let (Self::In { move_by, .. }, true) = (self, *value != 0) {
            let moved = (i64::from(*value) + *move_by / unit).clamp(1, i64::from(u32::MAX));
            *value = u32::try_from(moved).map_err(|_| Torn)?;
        }
        Ok(())
    }

    pub(super) fn flag(&mut self, value: &mut bool) -> Flowed {
        let mut byte = u8::from(*value);
        self.u8(&mut byte)?;
        *value = match byte {
            0 => false,
            1 => true,
            _ => return Err(Torn),
        };
        Ok(())
    }

    /// A part that may be absent.
    pub(super) fn optional<T: Default>(
        &mut self,
        value: &mut Option<Box<T>>,
        part: impl FnOnce(&mut T, &mut Self) -> Flowed,
    ) -> Flowed {
        let mut is_there = value.is_some();
        self.flag(&mut is_there)?;
        if !is_there {
            *value = None;
            return Ok(());
        }
        part(value.get_or_insert_default(), self)
    }

    /// Nothing is left.
    pub(super) fn end(&self) -> Flowed {
        match self {
            Self::In { rest, .. } if !rest.is_empty() => Err(Torn),
            _ => Ok(()),
        }
    }
}
