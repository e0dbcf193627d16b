//! Conditions that hold for every rule beside its text.

use tessera_token::topic::TopicName;

use super::{DeviceId, Draft, GroupId, IdError, RoleId, RuleError, TenantId};
use crate::attributes::On;
use crate::limits;

/// Checks the members and puts the lists of the selector in order.
pub(super) fn check(mut draft: Draft) -> Result<Draft, RuleError> {
    // The name of a rule has the form of the name of a group.
    name("id", &draft.id, |text| GroupId::parse(text).map(drop))?;
    let selector = &mut draft.selector;
    name("selector.tenant", &selector.tenant, |text| TenantId::parse(text).map(drop))?;
    names("selector.roles", &mut selector.roles, |text| RoleId::parse(text).map(drop))?;
    names("selector.groups", &mut selector.groups, |text| GroupId::parse(text).map(drop))?;
    names("selector.devices", &mut selector.devices, |text| DeviceId::parse(text).map(drop))?;
    prefix(&selector.topic_prefix, draft.on)?;
    if draft.action.cuts_off() && !selector.is_narrow() {
        return Err(RuleError::TooWide(draft.action));
    }
    words("author", &draft.author, limits::AUTHOR_BYTES)?;
    words("reason", &draft.reason, limits::REASON_BYTES)?;
    let is_forward = draft.not_before < draft.expires;
    match is_forward && draft.expires.since(draft.not_before) <= limits::LIFE_SECONDS {
        true => Ok(draft),
        false => Err(RuleError::Life),
    }
}

fn name(
    member: &'static str,
    value: &str,
    parse: impl Fn(&str) -> Result<(), IdError>,
) -> Result<(), RuleError> {
    parse(value).map_err(|why| {
        let value = value.chars().take(64).collect();
        RuleError::Name { member, value, why }
    })
}

fn names(
    member: &'static str,
    values: &mut Vec<String>,
    parse: impl Fn(&str) -> Result<(), IdError>,
) -> Result<(), RuleError> {
    if values.len() > limits::SELECTED {
        return Err(RuleError::Selected(member));
    }
    values.iter().try_for_each(|value| name(member, value, &parse))?;
    values.sort();
    values.dedup();
    Ok(())
}

fn prefix(prefix: &str, on: On) -> Result<(), RuleError> {
    if prefix.is_empty() {
        return Ok(());
    }
    if on == On::Connect {
        return Err(RuleError::PrefixOnConnect);
    }
    TopicName::parse(prefix).map(drop).map_err(RuleError::Topic)
}

fn words(member: &'static str, value: &str, most: usize) -> Result<(), RuleError> {
    let is_good =
        !value.trim().is_empty() && value.len() <= most && !value.chars().any(char::is_control);
    is_good.then_some(()).ok_or(RuleError::Words { member, most })
}
