//! The members that a type takes, as its own code of serde tells them: a test compares them with the document.

use std::fmt;

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};

/// Names of members, in the order of the type; `None`: the type takes any.
pub(crate) type Fields = Option<&'static [&'static str]>;

/// The members of a type. It is asked to read itself from nothing, and says which members it wants.
pub(crate) fn fields_of<T: DeserializeOwned>() -> Fields {
    let mut fields = None;
    let _ = T::deserialize(Asks(&mut fields));
    fields
}

struct Asks<'a>(&'a mut Fields);

impl<'de> Deserializer<'de> for Asks<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom(Expected(visitor)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = Some(fields);
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Expected<V>(V);

impl<'de, V: Visitor<'de>> fmt::Display for Expected<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected: &dyn serde::de::Expected = &self.0;
        expected.fmt(f)
    }
}
