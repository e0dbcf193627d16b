//! `tessera claim`: claim codes.

use std::collections::BTreeMap;

use serde_json::{json, Value};
use tessera_simulators::operator::{segment, tenant_path};

use super::{bulk, list, table, words, Call};
use crate::args::ClaimCommand;
use crate::error::Outcome;
use crate::output;

pub(super) async fn claim(command: ClaimCommand) -> Outcome {
    match command {
        ClaimCommand::Create {
            role,
            group,
            device,
            devices,
            attributes,
            pattern,
            uses,
            count,
            expires_in,
            plain,
            tenant,
        } => {
            let call = Call::of(&tenant.operator)?;
            let attributes: BTreeMap<String, String> = attributes.into_iter().collect();
            let mut body = json!({
                "role": role, "group": group, "attributes": attributes, "expires_in": expires_in,
                "pattern": pattern, "uses": uses,
            });
            let path = tenant_path(&tenant.tenant, "claims");
            if let Some(file) = devices {
                return bulk::claims(&call, &path, body, (&file, plain)).await;
            }
            if let Some(body) = body.as_object_mut() {
                body.insert("device".to_owned(), json!(device));
                body.insert("count".to_owned(), json!(count));
            }
            let made = call.client.create(&path, &body).await.map_err(words)?;
            show_claims(&call, &made, plain);
            if output::is_closed() {
                complain_of_lost_codes(&made);
            }
            Ok(0)
        }
        ClaimCommand::List { rows, tenant } => {
            let columns = [
                "claim", "state", "role", "group", "device", "pattern", "used", "uses", "expires",
                "by",
            ];
            list(&tenant, "claims", &columns, &rows).await
        }
        ClaimCommand::Show { id, tenant } => {
            let call = Call::of(&tenant.operator)?;
            let path = tenant_path(&tenant.tenant, &format!("claims/{}", segment(&id)));
            call.show(call.client.get(&path).await)
        }
        ClaimCommand::Delete { id, matches, tenant } => {
            let call = Call::of(&tenant.operator)?.when(matches);
            let path = tenant_path(&tenant.tenant, &format!("claims/{}", segment(&id)));
            call.show(call.client.delete(&path).await)
        }
    }
}

/// The one place where claim codes are shown: the operator needs them now, and only now.
pub(super) fn show_claims(call: &Call, made: &Value, plain: bool) {
    if call.json {
        return output::line(&format!("{made:#}"));
    }
    let claims = made.get("claims").and_then(Value::as_array).cloned().unwrap_or_default();
    if plain {
        let codes = claims.iter().filter_map(|claim| claim.get("code").and_then(Value::as_str));
        return codes.for_each(output::line);
    }
    let is_named = claims.iter().any(|claim| claim.get("device").is_some_and(Value::is_string));
    let columns = ["claim", "code", "expires", "device"];
    output::write(&table::many(
        &claims,
        columns.get(..if is_named { 4 } else { 3 }).unwrap_or(&columns),
    ));
}

/// Codes are kept as hashes: one that was not shown is of no use.
pub(super) fn complain_of_lost_codes(made: &Value) {
    let claims = made.get("claims").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let ids: Vec<&str> =
        claims.iter().filter_map(|claim| claim.get("claim").and_then(Value::as_str)).collect();
    output::complain(&format!(
        "tessera: claims were made, and not all of their codes were shown. They cannot be shown again: delete them \
         with `tessera claim delete ID` and make others. The ids: {}",
        ids.join(" ")
    ));
}
