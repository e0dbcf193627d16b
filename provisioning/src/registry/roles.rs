use tessera_runtime::sql::Batch;
use tessera_token::ids::{RoleId, TenantId};
use tessera_token::refusal::RefusalCode;

use super::open_rows;
use super::reach::Reach;
use super::rights::{self, RightsEnded};
use super::{templates, tenants, ways};
use crate::audit::Actor;
use crate::limits::ROLE_CLAIMS_COUNTED;
use crate::records::{ClaimRecord, RoleClass, RoleProgress, RoleRecord};
use crate::refused::Refused;
use crate::revision::Precondition;
use crate::service::Service;
use crate::tables::pair;
use crate::write::{until_committed, Attempt};

/// The role, when it may be given to devices and claims.
pub(crate) async fn known(
    service: &Service,
    tenant: &TenantId,
    role: &str,
) -> Result<RoleRecord, Refused> {
    let record = service.tables.roles.get(pair(tenant, role)).await?;
    let record = record.filter(|record| !record.progress.leaving);
    record.ok_or_else(|| RefusalCode::RoleUnknown.into())
}

/// Demands that the role is as it was read: it was neither changed nor deleted meanwhile.
pub(crate) fn expect(
    service: &Service,
    batch: &mut Batch,
    (tenant, role): (&TenantId, &str),
    record: &RoleRecord,
) {
    batch.expect(&service.tables.roles, pair(tenant, role), record);
}

/// As [`expect`], for a token. The role is not held, which tokens of other devices rest on too: epochs were read before this
/// look, and move behind a change of the role, so a token that is written between the two ends with them.
pub(crate) fn expect_for_token(
    service: &Service,
    batch: &mut Batch,
    (tenant, role): (&TenantId, &str),
    record: &RoleRecord,
) {
    batch.expect_unheld(&service.tables.roles, pair(tenant, role), record);
}

/// The definition of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) class: RoleClass,
    pub(crate) publish: Vec<String>,
    pub(crate) subscribe: Vec<String>,
    pub(crate) token_seconds: Option<u64>,
    pub(crate) refresh_tokens: bool,
}

/// Single lines that a role gets and loses.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) add_publish: Vec<String>,
    pub(crate) remove_publish: Vec<String>,
    pub(crate) add_subscribe: Vec<String>,
    pub(crate) remove_subscribe: Vec<String>,
}

/// The outcome of a change of a role, or of a try that changes nothing.
pub(crate) struct Changed {
    pub(crate) new: RoleRecord,
    /// As it was before; `None`: the role is new.
    pub(crate) old: Option<RoleRecord>,
    pub(crate) ended: RightsEnded,
}

/// The role in a call.
pub(crate) struct Of<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) role: &'a RoleId,
    pub(crate) way: Way,
    /// The revision on which the change rests.
    pub(crate) when: &'a Precondition,
}

/// The way in which a change is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Way {
    /// Nothing is changed.
    pub(crate) dry_run: bool,
    /// Tokens stay, and devices get the new rights with their next ones: for a change that takes no right away.
    pub(crate) keep_tokens: bool,
}

/// Defines a role, or changes what it allows. Its class never changes: a fleet of devices must not become a fleet of
/// services by one call.
pub(crate) async fn put(
    service: &Service,
    by: &Actor,
    of: &Of<'_>,
    wanted: &Definition,
) -> Result<Changed, Refused> {
    change(service, by, of, "role.put", |old| {
        if old.is_some_and(|old| old.class != wanted.class) {
            let why = "the class of a role never changes";
            return Err(Refused::because(RefusalCode::RoleInvalid, why));
        }
        Ok(wanted.clone())
    })
    .await
}

/// Adds lines to a role and removes some. A line that is there already is not added again; one that is to be removed must
/// be there, as it is written: a slip must not leave a right in place unseen.
pub(crate) async fn change_lines(
    service: &Service,
    by: &Actor,
    of: &Of<'_>,
    lines: &Lines,
) -> Result<Changed, Refused> {
    change(service, by, of, "role.change", |old| {
        let old = old.filter(|old| !old.progress.leaving).ok_or(RefusalCode::RoleUnknown)?;
        Ok(Definition {
            class: old.class,
            publish: with(&old.publish, &lines.add_publish, &lines.remove_publish)?,
            subscribe: with(&old.subscribe, &lines.add_subscribe, &lines.remove_subscribe)?,
            token_seconds: old.token_seconds,
            refresh_tokens: old.refresh_tokens,
        })
    })
    .await
}

fn with(old: &[String], add: &[String], remove: &[String]) -> Result<Vec<String>, Refused> {
    if let Some(missing) = remove.iter().find(|line| !old.contains(line)) {
        let detail = format!("the role has no line {missing:?}; nothing was changed");
        return Err(Refused::because(RefusalCode::NotFound, detail));
    }
    let mut new: Vec<String> = old.iter().filter(|line| !remove.contains(line)).cloned().collect();
    for line in add {
        if !new.contains(line) {
            new.push(line.clone());
        }
    }
    Ok(new)
}

async fn change(
    service: &Service,
    by: &Actor,
    of: &Of<'_>,
    action: &str,
    wanted: impl Fn(Option<&RoleRecord>) -> Result<Definition, Refused>,
) -> Result<Changed, Refused> {
    let Of { tenant, role, way: Way { dry_run, keep_tokens }, when } = *of;
    let (table, key) = (&service.tables.roles, pair(tenant, role.as_str()));
    let (old, new) = until_committed(async || {
        tenants::known(service, tenant).await?;
        let old = table.get(key.clone()).await?;
        let is_wanted = wanted(old.as_ref());
        // One that is being deleted is there no more.
        let here = old.as_ref().filter(|old| !old.progress.leaving);
        let is_wanted = match is_wanted {
            // A role that is not there is told before a revision of it.
            Err(refused) if refused.code == RefusalCode::RoleUnknown => return Err(refused),
            is_wanted => is_wanted,
        };
        when.check(here)?;
        let new = next(old.as_ref(), is_wanted?, keep_tokens)?;
        templates::check(&new)?;
        if dry_run || old.as_ref() == Some(&new) {
            return Ok(Attempt::Committed((old, new)));
        }
        let mut batch = Batch::new();
        batch.expect_same(table, key.clone(), old.as_ref());
        batch.put(table, key.clone(), &new);
        let detail = format!("publish {:?} subscribe {:?}", new.publish, new.subscribe);
        let entry = service.entry(by, action, tenant.as_str(), role.as_str()).detail(detail);
        let entry = entry.change(old.as_ref(), Some(&new));
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| (old, new)))
    })
    .await?;
    let ended = match (new.progress.ending, dry_run) {
        (Some(_), false) => rights::end(service, by, tenant, role).await?,
        (ending, _) => {
            let reach = Reach::of(service, tenant, role, &new).await?;
            let moved = if ending.is_some() { reach.moves().as_str() } else { "nothing" };
            RightsEnded { reach, moved }
        }
    };
    Ok(Changed { new, old: old.filter(|old| !old.progress.leaving), ended })
}

/// The record of a new definition. Where it changes rights, tokens with the former ones are to be ended.
fn next(
    old: Option<&RoleRecord>,
    wanted: Definition,
    keep_tokens: bool,
) -> Result<RoleRecord, Refused> {
    let Definition { class, publish, subscribe, token_seconds, refresh_tokens } = wanted;
    let mut progress = old.map_or_else(RoleProgress::default, |old| old.progress);
    progress.leaving = false;
    let same =
        |old: &RoleRecord| is_same(&old.publish, &publish) && is_same(&old.subscribe, &subscribe);
    if let Some(old) = old.filter(|old| !same(old)) {
        let lost = templates::lost(&old.publish, &publish);
        let lost = lost.or_else(|| templates::lost(&old.subscribe, &subscribe));
        match (keep_tokens, lost) {
            (true, None) => {}
            (true, Some(line)) => {
                let why = format!("the change takes {line:?} away, so tokens cannot stay");
                return Err(Refused::because(RefusalCode::RoleInvalid, why));
            }
            (false, _) => {
                progress.revision += 1;
                progress.ending = Some(progress.revision);
            }
        }
    }
    Ok(RoleRecord { class, publish, subscribe, token_seconds, progress, refresh_tokens })
}

/// Whether two lists have the same lines, in any order.
fn is_same(one: &[String], other: &[String]) -> bool {
    one.iter().all(|line| other.contains(line)) && other.iter().all(|line| one.contains(line))
}

/// Deletes a role that no device, no open claim and no entry of another way has. It is marked first, so that none can get it while they are looked
/// for.
///
/// # Errors
/// `role_in_use`, with how many have it; then the role is as it was.
pub(crate) async fn delete(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    role: &RoleId,
    when: &Precondition,
) -> Result<(), Refused> {
    tenants::known(service, tenant).await?;
    let (table, key) = (&service.tables.roles, pair(tenant, role.as_str()));
    let read = async || -> Result<RoleRecord, Refused> {
        table.get(key.clone()).await?.ok_or_else(|| RefusalCode::RoleUnknown.into())
    };
    let record = read().await?;
    when.check(Some(&record))?;
    if let Some(refused) = in_use(service, tenant, role, &record).await? {
        // Nothing was marked, or a deletion before this one has stopped in the middle.
        return match record.progress.leaving {
            true => {
                mark(service, (tenant, role), false, &Precondition::Nothing).await.and(Err(refused))
            }
            false => Err(refused),
        };
    }
    mark(service, (tenant, role), true, when).await?;
    until_committed(async || {
        let record = match read().await {
            // Another call has deleted it.
            Err(refused) if refused.code == RefusalCode::RoleUnknown => {
                return Ok(Attempt::Committed(()));
            }
            record => record?,
        };
        if !record.progress.leaving {
            let why = "the role was defined anew meanwhile";
            return Err(Refused::because(RefusalCode::RoleInUse, why));
        }
        if let Some(refused) = in_use(service, tenant, role, &record).await? {
            mark(service, (tenant, role), false, &Precondition::Nothing).await?;
            return Err(refused);
        }
        let mut batch = Batch::new();
        batch.expect(table, key.clone(), &record);
        batch.delete(table, key.clone());
        batch.delete(&service.tables.role_watches, key.clone());
        let entry = service.entry(by, "role.delete", tenant.as_str(), role.as_str());
        let entry = entry.change(Some(&record), None);
        service.write(batch, entry).await
    })
    .await
}

/// Marks a role as one that is being deleted, or takes the mark away.
async fn mark(
    service: &Service,
    (tenant, role): (&TenantId, &RoleId),
    leaving: bool,
    when: &Precondition,
) -> Result<(), Refused> {
    let (table, key) = (&service.tables.roles, pair(tenant, role.as_str()));
    until_committed(async || {
        let Some(old) = table.get(key.clone()).await? else { return Ok(Attempt::Committed(())) };
        when.check(Some(&old))?;
        let mut new = old.clone();
        new.progress.leaving = leaving;
        if new == old {
            return Ok(Attempt::Committed(()));
        }
        let mut batch = Batch::new();
        batch.expect(table, key.clone(), &old);
        batch.put(table, key.clone(), &new);
        service.write_unnoted(batch).await
    })
    .await
}

/// The refusal when devices or claims have the role.
async fn in_use(
    service: &Service,
    tenant: &TenantId,
    role: &RoleId,
    record: &RoleRecord,
) -> Result<Option<Refused>, Refused> {
    let reach = Reach::of(service, tenant, role, record).await?;
    let columns = [("tenant", tenant.as_str().into()), ("role", role.as_str().into())];
    let (now, tables) = (service.now().get(), &service.tables);
    let is_open = |claim: &ClaimRecord| claim.is_open(now);
    let claims = open_rows::count(&tables.claims, &columns, ROLE_CLAIMS_COUNTED, is_open).await?;
    let entries = ways::of_role(service, tenant, role).await?;
    if (reach.devices, claims, entries) == (0, 0, 0) {
        return Ok(None);
    }
    let or_more = |more: bool| if more { " or more" } else { "" };
    let detail = format!(
        "{}{} devices, {claims}{} open claims and {entries}{} entries of other ways have the role {role}",
        reach.devices,
        or_more(reach.more),
        or_more(claims == ROLE_CLAIMS_COUNTED),
        or_more(entries >= ROLE_CLAIMS_COUNTED)
    );
    Ok(Some(Refused::because(RefusalCode::RoleInUse, detail)))
}
