//! Topic templates of roles: what may stand in them, and what they become for one device.

use std::collections::BTreeMap;

use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::topic::TopicFilter;
use tessera_token::trust::TRUST_TOPIC;

use crate::limits::{
    ATTRIBUTE_VALUE_CHARS, PARTNER_TEMPLATES, PARTNER_TOKEN_SECONDS, ROLE_SCOPE_BYTES,
    ROLE_TEMPLATES, TOKEN_SECONDS_LEAST,
};
use crate::records::attributes::{is_name, is_value, missing};
use crate::records::{Attributes, RoleClass, RoleRecord};
use crate::refused::Refused;

const DEVICE: &str = "{device}";
const TENANT: &str = "{tenant}";
const GROUP: &str = "{group}";

/// `$` topics that a role of services may name: for alerts, and for the trust feed of a gateway.
const SERVICE_SUBSCRIBE: &[&str] = &["$tessera/alerts", TRUST_TOPIC];
const SERVICE_PUBLISH: &[&str] = &[TRUST_TOPIC];

/// The values of the placeholders for one device.
#[derive(Debug, Clone, Copy)]
pub struct Placeholders<'a> {
    /// `{tenant}`.
    pub tenant: &'a TenantId,
    /// `{group}`.
    pub group: &'a GroupId,
    /// `{device}`.
    pub device: &'a DeviceId,
    /// `{attr.NAME}`.
    pub attributes: &'a Attributes,
}

/// Whether the role may exist.
pub(crate) fn check(role: &RoleRecord) -> Result<(), Refused> {
    let count = role.publish.len() + role.subscribe.len();
    let most = match role.class {
        RoleClass::Device | RoleClass::Service => ROLE_TEMPLATES,
        RoleClass::Partner => PARTNER_TEMPLATES,
    };
    if count == 0 || count > most {
        return Err(invalid(format!("a role of this class holds 1 to {most} templates")));
    }
    let (publish, subscribe): (&[&str], &[&str]) = match role.class {
        RoleClass::Device | RoleClass::Partner => (&[], &[]),
        RoleClass::Service => (SERVICE_PUBLISH, SERVICE_SUBSCRIBE),
    };
    for template in &role.publish {
        check_template(role.class, template, publish)?;
    }
    for template in &role.subscribe {
        check_template(role.class, template, subscribe)?;
    }
    check_life(role)?;
    check_size(role)
}

/// The scope of one device.
///
/// # Errors
/// `attribute_missing`, and `role_invalid` when a value would change the meaning of a template.
pub(crate) fn resolve(role: &RoleRecord, of: &Placeholders<'_>) -> Result<Scope, Refused> {
    scope(&role.publish, &role.subscribe, of)
}

/// The scope that the templates of a role give to one device: its next token has this scope.
///
/// # Errors
/// `attribute_missing` when a template names an attribute that the device does not have; `role_invalid` when the templates
/// give no scope.
pub fn scope_of_device(
    publish: &[String],
    subscribe: &[String],
    of: &Placeholders<'_>,
) -> Result<Scope, RefusalCode> {
    scope(publish, subscribe, of).map_err(|refused| refused.code)
}

fn scope(
    publish: &[String],
    subscribe: &[String],
    of: &Placeholders<'_>,
) -> Result<Scope, Refused> {
    let mut entries: Vec<ScopeEntry> = Vec::new();
    let both = publish.iter().map(|template| (template, Permission::Publish));
    let both = both.chain(subscribe.iter().map(|template| (template, Permission::Subscribe)));
    for (template, permission) in both {
        add(&mut entries, fill(template, of)?, permission);
    }
    Scope::new(entries).map_err(|_| RefusalCode::RoleInvalid.into())
}

/// The attributes that templates of the role name.
pub(crate) fn attributes_of(role: &RoleRecord) -> impl Iterator<Item = &str> {
    let templates = role.publish.iter().chain(&role.subscribe);
    templates.flat_map(|template| template.split('/')).filter_map(attribute)
}

/// The name in `{attr.NAME}`.
fn attribute(level: &str) -> Option<&str> {
    let name = level.strip_prefix("{attr.")?.strip_suffix('}')?;
    is_name(name).then_some(name)
}

/// A value stands for one whole level. Ids hold no `/ + # $`. An attribute was checked when it was set, and is checked here
/// again, so that no row of the database makes a right wider.
fn fill(template: &str, of: &Placeholders<'_>) -> Result<TopicFilter, Refused> {
    let levels = template.split('/').map(|level| match level {
        DEVICE => Ok(of.device.as_str()),
        TENANT => Ok(of.tenant.as_str()),
        GROUP => Ok(of.group.as_str()),
        other => match attribute(other) {
            None => Ok(other),
            Some(name) => match of.attributes.get(name) {
                None => Err(missing(name)),
                Some(value) if is_value(value) => Ok(value),
                Some(_) => Err(invalid(format!("the attribute {name} cannot be a topic level"))),
            },
        },
    });
    let text = levels.collect::<Result<Vec<_>, _>>()?.join("/");
    TopicFilter::parse(&text).map_err(|error| invalid(format!("{template:?}: {error}")))
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
    let known =
        |level: &str| matches!(level, DEVICE | TENANT | GROUP) || attribute(level).is_some();
    if levels.iter().any(|level| level.contains(['{', '}']) && !known(level)) {
        return Err(invalid(format!(
            "{template:?}: {{device}}, {{tenant}}, {{group}} and {{attr.NAME}} stand for whole levels"
        )));
    }
    match class {
        RoleClass::Device => check_own(template, &levels),
        RoleClass::Service => Ok(()),
        RoleClass::Partner => check_exact(template, &levels),
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

/// A partner's topics have no wildcard at all. They are written out, or hold `{device}` as a level: the topics of a partner
/// do not move with its group or with an attribute, which people set that may not change roles.
fn check_exact(template: &str, levels: &[&str]) -> Result<(), Refused> {
    if levels.iter().any(|level| matches!(*level, "+" | "#")) {
        return Err(invalid(format!("{template:?}: a partner role has no wildcards")));
    }
    let moves = levels.iter().any(|level| *level == GROUP || attribute(level).is_some());
    match moves && !levels.contains(&DEVICE) {
        true => Err(invalid(format!(
            "{template:?}: in a partner role {{group}} and {{attr.NAME}} stand only beside {{device}}"
        ))),
        false => Ok(()),
    }
}

fn check_life(role: &RoleRecord) -> Result<(), Refused> {
    let (most, words) = match role.class {
        RoleClass::Device | RoleClass::Service => {
            (tessera_token::limits::TOKEN_LIFE_SECONDS, "2 s to 30 days")
        }
        RoleClass::Partner => (PARTNER_TOKEN_SECONDS, "2 s to 1 day in a partner role"),
    };
    match role.token_seconds {
        Some(life) if !(TOKEN_SECONDS_LEAST..=most).contains(&life) => {
            Err(invalid(format!("a token lives {words}")))
        }
        _ => Ok(()),
    }
}

/// Seconds for which a token of the role lives; `configured` where the role says nothing.
pub(crate) fn life(role: &RoleRecord, configured: u64) -> u64 {
    let life = role.token_seconds.unwrap_or(configured);
    match role.class {
        RoleClass::Device | RoleClass::Service => life,
        RoleClass::Partner => life.min(PARTNER_TOKEN_SECONDS),
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
    let value = "x".repeat(ATTRIBUTE_VALUE_CHARS);
    let named = attributes_of(role).map(|name| (name.to_owned(), value.clone()));
    let attributes = Attributes::unchecked(named.collect::<BTreeMap<_, _>>());
    let of =
        Placeholders { tenant: &tenant, group: &group, device: &device, attributes: &attributes };
    let scope = resolve(role, &of).map_err(|_| {
        invalid("with the longest ids and attributes a topic exceeds 1,024 bytes or 32 levels")
    })?;
    match scope.to_aif().len() {
        0..=ROLE_SCOPE_BYTES => Ok(()),
        _ => Err(invalid(format!(
            "with the longest ids and attributes the scope exceeds {ROLE_SCOPE_BYTES} bytes"
        ))),
    }
}

/// The first line of `old` that no line of `new` covers, as they are written.
pub(crate) fn lost<'a>(old: &'a [String], new: &[String]) -> Option<&'a str> {
    let covers = |wide: &String, line: &String| {
        let (wide, line) = (TopicFilter::parse(wide).ok(), TopicFilter::parse(line).ok());
        wide.zip(line).is_some_and(|(wide, line)| wide.covers(&line))
    };
    old.iter().find(|line| !new.iter().any(|wide| covers(wide, line))).map(String::as_str)
}

/// A line whose rights another line of the role has too.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contained<'a> {
    pub(crate) permission: Permission,
    pub(crate) line: &'a str,
    pub(crate) within: &'a str,
}

/// The lines that add nothing: another one, as it is written, covers them.
pub(crate) fn contained(role: &RoleRecord) -> Vec<Contained<'_>> {
    let lists = [(Permission::Publish, &role.publish), (Permission::Subscribe, &role.subscribe)];
    let mut found = Vec::new();
    for (permission, list) in lists {
        let filters: Vec<_> = list
            .iter()
            .enumerate()
            .filter_map(|(at, line)| Some((at, line, TopicFilter::parse(line).ok()?)))
            .collect();
        for (at, line, filter) in &filters {
            // Of two lines that are the same the later one is told.
            let wider = filters.iter().find(|(other, _, wide)| {
                other != at && wide.covers(filter) && (!filter.covers(wide) || other < at)
            });
            let wider = wider.map(|(_, within, _)| within.as_str());
            found.extend(wider.map(|within| Contained { permission, line, within }));
        }
    }
    found
}

fn invalid(detail: impl Into<String>) -> Refused {
    Refused::because(RefusalCode::RoleInvalid, detail)
}
