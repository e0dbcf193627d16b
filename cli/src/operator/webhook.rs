//! `tessera webhook`: receivers of events.

use serde_json::{json, Map, Value};
use tessera_simulators::operator::{segment, tenant_path};

use super::{list, Call};
use crate::args::{TenantArgs, WebhookCommand, WebhookState};
use crate::error::Outcome;

fn path(tenant: &TenantArgs, webhook: &str, verb: &str) -> String {
    tenant_path(&tenant.tenant, &format!("webhooks/{}{verb}", segment(webhook)))
}

pub(super) async fn webhook(command: WebhookCommand) -> Outcome {
    match command {
        WebhookCommand::Create { url, actions, purpose, tenant } => {
            let call = Call::of(&tenant.operator)?;
            let body = json!({ "url": url, "actions": actions, "purpose": purpose });
            call.show(call.client.create(&tenant_path(&tenant.tenant, "webhooks"), &body).await)
        }
        WebhookCommand::List { rows, tenant } => {
            let columns = ["webhook", "state", "url", "actions", "failing_since", "left_out"];
            list(&tenant, "webhooks", &columns, &rows).await
        }
        WebhookCommand::Show { webhook, tenant } => {
            let call = Call::of(&tenant.operator)?;
            call.show(call.client.get(&path(&tenant, &webhook, "")).await)
        }
        WebhookCommand::Change { webhook, url, actions, purpose, state, matches, tenant } => {
            let call = Call::of(&tenant.operator)?.when(matches);
            let state = state.map(|state| match state {
                WebhookState::Active => "active",
                WebhookState::Paused => "paused",
            });
            let actions = (!actions.is_empty()).then_some(actions);
            let members = [
                ("url", json!(url)),
                ("actions", json!(actions)),
                ("purpose", json!(purpose)),
                ("state", json!(state)),
            ];
            let given = members.into_iter().filter(|(_, value)| !value.is_null());
            let body: Map<String, Value> =
                given.map(|(name, value)| (name.to_owned(), value)).collect();
            let path = path(&tenant, &webhook, "");
            call.show(call.client.patch(&path, &Value::Object(body)).await)
        }
        WebhookCommand::Delete { webhook, matches, tenant } => {
            let call = Call::of(&tenant.operator)?.when(matches);
            call.show(call.client.delete(&path(&tenant, &webhook, "")).await)
        }
        WebhookCommand::Rotate { webhook, tenant } => {
            let call = Call::of(&tenant.operator)?;
            call.show(call.client.create(&path(&tenant, &webhook, "/rotate"), &json!({})).await)
        }
        WebhookCommand::Test { webhook, tenant } => {
            Call::of(&tenant.operator)?.verb(&path(&tenant, &webhook, "/test")).await
        }
        WebhookCommand::Replay { webhook, first, last, tenant } => {
            let call = Call::of(&tenant.operator)?;
            let body = json!({ "first": first, "last": last });
            call.show(call.client.post(&path(&tenant, &webhook, "/replay"), &body).await)
        }
        WebhookCommand::Attempts { webhook, rows, tenant } => {
            let columns = ["at", "event", "nth", "outcome", "status", "millis", "reason"];
            list(&tenant, &format!("webhooks/{}/attempts", segment(&webhook)), &columns, &rows)
                .await
        }
    }
}
