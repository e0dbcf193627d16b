//! Values of columns that are words or JSON.

use serde::de::DeserializeOwned;
use serde::Serialize;
use tessera_runtime::sql::{Row, Value};
use tessera_runtime::store::StoreError;

/// The word of a value that is a text in JSON.
pub(super) fn word<T: Serialize>(value: &T) -> Value {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.into(),
        _ => Value::Null,
    }
}

/// The value of the word in the next column.
pub(super) fn read_word<T: DeserializeOwned>(row: &mut Row) -> Result<T, StoreError> {
    let word = row.text()?;
    serde_json::from_value(word.into()).map_err(|error| row.damaged(error.to_string()))
}

/// As [`read_word`]; `None` for NULL.
pub(super) fn maybe_word<T: DeserializeOwned>(row: &mut Row) -> Result<Option<T>, StoreError> {
    let Some(word) = row.maybe_text()? else { return Ok(None) };
    let read = serde_json::from_value(word.into());
    read.map(Some).map_err(|error| row.damaged(error.to_string()))
}

/// A value as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_string(value).map_or(Value::Null, Value::Text)
}

/// The value of the JSON in the next column.
pub(super) fn read_json<T: DeserializeOwned>(row: &mut Row) -> Result<T, StoreError> {
    let text = row.text()?;
    serde_json::from_str(&text).map_err(|error| row.damaged(error.to_string()))
}

/// As [`read_json`]; `None` for NULL.
pub(super) fn read_maybe_json<T: DeserializeOwned>(row: &mut Row) -> Result<Option<T>, StoreError> {
    let Some(text) = row.maybe_text()? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| row.damaged(error.to_string()))
}
