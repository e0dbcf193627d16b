//! Follows the audit log: the newest entries, then each new one as it comes.

use std::time::Duration;

use serde_json::Value;

use super::super::{words, Call};
use crate::error::{Fault, Outcome};
use crate::{output, time};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// The same while the service does not answer.
const AGAIN: Duration = Duration::from_secs(5);

/// Shows entries until the reader of the output has gone. `query` are the conditions, each with `&` before it.
pub(in crate::operator) async fn run(call: &Call, lines: u32, query: &str) -> Outcome {
    let mut place = format!("last={lines}");
    let mut is_first = true;
    loop {
        let path = format!("/v1/audit?limit=1000&{place}{query}");
        let answer = match call.client.get(&path).await {
            Ok(answer) => answer,
            // The service may start anew meanwhile.
            Err(error) if !is_first && error.code().is_none() => {
                output::complain(&format!("tessera: {error}; trying again"));
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Err(error) => return Err(words(error)),
        };
        is_first = false;
        for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
            match call.json {
                true => output::line(&item.to_string()),
                false => output::line(&line(item)),
            }
        }
        if output::is_closed() {
            return Ok(0);
        }
        let next = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        let seen = answer.get("seen").and_then(Value::as_u64).map(|seen| seen.to_string());
        let is_last = next.is_none();
        let cursor =
            next.or(seen).ok_or_else(|| Fault::new("the service answered with no list"))?;
        place = format!("cursor={cursor}");
        if is_last {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// An entry on one line. Its texts come from accounts and devices: control characters are shown as escapes.
fn line(entry: &Value) -> String {
    let at = entry.get("at").and_then(Value::as_u64).unwrap_or_default();
    let names = ["actor", "how", "network", "action", "tenant", "subject", "outcome", "detail"];
    let texts = names.iter().filter_map(|name| entry.get(name).and_then(Value::as_str));
    let texts = texts.filter(|text| !text.is_empty());
    let texts: Vec<String> = texts.map(|text| text.escape_debug().to_string()).collect();
    format!("{}  {}", time::utc(at), texts.join("  "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_one_line_whatever_is_in_it() {
        let entry = json!({
            "at": 1_800_000_000, "actor": "ann", "action": "device.revoke", "tenant": "", "subject": "d\n\u{1b}[2J",
        });
        assert_eq!(line(&entry), "2027-01-15T08:00:00Z  ann  device.revoke  d\\n\\u{1b}[2J");
    }
}
