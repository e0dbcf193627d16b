//! The verbs of `tessera rule` that go to the service.

use serde_json::{json, Value};
use tessera_rules::dry_run::Report;
use tessera_rules::rule::file::RuleFile;
use tessera_rules::rule::Rule;
use tessera_simulators::operator::{segment, tenant_path};

use super::pages::{self, Rows};
use super::{list, table, Call};
use crate::args::{ListArgs, OperatorArgs, TenantArgs};
use crate::error::Outcome;
use crate::output;

fn path(tenant: &str, rule: &str, verb: &str) -> String {
    tenant_path(tenant, &format!("rules/{}{verb}", segment(rule)))
}

/// The rule as a member of a body, and its path: it belongs to the tenant that it names.
fn of(rule: &Rule, verb: &str) -> (String, Value) {
    let draft = rule.draft();
    (path(&draft.selector.tenant, &draft.id, verb), json!(RuleFile::from(draft)))
}

pub(crate) async fn put(rule: &Rule, now: Option<&str>, operator: &OperatorArgs) -> Outcome {
    let call = Call::of(operator)?;
    let (path, rule) = of(rule, "");
    call.show(call.client.put(&path, &json!({ "rule": rule, "now": now })).await)
}

/// Keeps the outcome of a test.
pub(crate) async fn tested(rule: &Rule, report: &Report, operator: &OperatorArgs) -> Outcome {
    let call = Call::of(operator)?;
    let (path, rule) = of(rule, "/tested");
    let body = json!({
        "rule": rule,
        "events": report.events,
        "devices": report.devices,
        "devices_matched": report.devices_matched,
    });
    call.client.post(&path, &body).await.map_err(super::words)?;
    Ok(0)
}

pub(crate) async fn rules(rows: &ListArgs, tenant: &TenantArgs) -> Outcome {
    let call = Call::of(&tenant.operator)?;
    if call.json {
        return list(tenant, "rules", &[], rows).await;
    }
    let path = tenant_path(&tenant.tenant, "rules");
    let Rows { mut items, next } = pages::wanted(&call.client, &path, rows).await?;
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        // The members of the rule itself, as columns.
        if let Some(Value::Object(rule)) = item.remove("rule") {
            item.extend(rule.into_iter().filter(|(name, _)| name != "id"));
        }
    }
    let columns =
        ["id", "version", "on", "mode", "action", "expires", "tried_since", "by", "waiting_by"];
    output::write(&table::many(&items, &columns));
    if let Some(next) = next {
        output::complain(&format!("there are more: --cursor {next}"));
    }
    Ok(0)
}

pub(crate) async fn show(rule: &str, tenant: &TenantArgs) -> Outcome {
    let call = Call::of(&tenant.operator)?;
    call.show(call.client.get(&path(&tenant.tenant, rule, "")).await)
}

pub(crate) async fn approve(rule: &str, tenant: &TenantArgs) -> Outcome {
    Call::of(&tenant.operator)?.verb(&path(&tenant.tenant, rule, "/approve")).await
}

pub(crate) async fn remove(rule: &str, tenant: &TenantArgs) -> Outcome {
    let call = Call::of(&tenant.operator)?;
    call.show(call.client.delete(&path(&tenant.tenant, rule, "")).await)
}
