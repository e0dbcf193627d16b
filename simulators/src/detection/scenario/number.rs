//! Numbers of a scenario file, each with its bounds: a number outside of them is an error with its line.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A number, or `[low, high]`: then each group draws its own between the two. Bounds are in thousandths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Between<const LOW: i64, const HIGH: i64>(pub(super) Span);

/// One number, with bounds in thousandths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Real<const LOW: i64, const HIGH: i64>(pub(super) f64);

/// One whole number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Whole<const LOW: i64, const HIGH: i64>(pub(super) u64);

/// The numbers from `low` to `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Span {
    /// One number.
    pub const fn one(value: f64) -> Self {
        Self { low: value, high: value }
    }
}

fn checked<E: Error>(value: f64, low: i64, high: i64) -> Result<f64, E> {
    let (low, high) = (low as f64 / 1000.0, high as f64 / 1000.0);
    match value.is_finite() && (low..=high).contains(&value) {
        true => Ok(value),
        false => Err(E::custom(format!("{value} is not possible here: use {low} to {high}"))),
    }
}

struct Reader<const LOW: i64, const HIGH: i64> {
    pairs: bool,
}

impl<'de, const LOW: i64, const HIGH: i64> Visitor<'de> for Reader<LOW, HIGH> {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.pairs { "a number or [low, high]" } else { "a number" })
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Span, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Span, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Span, E> {
        checked(value, LOW, HIGH).map(Span::one)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Span, A::Error> {
        let wrong = || A::Error::custom("a range has two numbers: [low, high]");
        if !self.pairs {
            return Err(A::Error::custom("one number is wanted here, no list"));
        }
        let low = list.next_element::<Real<LOW, HIGH>>()?.ok_or_else(wrong)?.0;
        let high = list.next_element::<Real<LOW, HIGH>>()?.ok_or_else(wrong)?.0;
        if list.next_element::<f64>()?.is_some() {
            return Err(wrong());
        }
        match low <= high {
            true => Ok(Span { low, high }),
            false => Err(A::Error::custom(format!("{low} is above {high}: use [low, high]"))),
        }
    }
}

impl<'de, const LOW: i64, const HIGH: i64> Deserialize<'de> for Between<LOW, HIGH> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader::<LOW, HIGH> { pairs: true }).map(Self)
    }
}

impl<'de, const LOW: i64, const HIGH: i64> Deserialize<'de> for Real<LOW, HIGH> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader::<LOW, HIGH> { pairs: false }).map(|span| Self(span.low))
    }
}

impl<'de, const LOW: i64, const HIGH: i64> Deserialize<'de> for Whole<LOW, HIGH> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = i64::deserialize(from)?;
        match (LOW..=HIGH).contains(&value) {
            true => Ok(Self(value.unsigned_abs())),
            false => {
                Err(D::Error::custom(format!("{value} is not possible here: use {LOW} to {HIGH}")))
            }
        }
    }
}
