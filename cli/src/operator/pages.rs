//! Lists by page.

use serde_json::Value;
use tessera_simulators::operator::{segment, OperatorClient, OperatorError};

/// Rows of one call: the most that the service gives.
const PAGE: usize = 1000;

/// Every row of the list at `path`.
pub(super) async fn all(client: &OperatorClient, path: &str) -> Result<Vec<Value>, OperatorError> {
    let mut rows = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let query =
            cursor.map(|cursor| format!("&cursor={}", segment(&cursor))).unwrap_or_default();
        // The list of keys has no pages and knows no query.
        let whole = path.ends_with("/keys");
        let url = if whole { path.to_owned() } else { format!("{path}?limit={PAGE}{query}") };
        let mut page = client.get(&url).await?;
        match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => rows.extend(items),
            _ => return Err(OperatorError::Empty),
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(rows),
        }
    }
}
