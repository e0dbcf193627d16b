//! Imports: lines become devices or claims in batches, each line with an outcome of its own.
//!
//! A batch is one write with the entries of the audit log: all that its lines make is there and durable, or nothing is. A line
//! that cannot be taken changes nothing and stops no other. A line whose device or claim is there as it says is `unchanged`, so
//! the same lines may come again.

use std::collections::HashMap;

use tessera_runtime::sql::Batch;
use tessera_token::ids::{GroupId, RoleId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Change;
use tokio::sync::MutexGuard;

use super::{groups, roles, templates, tenants};
use crate::audit::{Actor, Entry};
use crate::records::attributes::missing;
use crate::records::{Attributes, RoleRecord, TenantRecord};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::one;
use crate::trust::restored::epoch_floor;
use crate::warrant::Warrant;
use crate::write::{until_committed, Attempt};

pub(crate) mod claims;
pub(crate) mod devices;

/// A line as it is wanted, by the kind of the import.
pub(crate) trait Wanted: Clone + 'static {
    /// The kind, as the audit log names it.
    const KIND: &'static str;
    /// A part of the import that is of this kind alone.
    type With: Clone + 'static;
    /// Former lines that no row of the database tells.
    type Seen: Default + 'static;
    /// The part of the answer to a line beside its outcome.
    type Told: 'static;

    /// Held while a batch is judged and written, where batches at one time would only change the same row.
    async fn turn(_service: &Service) -> Option<MutexGuard<'_, ()>> {
        None
    }

    /// Judges a line, and adds what it makes to the batch. The outer refusal is one of the whole batch.
    async fn judge(&self, number: u64, of: &mut Judge<'_, Self>) -> Judged<Self::Told>;

    /// Adds what stands behind all lines of a batch.
    fn close(_of: &mut Judge<'_, Self>) -> Result<(), Refused> {
        Ok(())
    }
}

/// The outcome for a line, inside the one for its batch.
pub(crate) type Judged<T> = Result<Result<Outcome<T>, Fault>, Refused>;

/// A line that was not taken.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// The member at fault, where it is one.
    pub(crate) field: Option<&'static str>,
    pub(crate) refused: Refused,
}

impl Fault {
    pub(crate) fn of(field: &'static str, refused: impl Into<Refused>) -> Self {
        Self { field: Some(field), refused: refused.into() }
    }
}

/// A line with its number.
pub(crate) struct Line<W> {
    pub(crate) number: u64,
    pub(crate) wanted: Result<W, Fault>,
}

/// The outcome of a line.
pub(crate) enum Outcome<T> {
    Imported(T),
    Unchanged(T),
    Refused(Fault),
}

/// An import, as its devices or claims and the audit log name it.
#[derive(Clone)]
pub(crate) struct Import<W: Wanted> {
    pub(crate) id: String,
    pub(crate) by: Actor,
    /// Its rights: each batch asks for them again.
    pub(crate) warrant: Warrant,
    pub(crate) tenant: TenantId,
    /// Nothing is written.
    pub(crate) dry_run: bool,
    pub(crate) with: W::With,
}

/// The outcomes of a batch.
type Outcomes<W> = Vec<Outcome<<W as Wanted>::Told>>;

/// Takes a batch of lines. `seen` is kept from batch to batch; only a dry run needs it.
///
/// The refusal is one that concerns all lines: the tenant, the database, the service. The lines before it have their outcomes,
/// which are durable. Of the others none has one; where a commit got no answer, they may be stored all the same.
pub(crate) async fn take<W: Wanted>(
    service: &Service,
    of: &Import<W>,
    seen: &mut W::Seen,
    lines: &[Line<W>],
) -> (Outcomes<W>, Result<(), Refused>) {
    let together = match of.dry_run {
        true => attempt(service, of, seen, lines).await.map(|(_, outcomes)| outcomes),
        false => write(service, of, lines).await,
    };
    match together {
        Ok(outcomes) => return (outcomes, Ok(())),
        Err(refused) if !of.dry_run && is_of_batch(refused.code) => {}
        Err(refused) => return (Vec::new(), Err(refused)),
    }
    // Together they find no room, or others change the same rows all the time: one by one some are taken.
    let mut outcomes = Vec::with_capacity(lines.len());
    for line in lines {
        match write(service, of, std::slice::from_ref(line)).await {
            Ok(one) => outcomes.extend(one),
            Err(refused) if is_of_batch(refused.code) => {
                outcomes.push(Outcome::Refused(Fault { field: None, refused }));
            }
            Err(refused) => return (outcomes, Err(refused)),
        }
    }
    (outcomes, Ok(()))
}

/// Whether a refusal of a write may not concern a smaller one.
fn is_of_batch(code: RefusalCode) -> bool {
    matches!(code, RefusalCode::CapacityReached | RefusalCode::LimitReached)
}

async fn write<W: Wanted>(
    service: &Service,
    of: &Import<W>,
    lines: &[Line<W>],
) -> Result<Outcomes<W>, Refused> {
    let _turn = W::turn(service).await;
    until_committed(async || {
        let (prepared, outcomes) = attempt(service, of, &mut W::Seen::default(), lines).await?;
        let Prepared { mut batch, changes, mut entries } = prepared;
        let Some(last) = entries.pop() else { return Ok(Attempt::Committed(outcomes)) };
        entries.iter().for_each(|entry| service.note(&mut batch, entry));
        let tried = match changes.is_empty() {
            true => service.write(batch, last).await?,
            false => service.publish(changes, batch, last).await?,
        };
        Ok(tried.map(|()| outcomes))
    })
    .await
}

/// The writes and entries for what a batch makes.
struct Prepared {
    batch: Batch,
    changes: Vec<Change>,
    entries: Vec<Entry>,
}

async fn attempt<W: Wanted>(
    service: &Service,
    of: &Import<W>,
    seen: &mut W::Seen,
    lines: &[Line<W>],
) -> Result<(Prepared, Outcomes<W>), Refused> {
    let tenant = &of.tenant;
    let mut batch = Batch::new();
    of.warrant.demand(service, &mut batch).await?;
    let owner = tenants::known(service, tenant).await?;
    let mut judge = Judge {
        service,
        of,
        floor: epoch_floor(&service.tables).await?,
        owner: &owner,
        seen,
        roles: HashMap::new(),
        groups: HashMap::new(),
        prepared: Prepared { batch, changes: Vec::new(), entries: Vec::new() },
    };
    let mut outcomes = Vec::with_capacity(lines.len());
    for line in lines {
        let outcome = match &line.wanted {
            Err(fault) => Err(fault.clone()),
            Ok(wanted) => wanted.judge(line.number, &mut judge).await?,
        };
        outcomes.push(outcome.unwrap_or_else(Outcome::Refused));
    }
    W::close(&mut judge)?;
    let Judge { roles, mut prepared, .. } = judge;
    if !prepared.entries.is_empty() {
        // A tenant that begins to publish its keys meanwhile hears of these too, or this is tried again.
        prepared.batch.expect(&service.tables.tenants, one(tenant.as_str()), &owner);
        for (name, role) in roles {
            if let Some(role) = role {
                roles::expect(service, &mut prepared.batch, (tenant, &name), &role);
            }
        }
    }
    Ok((prepared, outcomes))
}

/// A batch while its lines are judged.
pub(crate) struct Judge<'a, W: Wanted> {
    service: &'a Service,
    of: &'a Import<W>,
    /// Epochs begin behind it.
    floor: u64,
    owner: &'a TenantRecord,
    seen: &'a mut W::Seen,
    /// Each read once; `None`: there is none.
    roles: HashMap<String, Option<RoleRecord>>,
    groups: HashMap<String, bool>,
    prepared: Prepared,
}

impl<W: Wanted> Judge<'_, W> {
    /// Whether the role and the group are there, and the role can be resolved by these attributes.
    async fn rights(
        &mut self,
        (role, group): (&RoleId, &GroupId),
        attributes: &Attributes,
    ) -> Result<Result<(), Fault>, Refused> {
        let (service, tenant) = (self.service, &self.of.tenant);
        let name = role.as_str();
        if !self.roles.contains_key(name) {
            let role = match roles::known(service, tenant, name).await {
                Err(refused) if refused.code == RefusalCode::RoleUnknown => None,
                role => Some(role?),
            };
            self.roles.insert(name.to_owned(), role);
        }
        let Some(role) = self.roles.get(name).and_then(Option::as_ref) else {
            return Ok(Err(Fault::of("role", RefusalCode::RoleUnknown)));
        };
        let mut named = templates::attributes_of(role);
        if let Some(name) = named.find(|name| attributes.get(name).is_none()) {
            return Ok(Err(Fault::of("attributes", missing(name))));
        }
        let name = group.as_str();
        if !self.groups.contains_key(name) {
            let is_there = match groups::known(service, tenant, name).await {
                Err(refused) if refused.code == RefusalCode::GroupUnknown => false,
                group => group.map(|_| true)?,
            };
            self.groups.insert(name.to_owned(), is_there);
        }
        Ok(match self.groups.get(name) {
            Some(true) => Ok(()),
            _ => Err(Fault::of("group", RefusalCode::GroupUnknown)),
        })
    }

    /// An entry about the device or the claim that a line makes.
    fn entry(&self, action: &str, number: u64, subject: &str, detail: &[String]) -> Entry {
        let Import { id, by, tenant, .. } = self.of;
        let first = format!("{id} line {number}; ");
        let entry = self.service.entry(by, action, tenant.as_str(), subject);
        entry.detail(first + &detail.join(", "))
    }
}

fn there(field: &'static str, why: &str) -> Fault {
    Fault::of(field, Refused::because(RefusalCode::AlreadyExists, why))
}

/// Lines by outcome.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) lines: u64,
    pub(crate) imported: u64,
    pub(crate) unchanged: u64,
    pub(crate) refused: u64,
}

impl Counts {
    pub(crate) fn count<T>(&mut self, outcome: &Outcome<T>) {
        self.lines += 1;
        match outcome {
            Outcome::Imported(_) => self.imported += 1,
            Outcome::Unchanged(_) => self.unchanged += 1,
            Outcome::Refused(_) => self.refused += 1,
        }
    }
}

/// Puts the beginning of an import on record. A dry run leaves no entry, since it changes nothing.
pub(crate) async fn begin<W: Wanted>(service: &Service, of: &Import<W>) -> Result<(), Refused> {
    note(service, of, "import.begin", W::KIND.to_owned()).await
}

/// Puts its end on record, with the counts.
pub(crate) async fn end<W: Wanted>(
    service: &Service,
    of: &Import<W>,
    counts: Counts,
    whole: bool,
) -> Result<(), Refused> {
    let Counts { lines, imported, unchanged, refused } = counts;
    let broken = if whole { "" } else { "; it did not come to its end" };
    let detail = format!(
        "{lines} lines: {imported} imported, {unchanged} unchanged, {refused} refused{broken}"
    );
    note(service, of, "import.end", detail).await
}

async fn note<W: Wanted>(
    service: &Service,
    of: &Import<W>,
    action: &str,
    detail: String,
) -> Result<(), Refused> {
    if of.dry_run {
        return Ok(());
    }
    let entry = service.entry(&of.by, action, of.tenant.as_str(), &of.id).detail(detail);
    until_committed(async || service.write(Batch::new(), entry.clone()).await).await
}
