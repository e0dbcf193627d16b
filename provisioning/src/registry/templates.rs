//! Topic templates of roles: what may stand in them, and what they become for one device.

use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::topic::TopicFilter;

use crate::limits::{ROLE_SCOPE_BYTES, ROLE_TEMPLATES, TOKEN_SECONDS_LEAST};
use crate::records::{RoleClass, RoleRecord};
use crate::refused::Refused;

const DEVICE: &str = "{device}";
const TENANT: &str = "{tenant}";
const GROUP: &str = "{group}";

/// `$` topics that a role may name, all for subscribing by services.
const SERVICE_SUBSCRIBE: &[&str] = &["$tessera/alerts"];

/// Whether the role may exist.
pub(crate) fn check(role: &RoleRecord) -> Result<(), Refused> {
    let count = role.publish.len() + role.subscribe.len();
    if count == 0 || count > ROLE_TEMPLATES {
        return Err(invalid(format!("a role holds 1 to {ROLE_TEMPLATES} templates")));
    }
    for template in &role.publish {
        check_template(role.class, template, &[])?;
    }
    for template in &role.subscribe {
        let allowed: &[&str] = match role.class {
            RoleClass::Device => &[],
            RoleClass::Service => SERVICE_SUBSCRIBE,
        };
        check_template(role.class, template, allowed)?;
    }
    check_life(role)?;
    check_size(role)
}

/// The scope of one device. Ids hold no `/ + # $`, so none can change the meaning of a template.
pub(crate) fn resolve(
    role: &RoleRecord,
    tenant: &TenantId,
    group: &GroupId,
    device: &DeviceId,
) -> Result<Scope, RefusalCode> {
    scope_of_device(&role.publish, &role.subscribe, (tenant, group, device))
}

/// The scope that the templates of a role give to one device: its next token has this scope.
///
/// # Errors
/// `role_invalid` when the templates give no scope.
pub fn scope_of_device(
    publish: &[String],
    subscribe: &[String],
    (tenant, group, device): (&TenantId, &GroupId, &DeviceId),
) -> Result<Scope, RefusalCode> {
    let fill = |template: &String| -> Result<TopicFilter, RefusalCode> {
        let levels = template.split('/').map(|level| match level {
            DEVICE => device.as_str(),
            TENANT => tenant.as_str(),
            GROUP => group.as_str(),
            other => other,
        });
        let text = levels.collect::<Vec<_>>().join("/");
        TopicFilter::parse(&text).map_err(|_| RefusalCode::RoleInvalid)
    };
    let mut entries: Vec<ScopeEntry> = Vec::new();
    let both = publish.iter().map(|template| (template, Permission::Publish));
    let both = both.chain(subscribe.iter().map(|template| (template, Permission::Subscribe)));
    for (template, permission) in both {
        add(&mut entries, fill(template)?, permission);
    }
    Scope::new(entries).map_err(|_| RefusalCode::RoleInvalid)
}

fn add(entries: &mut Vec<ScopeEntry>, filter: TopicFilter, permission: Permission) {
    match entries.iter_mut().find(|entry| entry.filter == filter) {
        Some(entry) if entry.permission == permission => {}
        Some(entry) => entry.permission = Permission::Both,
        None => entries.push(ScopeEntry { filter, permission }),
    }
}

fn check_template(class: RoleClass, template: &str, dollar: &[&str]) -> Result<(), Refused> {
    TopicFilter::parse(template).map_err(|error| invalid(format!("{template:?}: {error}")))?;
    if template.starts_with('$') {
        return match dollar.contains(&template) {
            true => Ok(()),
            false => {
                Err(invalid(format!("{template:?}: this $ topic may not stand in such a role")))
            }
        };
    }
    let levels: Vec<&str> = template.split('/').collect();
    let known = |level: &str| matches!(level, DEVICE | TENANT | GROUP);
    if levels.iter().any(|level| level.contains(['{', '}']) && !known(level)) {
        return Err(invalid(format!(
            "{template:?}: {{device}}, {{tenant}} and {{group}} stand for whole levels"
        )));
    }
    match class {
        RoleClass::Device => check_own(template, &levels),
        RoleClass::Service => Ok(()),
    }
}

/// A device's topics hold `{device}` as a level, and no wildcard but a `#` at the end, below that level.
fn check_own(template: &str, levels: &[&str]) -> Result<(), Refused> {
    let Some(own) = levels.iter().position(|level| *level == DEVICE) else {
        return Err(invalid(format!(
            "{template:?}: a device role names topics with {{device}} as a level"
        )));
    };
    let wildcard = |(at, level): (usize, &&str)| *level == "+" || (*level == "#" && at <= own);
    match levels.iter().enumerate().any(wildcard) {
        true => Err(invalid(format!(
            "{template:?}: a device role has no wildcard but # below {{device}}"
        ))),
        false => Ok(()),
    }
}

fn check_life(role: &RoleRecord) -> Result<(), Refused> {
    let allowed = TOKEN_SECONDS_LEAST..=tessera_token::limits::TOKEN_LIFE_SECONDS;
    match role.token_seconds {
        Some(life) if !allowed.contains(&life) => Err(invalid("a token lives 2 s to 30 days")),
        _ => Ok(()),
    }
}

/// With the longest ids the scope must still fit a token, or a device with a long id could never get one.
fn check_size(role: &RoleRecord) -> Result<(), Refused> {
    let long = "x".repeat(tessera_token::limits::ID_CHARS);
    let tenant = "x".repeat(tessera_token::limits::TENANT_CHARS);
    let sample = TenantId::parse(&tenant)
        .ok()
        .zip(GroupId::parse(&long).ok().zip(DeviceId::parse(&long).ok()));
    let Some((tenant, (group, device))) = sample else {
        return Err(RefusalCode::Internal.into());
    };
    let scope = resolve(role, &tenant, &group, &device)
        .map_err(|_| invalid("with the longest ids a topic exceeds 1,024 bytes or 32 levels"))?;
    match scope.to_aif().len() {
        0..=ROLE_SCOPE_BYTES => Ok(()),
        _ => {
            Err(invalid(format!("with the longest ids the scope exceeds {ROLE_SCOPE_BYTES} bytes")))
        }
    }
}

fn invalid(detail: impl Into<String>) -> Refused {
    Refused::because(RefusalCode::RoleInvalid, detail)
}
