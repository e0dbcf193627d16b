//! Lists by page.

use serde_json::Value;
use tessera_simulators::operator::{segment, OperatorClient, OperatorError};

use super::words;
use crate::args::ListArgs;
use crate::error::Fault;

/// Rows of one call: the most that the service gives.
const PAGE: usize = 1000;

/// Rows of a list, and the cursor behind them when there are more.
pub(super) struct Rows {
    pub(super) items: Vec<Value>,
    pub(super) next: Option<String>,
}

/// Every row of the list at `path`.
pub(super) async fn all(client: &OperatorClient, path: &str) -> Result<Vec<Value>, OperatorError> {
    let mut items = Vec::new();
    let mut cursor = None;
    loop {
        let page = page(client, path, cursor.as_deref(), PAGE).await?;
        items.extend(page.items);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(items),
        }
    }
}

/// The rows that were asked for. Conditions that the service does not know are checked here.
pub(super) async fn wanted(
    client: &OperatorClient,
    path: &str,
    asked: &ListArgs,
) -> Result<Rows, Fault> {
    let most = asked.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut found = Rows { items: Vec::new(), next: asked.cursor.clone() };
    loop {
        let cursor = found.next.take();
        let size = match asked.conditions.is_empty() {
            true => PAGE.min(most - found.items.len()),
            false => PAGE,
        };
        let mut got = page(client, path, cursor.as_deref(), size).await.map_err(words)?;
        let ends = end_of_wanted(&got.items, &asked.conditions, most - found.items.len())?;
        if ends < got.items.len() && !is_whole(path) {
            // The cursor of a row in the middle is that of a page which ends there.
            got = page(client, path, cursor.as_deref(), ends).await.map_err(words)?;
        }
        got.items.truncate(ends);
        for row in got.items {
            if meets(&row, &asked.conditions)? {
                found.items.push(row);
            }
        }
        found.next = got.next;
        if found.next.is_none() || found.items.len() >= most {
            return Ok(found);
        }
    }
}

/// How many of the rows to take, so that at most `room` of them meet the conditions.
fn end_of_wanted(
    rows: &[Value],
    conditions: &[(String, String)],
    room: usize,
) -> Result<usize, Fault> {
    let mut met = 0;
    for (at, row) in rows.iter().enumerate() {
        met += usize::from(meets(row, conditions)?);
        if met == room {
            return Ok(at + 1);
        }
    }
    Ok(rows.len())
}

/// Whether the members of a row have the values that were asked for.
fn meets(row: &Value, conditions: &[(String, String)]) -> Result<bool, Fault> {
    for (name, wanted) in conditions {
        let Some(value) = row.get(name) else {
            let names = row.as_object().map(|row| row.keys().cloned().collect::<Vec<_>>());
            return Err(Fault::new(format!("--where {name}: the rows have no such member"))
                .hint(format!("use one of {}", names.unwrap_or_default().join(", "))));
        };
        let is_met = match value {
            Value::String(text) => text == wanted,
            Value::Array(items) => items.iter().any(|item| item.as_str() == Some(wanted)),
            other => {
                let text = other.to_string();
                text == *wanted
            }
        };
        if !is_met {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The lists of issuer keys and of requests for new keys have no pages and take no query.
fn is_whole(path: &str) -> bool {
    path.ends_with("/keys") || path.ends_with("/rekeys")
}

async fn page(
    client: &OperatorClient,
    path: &str,
    cursor: Option<&str>,
    size: usize,
) -> Result<Rows, OperatorError> {
    let query = cursor.map(|cursor| format!("&cursor={}", segment(cursor))).unwrap_or_default();
    let url = match is_whole(path) {
        true => path.to_owned(),
        false => {
            let more = if path.contains('?') { '&' } else { '?' };
            format!("{path}{more}limit={size}{query}")
        }
    };
    let mut page = client.get(&url).await?;
    let next = page.get("next").and_then(Value::as_str).map(str::to_owned);
    match page.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(Rows { items, next }),
        _ => Err(OperatorError::Empty),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_chosen_by_their_members() {
        let rows = [
            json!({ "device": "a", "state": "active", "epoch": 1 }),
            json!({ "device": "b", "state": "revoked", "epoch": 2 }),
            json!({ "device": "c", "state": "revoked", "epoch": 2 }),
        ];
        let where_ = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let revoked = where_("state", "revoked");
        let met = |conditions: &[(String, String)]| {
            rows.iter().filter(|row| meets(row, conditions).unwrap()).count()
        };
        assert_eq!((met(&revoked), met(&where_("epoch", "1")), met(&[])), (2, 1, 3));
        assert_eq!(end_of_wanted(&rows, &revoked, 1).unwrap(), 2);
        assert_eq!(end_of_wanted(&rows, &revoked, 9).unwrap(), 3);
        assert_eq!(end_of_wanted(&rows, &[], 1).unwrap(), 1);
        let fault = meets(&rows[0], &where_("colour", "red")).err().unwrap().to_string();
        assert!(fault.contains("colour") && fault.contains("device, epoch, state"), "{fault}");
        let roles = json!({ "roles": ["viewer", "fleet"] });
        assert!(meets(&roles, &where_("roles", "fleet")).unwrap());
    }
}
