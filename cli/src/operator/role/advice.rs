//! `tessera role uses` and `tessera role advise`: what the devices of a role use, and what it could do without.

use serde_json::{json, Value};
use tessera_simulators::operator::device_path;

use super::super::{table, words, Call};
use super::path;
use crate::args::TenantArgs;
use crate::error::{Fault, Outcome};
use crate::output;
use crate::time;

pub(super) async fn uses(tenant: &TenantArgs, role: &str, device: Option<&str>) -> Outcome {
    let call = Call::of(&tenant.operator)?;
    let path = match device {
        Some(device) => device_path(&tenant.tenant, device, "uses"),
        None => format!("{}/uses", path(tenant, role)),
    };
    let told = call.client.get(&path).await.map_err(words)?;
    if call.json {
        output::line(&format!("{told:#}"));
        return Ok(0);
    }
    let items = rows(&told, "items")?;
    if items.is_empty() {
        output::line(
            "no broker or gateway told of a topic yet; one does ten seconds after the first one",
        );
        return Ok(0);
    }
    let columns: &[&str] = match device {
        Some(_) => &["usage", "topic", "count", "first", "last"],
        None => &["usage", "topic", "devices", "count", "first", "last"],
    };
    output::write(&table::many(&items, columns));
    Ok(0)
}

pub(super) async fn advise(tenant: &TenantArgs, role: &str, days: u64, preview: bool) -> Outcome {
    let call = Call::of(&tenant.operator)?;
    let of_role = path(tenant, role);
    let advice = call.client.get(&format!("{of_role}/advice?days={days}")).await.map_err(words)?;
    let is_change = advice.get("changes").and_then(Value::as_bool) == Some(true);
    let seen = match preview && is_change {
        true => Some(tried(&call, &of_role, &advice).await?),
        false => None,
    };
    if call.json {
        let told = match seen {
            Some(seen) => json!({ "advice": advice, "preview": seen }),
            None => advice,
        };
        output::line(&format!("{told:#}"));
        return Ok(0);
    }
    show(role, &advice)?;
    if let Some(seen) = seen {
        output::line("\nthe change would do this:");
        let told = ["devices", "more_devices", "devices_refused", "removed_publish"];
        let told = told.iter().chain(&["removed_subscribe", "added_publish", "added_subscribe"]);
        let members =
            told.map(|name| ((*name).to_owned(), seen.get(*name).cloned().unwrap_or_default()));
        output::write(&table::one(&Value::Object(members.collect())));
    }
    if is_change && !proposes_nothing(&advice) {
        let known = call.client.get(&of_role).await.map_err(words)?;
        output::line(&format!("\nto try it:\n  {}", command(role, &known, &advice)));
    }
    Ok(0)
}

/// The change as the service sees it, made by none.
async fn tried(call: &Call, of_role: &str, advice: &Value) -> Result<Value, Fault> {
    if proposes_nothing(advice) {
        return Err(Fault::new(
            "no line of the role was used, so there is no narrower role to try",
        )
        .hint("delete the role, or look at more days"));
    }
    let known = call.client.get(of_role).await.map_err(words)?;
    let of = |from: &Value, name: &str| from.get(name).cloned().unwrap_or_default();
    let role = json!({
        "class": of(&known, "class"),
        "publish": of(advice, "publish"),
        "subscribe": of(advice, "subscribe"),
        "token_seconds": of(&known, "token_seconds"),
        "refresh_tokens": of(&known, "refresh_tokens"),
    });
    call.client.put(&format!("{of_role}?dry_run=true"), &role).await.map_err(words)
}

fn proposes_nothing(advice: &Value) -> bool {
    ["publish", "subscribe"].iter().all(|name| lines(advice, name).is_empty())
}

fn lines(advice: &Value, name: &str) -> Vec<String> {
    let lines = advice.get(name).and_then(Value::as_array).into_iter().flatten();
    lines.filter_map(|line| line.as_str().map(str::to_owned)).collect()
}

fn rows(told: &Value, name: &str) -> Result<Vec<Value>, Fault> {
    let rows = told.get(name).and_then(Value::as_array).cloned();
    rows.ok_or_else(|| Fault::new(format!("the service answered without {name}")))
}

fn show(role: &str, advice: &Value) -> Result<(), Fault> {
    let number = |name: &str| advice.get(name).and_then(Value::as_u64).unwrap_or(0);
    let more = match advice.get("more_devices").and_then(Value::as_bool) {
        Some(true) => "more than ",
        _ => "",
    };
    let since = advice.get("since").and_then(Value::as_u64);
    let since = since.map_or_else(
        || "none seen yet".to_owned(),
        |since| format!("{} seen since {}", number("devices_seen"), time::utc(since)),
    );
    let (devices, days) = (number("devices"), number("days"));
    output::line(&format!("{role}: {more}{devices} devices, {since}; use of {days} days\n"));
    let mut of_lines = rows(advice, "lines")?;
    for line in &mut of_lines {
        let Some(members) = line.as_object_mut() else { continue };
        let to = members.remove("to").unwrap_or_default();
        let last = members.remove("last").unwrap_or_default();
        members.insert("instead".to_owned(), to);
        members.insert("last_used".to_owned(), last.as_u64().map(time::utc).into());
    }
    let columns = ["permission", "line", "advice", "instead", "devices", "count", "last_used"];
    output::write(&table::many(&of_lines, &columns));
    let refused = rows(advice, "refused")?;
    if !refused.is_empty() {
        output::line("\ntopics that its devices were refused:");
        let columns = ["permission", "topic", "devices", "count", "nearest"];
        output::write(&table::many(&refused, &columns));
    }
    let not_yet = rows(advice, "not_yet")?;
    for why in not_yet.iter().filter_map(Value::as_str) {
        output::line(&format!("\ndo not change the role by it yet: {why}"));
    }
    Ok(())
}

/// The command that makes the change on trial.
fn command(role: &str, known: &Value, advice: &Value) -> String {
    let class = known.get("class").and_then(Value::as_str).unwrap_or("device");
    let mut command = format!("tessera role set {role} --class {class}");
    if let Some(seconds) = known.get("token_seconds").and_then(Value::as_u64) {
        command.push_str(&format!(" --token-seconds {seconds}"));
    }
    if known.get("refresh_tokens").and_then(Value::as_bool) == Some(true) {
        command.push_str(" --refresh-tokens");
    }
    for name in ["publish", "subscribe"] {
        for line in lines(advice, name) {
            command.push_str(&format!(" --{name} '{}'", line.replace('\'', "'\\''")));
        }
    }
    command + " --dry-run"
}
