//! `tessera can`: whether a token that a device got now would allow an act, by the registry.

use serde_json::{json, Value};
use tessera_broker::authorisation;
use tessera_provisioning::{Attributes, Placeholders};
use tessera_simulators::operator::{device_path, segment, tenant_path};
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::topic::{Subscription, TopicName};

use super::{pages, words, Call};
use crate::args::{Act, TenantArgs};
use crate::error::{Fault, Outcome};
use crate::output;

/// Asks the registry and shows the answer.
pub(super) async fn run(device: &str, act: &Act) -> Outcome {
    let (verb, name, args) = match act {
        Act::Publish { topic, tenant } => ("publish", topic, tenant),
        Act::Subscribe { filter, tenant } => ("subscribe", filter, tenant),
    };
    let call = Call::of(&args.operator)?;
    let found = Registered::read(&call, device, args).await?;
    let allowed = match act {
        Act::Publish { topic, .. } => may_publish(&found.scope, topic)?,
        Act::Subscribe { filter, .. } => may_subscribe(&found.scope, filter)?,
    };
    let missing = match act {
        Act::Publish { .. } => RefusalCode::PublishNotAuthorised,
        Act::Subscribe { .. } => RefusalCode::SubscribeNotAuthorised,
    };
    let code = found.refusal.or((!allowed).then_some(missing));
    let rights = found.rights(act);
    let text = match code {
        None => format!("yes: role {} allows {device} to {verb} {name}", found.role),
        Some(code) => format!(
            "no: {code}: {}\n  role {} allows {device} to {verb}: {}",
            code.words(),
            found.role,
            if rights.is_empty() { "nothing".to_owned() } else { rights.join(", ") }
        ),
    };
    let object = json!({
        "allowed": code.is_none(), "code": code.map(|code| code.as_str()), "tenant": args.tenant, "device": device,
        "role": found.role, "group": found.group, "act": verb, "topic": name, "rights": rights,
    });
    output::result(call.json, &text, &object);
    Ok(u8::from(code.is_some()))
}

/// A device as the registry has it.
struct Registered {
    role: String,
    group: String,
    scope: Scope,
    /// The reason for which it gets no token.
    refusal: Option<RefusalCode>,
}

impl Registered {
    async fn read(call: &Call, device: &str, args: &TenantArgs) -> Result<Self, Fault> {
        let (id, tenant) = (DeviceId::parse(device)?, TenantId::parse(&args.tenant)?);
        let path = format!("/v1/tenants/{}", segment(&args.tenant));
        let owner = call.client.get(&path).await.map_err(words)?;
        let path = device_path(&args.tenant, device, "");
        let found = call.client.get(&path).await.map_err(words)?;
        let (role, group) = (text(&found, "role")?, text(&found, "group")?);
        let roles = pages::all(&call.client, &tenant_path(&args.tenant, "roles")).await;
        let roles = roles.map_err(words)?;
        let known = roles.iter().find(|row| row.get("role").and_then(Value::as_str) == Some(&role));
        let templates = known.ok_or_else(|| {
            let code = RefusalCode::RoleUnknown;
            Fault::new(format!("{code}: the role {role} of {device} is gone")).code(Some(code))
        })?;
        let group_id = GroupId::parse(&group)?;
        let attributes = attributes(&found);
        let of = Placeholders {
            tenant: &tenant,
            group: &group_id,
            device: &id,
            attributes: &attributes,
        };
        let scope = tessera_provisioning::scope_of_device(
            &list(templates, "publish"),
            &list(templates, "subscribe"),
            &of,
        );
        let scope = scope
            .map_err(|code| Fault::new(format!("{code}: {}", code.words())).code(Some(code)))?;
        let refusal = match (text(&owner, "state")?.as_str(), text(&found, "state")?.as_str()) {
            ("suspended", _) => Some(RefusalCode::TenantSuspended),
            (_, "revoked") => Some(RefusalCode::DeviceRevoked),
            (_, "suspended") => match found.get("suspended_with").and_then(Value::as_str) {
                Some("group") => Some(RefusalCode::GroupSuspended),
                _ => Some(RefusalCode::DeviceSuspended),
            },
            _ => None,
        };
        Ok(Self { role, group, scope, refusal })
    }

    /// The filters of the scope that are for such an act.
    fn rights(&self, act: &Act) -> Vec<String> {
        let entries = self.scope.entries().iter().filter(|entry| match act {
            Act::Publish { .. } => entry.permission.publish(),
            Act::Subscribe { .. } => entry.permission.subscribe(),
        });
        entries.map(|entry| entry.filter.as_str().to_owned()).collect()
    }
}

fn may_publish(scope: &Scope, topic: &str) -> Result<bool, Fault> {
    let name = TopicName::parse(topic)
        .map_err(|error| Fault::new(format!("{topic:?} is no topic: {error}")))?;
    Ok(authorisation::may_publish(scope, &name))
}

fn may_subscribe(scope: &Scope, filter: &str) -> Result<bool, Fault> {
    let wanted = Subscription::parse(filter)
        .map_err(|error| Fault::new(format!("{filter:?} is no topic filter: {error}")))?;
    Ok(authorisation::may_subscribe(scope, &wanted))
}

fn text(object: &Value, name: &str) -> Result<String, Fault> {
    let text = object.get(name).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| Fault::new(format!("the service answered without {name}")))
}

fn attributes(device: &Value) -> Attributes {
    let members = device.get("attributes").and_then(Value::as_object);
    let texts = members.into_iter().flatten();
    let texts = texts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    Attributes::unchecked(texts.collect())
}

fn list(object: &Value, name: &str) -> Vec<String> {
    let items = object.get(name).and_then(Value::as_array);
    let texts = items.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let (tenant, group) = (TenantId::parse("t").unwrap(), GroupId::parse("g").unwrap());
        let device = DeviceId::parse("d-1").unwrap();
        let lists = [vec!["d/{device}/up".to_owned()], vec!["d/{device}/#".to_owned()]];
        let attributes = Attributes::default();
        let of = Placeholders {
            tenant: &tenant,
            group: &group,
            device: &device,
            attributes: &attributes,
        };
        tessera_provisioning::scope_of_device(&lists[0], &lists[1], &of).unwrap()
    }

    #[test]
    fn publishes_are_allowed_as_the_scope_and_the_control_topics_say() {
        for (topic, allowed) in [
            ("d/d-1/up", true),
            ("d/d-2/up", false),
            ("d/d-1/down", false),
            ("$tessera/token", true),
            ("$tessera/status", false),
            ("$SYS/a", false),
            ("authz-info", false),
        ] {
            assert_eq!(may_publish(&scope(), topic).unwrap(), allowed, "{topic}");
        }
        assert!(may_publish(&scope(), "d/+/up").is_err());
    }

    #[test]
    fn subscriptions_are_allowed_as_the_scope_and_the_control_topics_say() {
        for (filter, allowed) in [
            ("d/d-1/cmd", true),
            ("d/d-1/#", true),
            ("$share/g/d/d-1/cmd", true),
            ("d/+/cmd", false),
            ("$tessera/token", true),
            ("$tessera/status", true),
            ("$share/g/$tessera/status", false),
            ("$tessera/alerts", false),
            ("authz-info", false),
        ] {
            assert_eq!(may_subscribe(&scope(), filter).unwrap(), allowed, "{filter}");
        }
        assert!(may_subscribe(&scope(), "a/#/b").is_err());
    }
}
