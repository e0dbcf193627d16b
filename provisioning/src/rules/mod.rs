//! Rules of tenants: put, tried, approved, removed. Verifiers have them by the trust feed.
//!
//! A rule is enforced only after it ran in shadow for an hour, or was tested against recorded observations; an operator
//! may say `now` with a reason. A rule that would meet more than one device in a hundred waits for a second operator.

pub(crate) mod counts;
pub(crate) mod tests_of;

use tessera_rules::attributes::schema::{Number, Text, Which};
use tessera_rules::limits::RULES;
use tessera_rules::rule::{Mode, Rule};
use tessera_runtime::sql::Batch;
use tessera_token::ids::{GroupId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Change, RuleEntry};

use crate::audit::Actor;
use crate::limits::{RULE_KEPT_SECONDS, RULE_SHADOW_SECONDS, RULE_WIDE_PER_MILLE, SWEEP_ROWS};
use crate::records::rules::RuleRecord;
use crate::refused::Refused;
use crate::registry::suspension::Reason;
use crate::registry::{groups, tenants};
use crate::room::Load;
use crate::service::Service;
use crate::tables::{one, pair, text};
use crate::write::{until_committed, Attempt};

/// Puts a rule, or another version of it.
///
/// # Errors
/// `request_malformed` with the reason, `group_unknown`, `precondition_failed` for a version that is not greater,
/// `rule_not_tried`, `capacity_reached`.
pub(crate) async fn put(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    rule: &Rule,
    now: Option<&str>,
) -> Result<RuleRecord, Refused> {
    tenants::known(service, tenant).await?;
    check(tenant, rule)?;
    Reason::of(now.map(str::to_owned))?;
    until_committed(async || {
        let id = rule.draft().id.as_str();
        let mut changes = groups_of(service, tenant, rule).await?;
        let old = service.tables.rules.get(pair(tenant, id)).await?;
        let former = old.as_ref().map(|old| read(&old.body)).transpose()?;
        if former.as_ref().is_some_and(|former| former.draft().version >= rule.draft().version) {
            return Err(Refused::because(
                RefusalCode::PreconditionFailed,
                format!("the rule {id} has this version or a later one: give it a greater version"),
            ));
        }
        if former.as_ref().map(|former| former.draft().on) != Some(rule.draft().on) {
            has_place(service, tenant, rule).await?;
        }
        let at = service.now().get();
        let same = former.as_ref().is_some_and(|former| former.substance() == rule.substance());
        let tried_since = old.as_ref().filter(|_| same).and_then(|old| old.tried_since);
        let body = rule.to_cbor();
        let mut new = RuleRecord {
            body: body.clone(),
            ends: rule.draft().expires.get(),
            tried_since: tried_since.or(Some(at)),
            changed: at,
            made_by: by.name.clone(),
            next: None,
        };
        let mut waits = false;
        if rule.draft().mode == Mode::Enforce {
            let tested = tests_of::of(service, tenant, rule).await?;
            let was_shadow =
                tried_since.is_some_and(|since| at - since.min(at) >= RULE_SHADOW_SECONDS);
            if now.is_none() && !was_shadow && tested.is_none() {
                return Err(RefusalCode::RuleNotTried.into());
            }
            let share = tested.map_or(0, |test| test.matched * 1000 / test.devices.max(1));
            waits = rule.draft().action.cuts_off() && share > RULE_WIDE_PER_MILLE;
        }
        if waits {
            let Some(old) = old.clone() else {
                let why = "the test met more than one device in a hundred: put the rule in shadow, then the enforced form, \
                     which a second operator approves";
                return Err(Refused::because(RefusalCode::RuleNotTried, why.to_owned()));
            };
            new = RuleRecord { next: Some((body, by.name.clone())), ..old };
        }
        let action = if waits { "rule.propose" } else { "rule.put" };
        let words = format!(
            "version {}, {} {}{}{}",
            rule.draft().version,
            rule.draft().mode,
            rule.draft().action,
            if waits { ", waits for a second operator" } else { "" },
            now.map(|why| format!(", at once: {why}")).unwrap_or_default()
        );
        let mut batch = Batch::new();
        let (table, key) = (&service.tables.rules, pair(tenant, id));
        batch.expect_same(table, key.clone(), old.as_ref());
        batch.put(table, key, &new);
        let entry = service.entry(by, action, tenant.as_str(), id).detail(words);
        let tried = match waits {
            true => service.write(batch, entry).await?,
            false => {
                changes.push(told(tenant, id, new.body.clone()));
                service.publish(changes, batch, entry).await?
            }
        };
        Ok(tried.map(|()| new))
    })
    .await
}

/// Lets the form that waits come into force: by another operator than the first one.
///
/// # Errors
/// `not_found` when none waits, `operator_not_allowed` for the operator that proposed it.
pub(crate) async fn approve(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    id: &str,
) -> Result<RuleRecord, Refused> {
    until_committed(async || {
        let old = known(service, tenant, id).await?;
        let Some((body, first)) = old.next.clone() else {
            return Err(RefusalCode::NotFound.into());
        };
        if first == by.name {
            let why = "the operator that proposed the rule does not approve it: ask another one";
            return Err(Refused::because(RefusalCode::OperatorNotAllowed, why.to_owned()));
        }
        let rule = read(&body)?;
        let mut changes = groups_of(service, tenant, &rule).await?;
        let at = service.now().get();
        let ends = rule.draft().expires.get();
        let new = RuleRecord { body, ends, changed: at, made_by: first, next: None, ..old.clone() };
        changes.push(told(tenant, id, new.body.clone()));
        let mut batch = Batch::new();
        let (table, key) = (&service.tables.rules, pair(tenant, id));
        batch.expect(table, key.clone(), &old);
        batch.put(table, key, &new);
        let entry = service.entry(by, "rule.approve", tenant.as_str(), id);
        let entry = entry.detail(format!("version {}", rule.draft().version));
        Ok(service.publish(changes, batch, entry).await?.map(|()| new))
    })
    .await
}

/// Takes a rule away.
///
/// # Errors
/// `not_found`.
pub(crate) async fn remove(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    id: &str,
) -> Result<(), Refused> {
    until_committed(async || {
        let old = known(service, tenant, id).await?;
        let mut batch = Batch::new();
        let (table, key) = (&service.tables.rules, pair(tenant, id));
        batch.expect(table, key.clone(), &old);
        batch.delete(table, key);
        counts::forget(service, &mut batch, tenant, id).await?;
        let entry = service.entry(by, "rule.remove", tenant.as_str(), id);
        let tried = service.publish(vec![told(tenant, id, Vec::new())], batch, entry).await?;
        if tried == Attempt::Committed(()) {
            service.room.gone(tenant.as_str(), &Load::rule(tenant.as_str(), id));
        }
        Ok(tried)
    })
    .await
}

/// Takes rules away that ended, by lived time. No verifier applies them any more.
pub(crate) async fn end(service: &Service) -> Result<(), Refused> {
    let over = service.time.removal().minus(RULE_KEPT_SECONDS).get();
    for (key, _) in service.tables.rules.up_to("ends", over, SWEEP_ROWS).await? {
        let tenant = TenantId::parse(text(&key, 0)?).map_err(|_| RefusalCode::Internal)?;
        remove(service, &Actor::service(), &tenant, text(&key, 1)?).await?;
    }
    Ok(())
}

/// The row of a rule.
///
/// # Errors
/// `tenant_unknown`, `not_found`.
pub(crate) async fn known(
    service: &Service,
    tenant: &TenantId,
    id: &str,
) -> Result<RuleRecord, Refused> {
    tenants::known(service, tenant).await?;
    let row = service.tables.rules.get(pair(tenant, id)).await?;
    row.ok_or_else(|| RefusalCode::NotFound.into())
}

/// The rule of a row.
pub(crate) fn read(body: &[u8]) -> Result<Rule, Refused> {
    Rule::from_cbor(body).map_err(|error| {
        let why = format!("a stored rule cannot be read ({}): put it anew", error.code());
        Refused::because(RefusalCode::Internal, why)
    })
}

fn told(tenant: &TenantId, id: &str, rule: Vec<u8>) -> Change {
    Change::Rule(RuleEntry { tenant: tenant.clone(), id: id.to_owned(), rule })
}

/// Attributes that no verifier has a value for. A token tells the number of a group and no role.
const UNKNOWN: [Which; 4] = [
    Which::Text(Text::Role),
    Which::Text(Text::Group),
    Which::Text(Text::Severity),
    Which::Number(Number::Score),
];

fn check(tenant: &TenantId, rule: &Rule) -> Result<(), Refused> {
    let draft = rule.draft();
    if draft.selector.tenant != tenant.as_str() {
        let why = format!(
            "selector.tenant is {}, and the rule is put for {tenant}",
            draft.selector.tenant
        );
        return Err(Refused::malformed(why));
    }
    if !draft.selector.roles.is_empty() {
        let why = "verifiers do not know the role of a device: select by groups or devices";
        return Err(Refused::malformed(why));
    }
    // A rule that reads them would never hold, and it would not show.
    let reads = rule.program().reads();
    if let Some(read) = reads.iter().find(|read| UNKNOWN.contains(&read.which)) {
        return Err(Refused::malformed(format!(
            "verifiers do not know the attribute {} today: name groups and devices in the selector, or leave it out",
            read.name
        )));
    }
    Ok(())
}

/// Names of the groups that it selects, for verifiers, which know numbers.
async fn groups_of(
    service: &Service,
    tenant: &TenantId,
    rule: &Rule,
) -> Result<Vec<Change>, Refused> {
    let mut changes = Vec::new();
    for name in &rule.draft().selector.groups {
        let record = groups::known(service, tenant, name).await?;
        let group = GroupId::parse(name).map_err(|_| RefusalCode::Internal)?;
        changes.push(groups::told(tenant, &group, &record));
    }
    Ok(changes)
}

/// Whether the tenant may have one more rule for this event.
async fn has_place(service: &Service, tenant: &TenantId, rule: &Rule) -> Result<(), Refused> {
    let mut rows = service.tables.rules.walk(&one(tenant.as_str()));
    let mut count = 0;
    while let Some(page) = rows.next().await? {
        for (_, row) in page {
            count += usize::from(read(&row.body)?.draft().on == rule.draft().on);
        }
    }
    match count < RULES {
        true => Ok(()),
        false => Err(Refused::because(
            RefusalCode::CapacityReached,
            format!("a tenant has at most {RULES} rules for {}: remove one first", rule.draft().on),
        )),
    }
}
