//! The rows that a change has touched, before and after it, for people who read the audit log. Secrets are masked.

use serde_json::{Map, Value as Json};
use tessera_runtime::sql::{Record, Value};
use tessera_token::encoding::hex;

use crate::limits::AUDIT_VALUE_CHARS;

/// Columns that are never shown.
const MASKED: [&str; 4] = ["token_hash", "code_hash", "account", "nonce_hash"];
/// The text in the place of a value that is not shown.
const MASK: &str = "(masked)";

/// The columns in which two rows of a table differ, as JSON objects; the text is empty where there is no row. Of a row that
/// is new or gone these are all columns that hold something.
pub(super) fn difference<R: Record>(before: Option<&R>, after: Option<&R>) -> (String, String) {
    let values = |row: Option<&R>| row.map(Record::values);
    let (before, after) = (values(before), values(after));
    let others = |row: &Option<Vec<Value>>, at: usize| match row {
        Some(values) => values.get(at).cloned(),
        None => Some(Value::Null),
    };
    let shown = |row: &Option<Vec<Value>>, other: &Option<Vec<Value>>| {
        let Some(values) = row else { return String::new() };
        let columns = R::COLUMNS.iter().zip(values).enumerate();
        let changed =
            columns.filter(|(at, (_, value))| others(other, *at).as_ref() != Some(*value));
        let members = changed.map(|(_, (name, value))| ((*name).to_owned(), json(name, value)));
        Json::Object(members.collect::<Map<_, _>>()).to_string()
    };
    (shown(&before, &after), shown(&after, &before))
}

fn json(column: &str, value: &Value) -> Json {
    match value {
        Value::Null | Value::Unfit => Json::Null,
        _ if MASKED.contains(&column) => MASK.into(),
        Value::Int(number) => (*number).into(),
        Value::Blob(bytes) => short(hex::encode(bytes)),
        Value::Text(text) => match serde_json::from_str(text) {
            Ok(json @ (Json::Array(_) | Json::Object(_))) if fits(text) => json,
            _ => short(text.clone()),
        },
    }
}

fn fits(text: &str) -> bool {
    text.chars().nth(AUDIT_VALUE_CHARS).is_none()
}

fn short(text: String) -> Json {
    match fits(&text) {
        true => text.into(),
        false => {
            let begin: String = text.chars().take(AUDIT_VALUE_CHARS).collect();
            format!("{begin}… ({} bytes)", text.len()).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use tessera_runtime::sql::Row;
    use tessera_runtime::store::StoreError;

    use super::*;

    struct Thing(&'static str, u64, Option<&'static str>);

    impl Record for Thing {
        const TABLE: &'static str = "things";
        const KEY: &'static [&'static str] = &["name"];
        const COLUMNS: &'static [&'static str] = &["token_hash", "number", "roles"];

        fn values(&self) -> Vec<Value> {
            vec![self.0.into(), self.1.into(), self.2.into()]
        }

        fn read(_: &mut Row) -> Result<Self, StoreError> {
            Ok(Self("", 0, None))
        }
    }

    #[test]
    fn only_what_changed_is_shown_and_no_secret() {
        let (old, new) = (Thing("secret-1", 7, None), Thing("secret-2", 7, Some("[\"a\"]")));
        let told = |before: &str, after: &str| (before.to_owned(), after.to_owned());
        assert_eq!(
            difference(Some(&old), Some(&new)),
            told(
                r#"{"roles":null,"token_hash":"(masked)"}"#,
                r#"{"roles":["a"],"token_hash":"(masked)"}"#
            )
        );
        assert_eq!(
            difference(None, Some(&old)),
            told("", r#"{"number":7,"token_hash":"(masked)"}"#)
        );
        assert_eq!(difference(Some(&old), Some(&old)), told("{}", "{}"));
        assert_eq!(difference::<Thing>(None, None), told("", ""));
        let long: &'static str = Box::leak("x".repeat(AUDIT_VALUE_CHARS + 1).into_boxed_str());
        let (_, after) = difference(None, Some(&Thing("", 1, Some(long))));
        assert!(after.contains(&format!("x… ({} bytes)\",", long.len())), "{after}");
    }
}
