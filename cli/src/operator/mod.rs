//! The operator's verbs: each is one call of the REST interface and a table.

use std::collections::BTreeMap;

use serde_json::{json, Value};
use tessera_simulators::operator::{
    device_path, segment, tenant_path, OperatorClient, OperatorError,
};

use crate::args::{
    AccountCommand, Again, AuditCommand, Changed, Deleted, GroupCommand, KeysCommand, ListArgs,
    MatchArgs, OperatorArgs, OperatorCommand, TenantArgs, TenantCommand, TrustCommand, What,
};
use crate::error::{Fault, Outcome};
use crate::{output, secrets};
use pages::Rows;

mod answer;
mod answers;
mod audit;
mod bulk;
mod can;
mod claim;
mod export;
mod life;
mod pages;
mod partner;
mod revoke;
mod role;
pub(crate) mod rule;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod token;
mod ways;
mod webhook;

/// Carries out one verb.
pub(crate) async fn run(command: OperatorCommand) -> Outcome {
    match command {
        OperatorCommand::Tenant(command) => tenant(command).await,
        OperatorCommand::Operator(command) => account(command).await,
        OperatorCommand::ApiToken(command) => token::api_token(command).await,
        OperatorCommand::PartnerToken(command) => partner::partner_token(command).await,
        OperatorCommand::Token(command) => token::token(command).await,
        OperatorCommand::Role(command) => role::run(command).await,
        OperatorCommand::Group(command) => group(command).await,
        OperatorCommand::Claim(command) => claim::claim(command).await,
        OperatorCommand::ListedKey(command) => ways::listed_key(command).await,
        OperatorCommand::GroupKey(command) => ways::group_key(command).await,
        OperatorCommand::Authority(command) => ways::authority(command).await,
        OperatorCommand::DeniedCertificate(command) => ways::denied(command).await,
        OperatorCommand::Webhook(command) => webhook::webhook(command).await,
        OperatorCommand::Approval(command) => ways::approval(command).await,
        OperatorCommand::Devices { device, prefix, rows, tenant } => match device {
            Some(device) => show_device(&device, &tenant).await,
            None => devices(prefix.as_deref(), &rows, &tenant).await,
        },
        OperatorCommand::Change { what } => change(what).await,
        OperatorCommand::Import { what } => bulk::import(what).await,
        OperatorCommand::Export { what } => export::run(what).await,
        OperatorCommand::Delete { what } => delete(what).await,
        OperatorCommand::Can { device, act } => can::run(&device, &act).await,
        OperatorCommand::Revoke { what } => revoke::run(what).await,
        OperatorCommand::History { device, rows, tenant } => {
            life::history(&device, &rows, &tenant).await
        }
        OperatorCommand::Rekey(command) => life::rekey(command).await,
        OperatorCommand::Suspend { what } => life::suspend(what).await,
        OperatorCommand::Reinstate { what } => reinstate(what).await,
        OperatorCommand::Answer(command) => answer::answer(command).await,
        OperatorCommand::Keys(command) => keys(command).await,
        OperatorCommand::Audit(command) => audit(command).await,
        OperatorCommand::Trust(command) => trust(command).await,
    }
}

/// The media type of a Token Status List.
const STATUS_LIST: &str = "application/statuslist+cwt";

/// One operator's call: where, as whom, and how to show what came.
struct Call {
    client: OperatorClient,
    json: bool,
}

impl Call {
    fn of(args: &OperatorArgs) -> Result<Self, Fault> {
        let token = secrets::operator_token(args.operator_token.as_deref())?;
        Ok(Self { client: OperatorClient::new(args.http.server(), token)?, json: args.json })
    }

    /// The same, with changes that rest on the revision that was named.
    fn when(self, matches: MatchArgs) -> Self {
        Self { client: self.client.resting_on(matches.if_match), ..self }
    }

    /// Shows one answer as a table of two columns, or as JSON.
    fn show(&self, answer: Result<Value, OperatorError>) -> Outcome {
        let answer = answer.map_err(words)?;
        match (&answer, self.json) {
            (Value::Null, json) => output::result(json, "done", &json!({ "done": true })),
            (_, true) => output::line(&format!("{answer:#}")),
            (_, false) => output::write(&table::one(&answer)),
        }
        Ok(0)
    }

    /// Shows a whole list, page after page, or one page of it.
    async fn list(&self, path: &str, columns: &[&str], asked: &ListArgs) -> Outcome {
        let Rows { items, next } = pages::wanted(&self.client, path, asked).await?;
        match (self.json, asked.limit) {
            (true, None) => output::line(&format!("{:#}", Value::Array(items))),
            (true, _) => output::line(&format!("{:#}", json!({ "items": items, "next": next }))),
            (false, _) => output::write(&table::many(&items, columns)),
        }
        if let Some(next) = next.filter(|_| !self.json) {
            output::complain(&format!("there are more: --cursor {next}"));
        }
        Ok(0)
    }

    async fn verb(&self, path: &str) -> Outcome {
        self.show(self.client.post(path, &json!({})).await)
    }
}

async fn tenant(command: TenantCommand) -> Outcome {
    match command {
        TenantCommand::Create { id, bearer, operator } => {
            let call = Call::of(&operator)?;
            let body = json!({ "tenant": id, "bearer": bearer });
            call.show(call.client.create("/v1/tenants", &body).await)
        }
        TenantCommand::List { rows, operator } => {
            let columns = ["tenant", "state", "bearer", "epoch", "created"];
            Call::of(&operator)?.list("/v1/tenants", &columns, &rows).await
        }
        TenantCommand::Show { id, operator } => {
            let call = Call::of(&operator)?;
            call.show(call.client.get(&format!("/v1/tenants/{}", segment(&id))).await)
        }
        TenantCommand::Staleness { id, telemetry, command, actuation, matches, operator } => {
            let call = Call::of(&operator)?.when(matches);
            let body = json!({
                "staleness": { "telemetry": telemetry, "command": command, "actuation": actuation },
            });
            call.show(call.client.put(&format!("/v1/tenants/{}", segment(&id)), &body).await)
        }
        TenantCommand::Bearer { id, state, matches, operator } => {
            let call = Call::of(&operator)?.when(matches);
            let body = json!({ "bearer": state == "on" });
            call.show(call.client.put(&format!("/v1/tenants/{}", segment(&id)), &body).await)
        }
    }
}

async fn account(command: AccountCommand) -> Outcome {
    match command {
        AccountCommand::Create { name, roles, whose, operator } => {
            let call = Call::of(&operator)?;
            let tenants = if whose.all_tenants { json!("all") } else { json!(whose.tenants) };
            let body = json!({ "operator": name, "roles": roles, "tenants": tenants });
            let outcome = call.show(call.client.create("/v1/operators", &body).await)?;
            if output::is_closed() {
                // Tokens are kept as hashes: one that was not shown is of no use.
                output::complain(&format!(
                    "tessera: the account {name} was made, and its token was not shown. It cannot be shown again: delete \
                     the account with `tessera operator delete {name}` and make it anew"
                ));
            }
            Ok(outcome)
        }
        AccountCommand::List { rows, operator } => {
            let columns = ["operator", "roles", "tenants", "created", "old_form"];
            Call::of(&operator)?.list("/v1/operators", &columns, &rows).await
        }
        AccountCommand::Show { name, operator } => {
            let call = Call::of(&operator)?;
            call.show(call.client.get(&format!("/v1/operators/{}", segment(&name))).await)
        }
        AccountCommand::Delete { name, matches, operator } => {
            let call = Call::of(&operator)?.when(matches);
            call.show(call.client.delete(&format!("/v1/operators/{}", segment(&name))).await)
        }
    }
}

async fn group(command: GroupCommand) -> Outcome {
    match command {
        GroupCommand::Create { name, tenant } => {
            let call = Call::of(&tenant.operator)?;
            let path = tenant_path(&tenant.tenant, "groups");
            call.show(call.client.create(&path, &json!({ "group": name })).await)
        }
        GroupCommand::Show { name, tenant } => {
            let call = Call::of(&tenant.operator)?;
            let path = tenant_path(&tenant.tenant, &format!("groups/{}", segment(&name)));
            call.show(call.client.get(&path).await)
        }
        GroupCommand::Set { name, reenrol, matches, tenant } => {
            let call = Call::of(&tenant.operator)?.when(matches);
            let path = tenant_path(&tenant.tenant, &format!("groups/{}", segment(&name)));
            call.show(call.client.patch(&path, &json!({ "reenrol": reenrol })).await)
        }
        GroupCommand::Ways { name, set, tenant } => ways::group_ways(&name, set, &tenant).await,
        GroupCommand::List { rows, tenant } => {
            list(&tenant, "groups", &["group", "state", "number", "epoch", "created"], &rows).await
        }
    }
}

async fn show_device(device: &str, tenant: &TenantArgs) -> Outcome {
    let call = Call::of(&tenant.operator)?;
    call.show(call.client.get(&device_path(&tenant.tenant, device, "")).await)
}

/// The service finds devices by these members, and by the beginning of the id; other conditions are checked here.
async fn devices(prefix: Option<&str>, rows: &ListArgs, tenant: &TenantArgs) -> Outcome {
    const FOUND_BY: [&str; 4] = ["state", "role", "group", "key"];
    let is_found_by = |name: &str| FOUND_BY.contains(&name) || name.starts_with("attr.");
    let (found_by, conditions) =
        rows.conditions.iter().cloned().partition(|(name, _)| is_found_by(name));
    let found_by: Vec<(String, String)> = found_by;
    let prefix = prefix.map(|prefix| ("prefix".to_owned(), prefix.to_owned()));
    let query = found_by.into_iter().chain(prefix);
    let query: Vec<String> =
        query.map(|(name, value)| format!("{}={}", segment(&name), segment(&value))).collect();
    let path = match query.is_empty() {
        true => "devices".to_owned(),
        false => format!("devices?{}", query.join("&")),
    };
    let columns = ["device", "state", "role", "group", "epoch", "enrolled"];
    list(tenant, &path, &columns, &ListArgs { conditions, ..rows.clone() }).await
}

async fn change(what: Changed) -> Outcome {
    let (device, role, group, attributes, removed, matches, tenant) = match what {
        Changed::Device { device, role, group, attributes, removed, matches, tenant } => {
            (device, role, group, attributes, removed, matches, tenant)
        }
        Changed::Announce { group, lasts, end: _, reason, tenant } => {
            return life::announce(&group, lasts, &reason, &tenant).await;
        }
    };
    let call = Call::of(&tenant.operator)?.when(matches);
    let mut body = serde_json::Map::new();
    let set = attributes.into_iter().map(|(name, value)| (name, Some(value)));
    let changed: BTreeMap<String, Option<String>> =
        set.chain(removed.into_iter().map(|name| (name, None))).collect();
    if !changed.is_empty() {
        body.insert("attributes".to_owned(), json!(changed));
    }
    body.extend(role.map(|role| ("role".to_owned(), json!(role))));
    body.extend(group.map(|group| ("group".to_owned(), json!(group))));
    let path = device_path(&tenant.tenant, &device, "");
    call.show(call.client.patch(&path, &Value::Object(body)).await)
}

async fn delete(what: Deleted) -> Outcome {
    let Deleted::Device { device, force, matches, tenant } = what;
    let call = Call::of(&tenant.operator)?.when(matches);
    let path = device_path(&tenant.tenant, &device, "");
    call.show(call.client.delete(&format!("{path}?force={force}")).await)
}

async fn reinstate(what: Again) -> Outcome {
    match what {
        Again::Group { group, tenant } => {
            let verb = format!("groups/{}/reinstate", segment(&group));
            Call::of(&tenant.operator)?.verb(&tenant_path(&tenant.tenant, &verb)).await
        }
        Again::Device { device, tenant } => {
            let path = device_path(&tenant.tenant, &device, "reinstate");
            Call::of(&tenant.operator)?.verb(&path).await
        }
        Again::Tenant { id, operator } => {
            Call::of(&operator)?.verb(&tenant_path(&id, "reinstate")).await
        }
    }
}

async fn keys(command: KeysCommand) -> Outcome {
    match command {
        KeysCommand::List { rows, tenant } => {
            list(&tenant, "keys", &["key", "state", "since", "until", "not_after"], &rows).await
        }
        KeysCommand::Rotate { tenant } => {
            let path = tenant_path(&tenant.tenant, "keys/rotate");
            Call::of(&tenant.operator)?.verb(&path).await
        }
        KeysCommand::Compromise { kid, waits, tenant } => {
            revoke::run(What::Key { kid, waits, tenant }).await
        }
    }
}

async fn audit(command: AuditCommand) -> Outcome {
    match command {
        AuditCommand::List { wanted, rows, operator } => {
            let columns = [
                "seq", "at", "actor", "how", "network", "action", "tenant", "subject", "outcome",
                "detail",
            ];
            // The first condition stands behind the question mark.
            let query = wanted.query().replacen('&', "?", 1);
            Call::of(&operator)?.list(&format!("/v1/audit{query}"), &columns, &rows).await
        }
        AuditCommand::Tail { lines, wanted, operator } => {
            audit::tail::run(&Call::of(&operator)?, lines, &wanted.query()).await
        }
        AuditCommand::Export { operator } => audit::export::run(&Call::of(&operator)?).await,
        AuditCommand::Verify { file: Some(file), head, root, links, operator } => {
            let pins = (root.as_deref(), links.as_deref());
            audit::export::verify(&file, head.as_deref(), pins, operator.json)
        }
        AuditCommand::Verify { file: None, head, root, links, operator } => {
            let call = Call::of(&operator)?;
            audit::run_verify(&call, head.as_deref(), (root.as_deref(), links.as_deref())).await
        }
        AuditCommand::Head { operator } => {
            let call = Call::of(&operator)?;
            let answer = call.client.get("/v1/audit/head").await.map_err(words)?;
            match (call.json, answer.get("signed").and_then(Value::as_str)) {
                (false, Some(signed)) => output::line(signed),
                _ => output::line(&format!("{answer:#}")),
            }
            Ok(0)
        }
    }
}

async fn trust(command: TrustCommand) -> Outcome {
    let (looked_at, operator) = match command {
        TrustCommand::Restored { looked_at, operator } => (looked_at, operator),
        TrustCommand::Revoked { after, operator } => {
            let query = after.map(|after| format!("?diff=0&cursor={after}")).unwrap_or_default();
            let call = Call::of(&operator)?;
            let answer = call.client.get(&format!("/revoke/trl{query}")).await.map_err(words)?;
            output::line(&format!("{answer:#}"));
            return Ok(0);
        }
        TrustCommand::StatusList { file, tenant } => {
            let call = Call::of(&tenant.operator)?;
            let path = tenant_path(&tenant.tenant, "status-list");
            let bytes = call.client.bytes(&path, STATUS_LIST).await.map_err(words)?;
            std::fs::write(&file, &bytes)
                .map_err(|error| Fault::new(format!("{}: {error}", file.display())))?;
            let done = json!({ "file": file, "bytes": bytes.len() });
            let text = format!("{}: {} bytes", file.display(), bytes.len());
            output::result(call.json, &text, &done);
            return Ok(0);
        }
        TrustCommand::Verifiers { rows, operator } => {
            let columns = ["verifier", "kind", "tenants", "state", "last_seen", "event", "behind"];
            return Call::of(&operator)?.list("/v1/trust/verifiers", &columns, &rows).await;
        }
    };
    let call = Call::of(&operator)?;
    if looked_at {
        return call.show(call.client.clear("/v1/trust/restored").await);
    }
    let first = call.client.get("/v1/trust/restored?limit=1").await.map_err(words)?;
    let none = Vec::new();
    let restorations = first.get("restorations").and_then(Value::as_array).unwrap_or(&none);
    let columns = ["kind", "tenant", "subject", "epoch", "done", "at"];
    if call.json {
        let items = pages::all(&call.client, "/v1/trust/restored").await.map_err(words)?;
        output::line(&format!("{:#}", json!({ "restorations": restorations, "items": items })));
        return Ok(0);
    }
    if restorations.is_empty() {
        output::line("no restoration from an older copy that is still to be looked at");
    } else {
        output::write(&table::many(restorations, &["at", "from", "to", "why"]));
        output::line("");
    }
    call.list("/v1/trust/restored", &columns, &ListArgs::default()).await
}

async fn list(tenant: &TenantArgs, what: &str, columns: &[&str], rows: &ListArgs) -> Outcome {
    Call::of(&tenant.operator)?.list(&tenant_path(&tenant.tenant, what), columns, rows).await
}

/// A refusal with the sentence that goes with its code.
fn words(error: OperatorError) -> Fault {
    let fault = Fault::new(error.to_string()).code(error.code());
    match error.code() {
        Some(code) if !error.to_string().contains(code.words()) => fault.hint(code.words()),
        _ => fault,
    }
}
