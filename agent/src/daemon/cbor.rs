//! Requests and answers in CBOR, as the same members that JSON has. A byte string stands for its base64url text.

use serde_json::{Map, Value};
use tessera_token::cbor::loose::{deterministic_large, Fault};
use tessera_token::cbor::{CborError, Kind, Reader, Writer};
use tessera_token::encoding;

use crate::limits;

/// Why a body in CBOR was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is not well formed, or beyond the bounds.
    Fault(Fault),
    /// It holds an item that no member has: a float, a tag, a key that is no text.
    Type,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Type => f.write_str("CBOR with an item that no member of a request has"),
        }
    }
}

impl From<CborError> for Unread {
    fn from(_: CborError) -> Self {
        Self::Type
    }
}

/// The members of a request. Its size is bounded by the caller, its depth and a key that comes twice are checked here.
pub(super) fn read(body: &[u8]) -> Result<Value, Unread> {
    let items = limits::DAEMON_CBOR_ITEMS;
    let body = deterministic_large(body, items).map_err(Unread::Fault)?;
    let mut reader = Reader::new(&body);
    let value = item(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// One item. The depth was bounded by the check before.
fn item(reader: &mut Reader<'_>) -> Result<Value, Unread> {
    Ok(match reader.kind()? {
        Kind::Int => match reader.uint() {
            Ok(number) => number.into(),
            // No member takes a negative number; the message of the refusal shows it.
            Err(CborError) => reader.int()?.into(),
        },
        Kind::Text => reader.text()?.into(),
        Kind::Bytes => encoding::base64url(reader.bytes()?).into(),
        Kind::Bool => reader.bool()?.into(),
        Kind::Null => {
            reader.skip()?;
            Value::Null
        }
        Kind::Array => {
            let number = reader.array()?;
            (0..number).map(|_| item(reader)).collect::<Result<Vec<_>, _>>()?.into()
        }
        Kind::Map => {
            let number = reader.map()?;
            let mut members = Map::new();
            for _ in 0..number {
                let name = reader.text()?.to_owned();
                members.insert(name, item(reader)?);
            }
            members.into()
        }
        Kind::Other => return Err(Unread::Type),
    })
}

/// An answer.
pub(super) fn write(answer: &Value) -> Vec<u8> {
    let mut writer = Writer::new();
    put(&mut writer, answer);
    writer.finish()
}

fn put(writer: &mut Writer, value: &Value) {
    match value {
        Value::Null => writer.null(),
        Value::Bool(yes) => writer.bool(*yes),
        // Answers hold no other numbers.
        Value::Number(number) => writer.uint(number.as_u64().unwrap_or_default()),
        Value::String(text) => writer.text(text),
        Value::Array(items) => {
            writer.array(items.len());
            items.iter().for_each(|item| put(writer, item));
            writer
        }
        Value::Object(members) => {
            writer.map(members.len());
            for (name, member) in members {
                writer.text(name);
                put(writer, member);
            }
            writer
        }
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cbor_has_the_members_of_json() {
        let value = json!({
            "a": [1, null, true, "text"],
            "b": {"c": u64::MAX, "d": []},
        });
        assert_eq!(read(&write(&value)), Ok(value));
        let mut writer = Writer::new();
        writer.map(1).text("password").bytes(&[0xfb, 0xff]);
        assert_eq!(read(&writer.finish()), Ok(json!({"password": "-_8"})));
    }

    #[test]
    fn cbor_beyond_the_bounds_is_not_read() {
        // A float, a tag, a key that is no text.
        for bytes in [&[0xf9, 0x3c, 0x00][..], &[0xc1, 0x00], &[0xa1, 0x01, 0x02]] {
            assert!(read(bytes).is_err(), "{bytes:02x?}");
        }
        // The same key twice, bytes behind the item, nothing at all, an array that is cut.
        for bytes in
            [&[0xa2, 0x61, 0x61, 0x01, 0x61, 0x61, 0x02][..], &[0x01, 0x01], &[], &[0x82, 0x01]]
        {
            assert!(matches!(read(bytes), Err(Unread::Fault(_))), "{bytes:02x?}");
        }
        let deep = [&[0x81; 200][..], &[0x01]].concat();
        assert!(matches!(read(&deep), Err(Unread::Fault(_))));
        let mut many = Writer::new();
        many.array(limits::DAEMON_CBOR_ITEMS);
        for _ in 0..limits::DAEMON_CBOR_ITEMS {
            many.null();
        }
        assert!(matches!(read(&many.finish()), Err(Unread::Fault(_))));
    }
}
