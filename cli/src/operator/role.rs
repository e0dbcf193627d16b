//! Roles: definitions, single lines, and what they would give to devices.

mod advice;

use serde_json::{json, Value};
use tessera_simulators::operator::{segment, tenant_path};

use super::pages::Rows;
use super::{list, pages, table, words, Call};
use crate::args::{LineArgs, ListArgs, RoleCommand, TenantArgs};
use crate::error::{Fault, Outcome};
use crate::output;

pub(super) async fn run(command: RoleCommand) -> Outcome {
    match command {
        RoleCommand::Set {
            name,
            class,
            publish,
            subscribe,
            token_seconds,
            refresh_tokens,
            keep_tokens,
            dry_run,
            matches,
            tenant,
        } => {
            let call = Call::of(&tenant.operator)?.when(matches);
            let body = json!({
                "class": class, "publish": publish, "subscribe": subscribe, "token_seconds": token_seconds,
                "refresh_tokens": refresh_tokens,
            });
            let path = path(&tenant, &name);
            let path = format!("{path}?dry_run={dry_run}&keep_tokens={keep_tokens}");
            call.show(call.client.put(&path, &body).await)
        }
        RoleCommand::List { rows, tenant } => {
            let columns = ["role", "class", "publish", "subscribe", "token_seconds"];
            list(&tenant, "roles", &columns, &rows).await
        }
        RoleCommand::Show { name, tenant } => {
            let call = Call::of(&tenant.operator)?;
            call.show(call.client.get(&path(&tenant, &name)).await)
        }
        RoleCommand::AddLine(line) => {
            let body = json!({ "add_publish": line.publish, "add_subscribe": line.subscribe });
            change(&line, &body).await
        }
        RoleCommand::RemoveLine(line) => {
            let body =
                json!({ "remove_publish": line.publish, "remove_subscribe": line.subscribe });
            change(&line, &body).await
        }
        RoleCommand::Preview { name, device, prefix, rows, tenant } => {
            preview(&tenant, &name, device.as_deref(), prefix.as_deref(), &rows).await
        }
        RoleCommand::Uses { name, device, tenant } => {
            advice::uses(&tenant, &name, device.as_deref()).await
        }
        RoleCommand::Advise { name, days, preview, tenant } => {
            advice::advise(&tenant, &name, days, preview).await
        }
        RoleCommand::Delete { name, matches, tenant } => {
            let call = Call::of(&tenant.operator)?.when(matches);
            call.show(call.client.delete(&path(&tenant, &name)).await)
        }
    }
}

fn path(tenant: &TenantArgs, role: &str) -> String {
    tenant_path(&tenant.tenant, &format!("roles/{}", segment(role)))
}

async fn change(line: &LineArgs, body: &Value) -> Outcome {
    let call = Call::of(&line.tenant.operator)?.when(line.matches.clone());
    let LineArgs { name, keep_tokens, dry_run, tenant, .. } = line;
    let path = format!("{}?dry_run={dry_run}&keep_tokens={keep_tokens}", path(tenant, name));
    call.show(call.client.patch(&path, body).await)
}

async fn preview(
    tenant: &TenantArgs,
    role: &str,
    device: Option<&str>,
    prefix: Option<&str>,
    rows: &ListArgs,
) -> Outcome {
    let call = Call::of(&tenant.operator)?;
    let path = format!("{}/preview", path(tenant, role));
    let named = [("device", device), ("prefix", prefix)];
    let query = named.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let query: Vec<String> =
        query.map(|(name, value)| format!("{name}={}", segment(value))).collect();
    let path = match query.is_empty() {
        true => path,
        false => format!("{path}?{}", query.join("&")),
    };
    let Rows { items, next } = pages::wanted(&call.client, &path, rows).await?;
    let more = if path.contains('?') { '&' } else { '?' };
    let first = call.client.get(&format!("{path}{more}limit=1")).await.map_err(words)?;
    let contained = first.get("contained").and_then(Value::as_array).cloned();
    let contained =
        contained.ok_or_else(|| Fault::new("the service answered without contained"))?;
    if call.json {
        let object = json!({ "role": role, "contained": contained, "items": items, "next": next });
        output::line(&format!("{object:#}"));
        return Ok(0);
    }
    let columns =
        ["device", "group", "publish", "subscribe", "scope_bytes", "token_bytes", "code", "detail"];
    output::write(&table::many(&items, &columns));
    if !contained.is_empty() {
        output::line("\nlines that add nothing, since another line of the role contains them:");
        output::write(&table::many(&contained, &["permission", "line", "within"]));
    }
    if let Some(next) = next {
        output::complain(&format!("there are more: --cursor {next}"));
    }
    Ok(0)
}
