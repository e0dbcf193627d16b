//! Attributes of a device: names with values that may stand in the topics of its role.

use std::collections::BTreeMap;

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;
use tessera_token::refusal::RefusalCode;

use super::words::{json, read_maybe_json};
use crate::limits::{ATTRIBUTES, ATTRIBUTE_NAME_CHARS, ATTRIBUTE_VALUE_CHARS};
use crate::refused::Refused;

/// Attributes by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(BTreeMap<String, String>);

impl Attributes {
    /// Attributes as they were read, unchecked: a value is checked again where it becomes a part of a topic.
    #[must_use]
    pub fn unchecked(values: BTreeMap<String, String>) -> Self {
        Self(values)
    }

    /// These with new values; `None` removes one. One that is removed may be missing.
    pub(crate) fn with(&self, changes: &BTreeMap<String, Option<String>>) -> Result<Self, Refused> {
        let mut new = self.clone();
        for (name, value) in changes {
            check_name(name)?;
            match value {
                None => new.0.remove(name),
                Some(value) => {
                    check_value(name, value)?;
                    new.0.insert(name.clone(), value.clone())
                }
            };
        }
        match new.0.len() {
            0..=ATTRIBUTES => Ok(new),
            _ => Err(Refused::malformed(format!("a device has at most {ATTRIBUTES} attributes"))),
        }
    }

    /// The value of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn values(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// NULL where there are none, as in rows from before there were attributes.
    pub(super) fn column(&self) -> Value {
        match self.0.is_empty() {
            true => Value::Null,
            false => json(&self.0),
        }
    }

    pub(super) fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self(read_maybe_json(row)?.unwrap_or_default()))
    }
}

/// Whether this may be the name of an attribute.
pub(crate) fn is_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    name.len() <= ATTRIBUTE_NAME_CHARS
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(rest)
}

/// Whether this may be the value of an attribute. Each value is one level of a topic: it holds no `/ + #`, no control
/// character and no `$`.
pub(crate) fn is_value(value: &str) -> bool {
    let one = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    (1..=ATTRIBUTE_VALUE_CHARS).contains(&value.len()) && value.chars().all(one)
}

pub(crate) fn check_name(name: &str) -> Result<(), Refused> {
    match is_name(name) {
        true => Ok(()),
        false => Err(Refused::malformed(format!(
            "{name:?} is no name of an attribute: 1 to {ATTRIBUTE_NAME_CHARS} of a-z 0-9 _ -, a letter first"
        ))),
    }
}

pub(crate) fn check_value(name: &str, value: &str) -> Result<(), Refused> {
    match is_value(value) {
        true => Ok(()),
        false => Err(Refused::malformed(format!(
            "the attribute {name} cannot be {value:?}: 1 to {ATTRIBUTE_VALUE_CHARS} of A-Z a-z 0-9 . _ : -"
        ))),
    }
}

/// That the role names an attribute which the device does not have.
pub(crate) fn missing(name: &str) -> Refused {
    let detail =
        format!("the role names the attribute {name}, and the device has none of this name");
    Refused::because(RefusalCode::AttributeMissing, detail)
}

/// A row by which devices with an attribute are found. The attributes themselves are in the row of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttributeRow;

impl Record for AttributeRow {
    const TABLE: &'static str = "device_attributes";
    const KEY: &'static [&'static str] = &["tenant", "name", "value", "device"];
    const COLUMNS: &'static [&'static str] = &[];

    fn values(&self) -> Vec<Value> {
        Vec::new()
    }

    fn read(_row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self)
    }
}
