//! The rows that a change has touched, before and after it, for people who read the audit log. Secrets are masked.

use serde_json::{Map, Value as Json};
use tessera_runtime::sql::{Record, Value};
use tessera_token::encoding::hex;
use tessera_token::hash::sha256;

use crate::limits::AUDIT_VALUE_CHARS;

/// Columns whose values are shown. A column that is not named here may hold a secret: it is masked.
const SHOWN: [&str; 70] = [
    "announced_at",
    "announced_by",
    "announced_reason",
    "announced_until",
    "approval",
    "asked",
    "attributes",
    "bearer",
    "certificate",
    "changed",
    "claim",
    "class",
    "confirmation",
    "created",
    "decided_at",
    "decided_by",
    "device",
    "device_group",
    "ending",
    "enrolled",
    "epoch",
    "expires",
    "group_key",
    "id_from",
    "keys_published",
    "leaving",
    "made_by",
    "maker",
    "name",
    "next_group",
    "number",
    "pattern",
    "public_key",
    "publish",
    "purpose",
    "reenrol",
    "refresh_from",
    "refresh_tokens",
    "revision",
    "revoked",
    "role",
    "roles",
    "rotated",
    "source",
    "stale_actuation",
    "stale_command",
    "stale_telemetry",
    "state",
    "subscribe",
    "suspended",
    "suspended_at",
    "suspended_by",
    "suspended_reason",
    "tenant",
    "tenants",
    "thumbprint",
    "token_form",
    "token_seconds",
    "used",
    "used_at",
    "used_device",
    "used_from",
    "used_thumbprint",
    "uses",
    "uses_made",
    "ways",
    "actions",
    "begins",
    "former_until",
    "state_reason",
];
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
        _ if !SHOWN.contains(&column) => MASK.into(),
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
            // Two values that begin alike are told apart by their hashes.
            let begin: String = text.chars().take(AUDIT_VALUE_CHARS).collect();
            let hash = hex::encode(sha256(text.as_bytes()));
            format!("{begin}… ({} bytes, SHA-256 {hash})", text.len()).into()
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
        assert!(after.contains(&format!("x… ({} bytes, SHA-256 ", long.len())), "{after}");
        let other: &'static str = Box::leak(format!("{long}y").into_boxed_str());
        let (_, other) = difference(None, Some(&Thing("", 1, Some(other))));
        assert_ne!(after, other.replace("1026 bytes", "1025 bytes"));
    }

    /// Each column of the rows that people change is shown, or is masked on purpose.
    #[test]
    fn columns_are_shown_or_masked_on_purpose() {
        use crate::records::{api_tokens, approvals, operators, partners, ways, webhooks};
        use crate::records::{ClaimRecord, DeviceRecord, GroupRecord, RoleRecord, TenantRecord};
        let masked = [
            "token_hash",
            "account",
            "sealed_primary",
            "sealed_secondary",
            "sealed",
            "sealed_former",
            // A URL may hold a secret of its receiver.
            "url",
        ];
        let tables = [
            api_tokens::ApiTokenRecord::COLUMNS,
            approvals::ApprovalRecord::COLUMNS,
            operators::OperatorRecord::COLUMNS,
            partners::PartnerTokenRecord::COLUMNS,
            ways::AuthorityRecord::COLUMNS,
            ways::DeniedCertificate::COLUMNS,
            ways::GroupKeyRecord::COLUMNS,
            ways::GroupWays::COLUMNS,
            ways::ListedId::COLUMNS,
            ways::ListedKey::COLUMNS,
            webhooks::WebhookRecord::COLUMNS,
            ClaimRecord::COLUMNS,
            DeviceRecord::COLUMNS,
            GroupRecord::COLUMNS,
            RoleRecord::COLUMNS,
            TenantRecord::COLUMNS,
        ];
        for column in tables.into_iter().flatten() {
            assert_ne!(SHOWN.contains(column), masked.contains(column), "{column}");
        }
        assert!(SHOWN.iter().all(|shown| tables.iter().any(|table| table.contains(shown))));
    }
}
