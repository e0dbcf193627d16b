//! Import of devices whose keys are known: lines become devices in batches, each line with an outcome of its own.
//!
//! A batch is one write with the entries of the audit log: its devices are there, all of them durable, or none is. A line
//! that cannot be taken changes nothing and stops no other. A device that is there as its line says is `unchanged`, so the same
//! lines may come again. An imported device has no token: it asks for its first one by its key.

use std::collections::HashMap;

use tessera_runtime::sql::Batch;
use tessera_token::encoding::hex;
use tessera_token::hash::sha256;
use tessera_token::ids::{DeviceId, GroupId, RoleId, TenantId};
use tessera_token::key::PublicKey;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Change;

use super::standing::State;
use super::{attributes, departure, device_keys, groups, roles, templates, tenants};
use crate::audit::{Actor, Entry};
use crate::records::attributes::missing;
use crate::records::{Attributes, DeviceRecord, RoleRecord, Suspension, TenantRecord};
use crate::refused::Refused;
use crate::room::{Load, Purpose};
use crate::service::Service;
use crate::tables::{one, pair};
use crate::trust::restored::epoch_floor;
use crate::warrant::Warrant;
use crate::write::{until_committed, Attempt};

/// A device as a line describes it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) device: DeviceId,
    pub(crate) key: PublicKey,
    pub(crate) role: RoleId,
    pub(crate) group: GroupId,
    pub(crate) attributes: Attributes,
    /// Its own state: that of its group is not its own.
    pub(crate) state: State,
}

impl Wanted {
    /// The first member by which a device that is there differs.
    fn differs(&self, record: &DeviceRecord) -> Option<&'static str> {
        let members = [
            ("key", record.key == self.key.as_bytes()),
            ("role", record.role == self.role.as_str()),
            ("group", record.group == self.group.as_str()),
            ("attributes", record.attributes == self.attributes),
            ("state", State::of(record, None) == self.state),
        ];
        members.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }

    fn digest(&self) -> [u8; 32] {
        let Self { key, role, group, attributes, state, .. } = self;
        let key = hex::encode(key.thumbprint().as_bytes());
        sha256(
            format!("{key} {role} {group} {:?} {}", attributes.values(), state.as_str()).as_bytes(),
        )
    }
}

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
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) wanted: Result<Wanted, Fault>,
}

/// The outcome of a line.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Imported,
    Unchanged,
    Refused(Fault),
}

/// An import, as its devices and the audit log name it.
#[derive(Clone)]
pub(crate) struct Import {
    pub(crate) id: String,
    pub(crate) by: Actor,
    /// Its rights: each batch asks for them again.
    pub(crate) warrant: Warrant,
    pub(crate) tenant: TenantId,
    /// Nothing is written.
    pub(crate) dry_run: bool,
}

/// Devices and keys of former lines that no row of the database tells: those of the batch, and in a dry run those of all.
#[derive(Default)]
pub(crate) struct Seen {
    /// The digest of the line of each device.
    devices: HashMap<String, [u8; 32]>,
    /// Thumbprints.
    keys: HashMap<[u8; 32], String>,
    /// Room that these devices would take.
    load: Load,
}

/// Takes a batch of lines. `seen` is kept from batch to batch; only a dry run needs it.
///
/// # Errors
/// The refusal that concerns all lines: the tenant, the database, the service. No line is answered then, and none was taken.
pub(crate) async fn take(
    service: &Service,
    of: &Import,
    seen: &mut Seen,
    lines: &[Line],
) -> Result<Vec<Outcome>, Refused> {
    if of.dry_run {
        return attempt(service, of, seen, lines).await.map(|(_, outcomes)| outcomes);
    }
    match write(service, of, lines).await {
        Err(refused) if is_of_batch(refused.code) => {}
        outcomes => return outcomes,
    }
    // Together they find no room, or others change the same rows all the time: one by one some are taken.
    let mut outcomes = Vec::with_capacity(lines.len());
    for line in lines {
        match write(service, of, std::slice::from_ref(line)).await {
            Ok(one) => outcomes.extend(one),
            Err(refused) if is_of_batch(refused.code) => {
                outcomes.push(Outcome::Refused(Fault { field: None, refused }));
            }
            Err(refused) => return Err(refused),
        }
    }
    Ok(outcomes)
}

/// Whether a refusal of a write may not concern a smaller one.
fn is_of_batch(code: RefusalCode) -> bool {
    matches!(code, RefusalCode::CapacityReached | RefusalCode::LimitReached)
}

async fn write(service: &Service, of: &Import, lines: &[Line]) -> Result<Vec<Outcome>, Refused> {
    until_committed(async || {
        let (prepared, outcomes) = attempt(service, of, &mut Seen::default(), lines).await?;
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

/// The writes and entries for the new devices of a batch.
struct Prepared {
    batch: Batch,
    changes: Vec<Change>,
    entries: Vec<Entry>,
}

async fn attempt(
    service: &Service,
    of: &Import,
    seen: &mut Seen,
    lines: &[Line],
) -> Result<(Prepared, Vec<Outcome>), Refused> {
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
            Ok(wanted) => judge.line(line.number, wanted).await?,
        };
        outcomes.push(outcome.unwrap_or_else(Outcome::Refused));
    }
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

struct Judge<'a> {
    service: &'a Service,
    of: &'a Import,
    floor: u64,
    owner: &'a TenantRecord,
    seen: &'a mut Seen,
    /// Each read once; `None`: there is none.
    roles: HashMap<String, Option<RoleRecord>>,
    groups: HashMap<String, bool>,
    prepared: Prepared,
}

/// The outcome for a line, inside the one for its batch.
type Judged = Result<Result<Outcome, Fault>, Refused>;

impl Judge<'_> {
    async fn line(&mut self, number: u64, wanted: &Wanted) -> Judged {
        let (service, tenant) = (self.service, &self.of.tenant);
        let row = pair(tenant, wanted.device.as_str());
        let here = service.tables.devices.get(row.clone()).await?;
        if let Some(record) = here {
            return Ok(match wanted.differs(&record) {
                None => Ok(Outcome::Unchanged),
                Some(field) => Err(there(field, "the device is there already, and differs")),
            });
        }
        let (digest, thumbprint) = (wanted.digest(), *wanted.key.thumbprint().as_bytes());
        if let Some(known) = self.seen.devices.get(wanted.device.as_str()) {
            return Ok(match *known == digest {
                true => Ok(Outcome::Unchanged),
                false => Err(there("device", "a former line has this device, and differs")),
            });
        }
        if self.seen.keys.contains_key(&thumbprint) {
            return Ok(Err(there("key", "a device of a former line has this key")));
        }
        if let Err(fault) = self.role(wanted).await? {
            return Ok(Err(fault));
        }
        let found = device_keys::check(service, tenant, &wanted.device, &wanted.key).await;
        if let Some(fault) = of_line("key", found)?.err() {
            return Ok(Err(fault));
        }
        let batch = &mut self.prepared.batch;
        let epoch =
            departure::first_epoch_from(service, self.floor, (tenant, &wanted.device), batch).await;
        let epoch = match of_line("device", epoch)? {
            Ok(epoch) => epoch,
            Err(fault) => return Ok(Err(fault)),
        };
        let record = self.record(wanted, epoch, thumbprint);
        if self.owner.keys_published {
            let change = record.key_change(tenant, &wanted.device);
            if self.of.dry_run {
                let load =
                    Load::device_key(tenant.as_str(), wanted.device.as_str(), record.key.len());
                let all = self.seen.load.plus(&load);
                let room = service.room_for(tenant.as_str(), all, Purpose::Growth).await;
                if let Err(refused) = room {
                    return Ok(Err(Fault { field: None, refused }));
                }
                self.seen.load = all;
            }
            self.prepared.changes.push(change);
        }
        let (tables, batch) = (&service.tables, &mut self.prepared.batch);
        let (none, of) = (Attributes::default(), (tenant, &wanted.device));
        attributes::index(tables, batch, of, &none, &record.attributes);
        batch.insert(&tables.devices, row, &record);
        let entry = self.entry(number, wanted);
        self.prepared.entries.push(entry);
        self.seen.devices.insert(wanted.device.as_str().to_owned(), digest);
        self.seen.keys.insert(thumbprint, wanted.device.as_str().to_owned());
        Ok(Ok(Outcome::Imported))
    }

    /// Whether the role and the group are there, and the role can be resolved for the device.
    async fn role(&mut self, wanted: &Wanted) -> Result<Result<(), Fault>, Refused> {
        let (service, tenant) = (self.service, &self.of.tenant);
        let name = wanted.role.as_str();
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
        if let Some(name) = named.find(|name| wanted.attributes.get(name).is_none()) {
            return Ok(Err(Fault::of("attributes", missing(name))));
        }
        let name = wanted.group.as_str();
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

    fn record(&self, wanted: &Wanted, epoch: u64, thumbprint: [u8; 32]) -> DeviceRecord {
        let now = self.service.now().get();
        let suspension = || Suspension { at: now, by: self.of.by.name.clone(), reason: None };
        DeviceRecord {
            role: wanted.role.as_str().to_owned(),
            group: wanted.group.as_str().to_owned(),
            key: wanted.key.as_bytes().to_vec(),
            epoch,
            revoked: wanted.state == State::Revoked,
            enrolled: now,
            claim: self.of.id.clone(),
            attributes: wanted.attributes.clone(),
            // Refresh tokens of a former device of this id have ended.
            refresh_from: Some(epoch),
            suspended: (wanted.state == State::Suspended).then(suspension),
            thumbprint: Some(thumbprint),
        }
    }

    fn entry(&self, number: u64, wanted: &Wanted) -> Entry {
        let Import { id, by, tenant, .. } = self.of;
        let (role, group) = (&wanted.role, &wanted.group);
        let first = format!("{id} line {number}; role {role} group {group}");
        let state = match wanted.state {
            State::Active => None,
            state => Some(state.as_str().to_owned()),
        };
        let none = Attributes::default();
        let set = attributes::told(&none, &wanted.attributes);
        let detail: Vec<String> = std::iter::once(first).chain(state).chain(set).collect();
        let entry =
            self.service.entry(by, "device.import", tenant.as_str(), wanted.device.as_str());
        entry.detail(detail.join(", "))
    }
}

fn there(field: &'static str, why: &str) -> Fault {
    Fault::of(field, Refused::because(RefusalCode::AlreadyExists, why))
}

/// A refusal of one line, apart from those that concern all.
fn of_line<T>(field: &'static str, found: Result<T, Refused>) -> Result<Result<T, Fault>, Refused> {
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(refused) => match refused.code {
            RefusalCode::AlreadyExists | RefusalCode::ConfirmationKey => {
                Ok(Err(Fault::of(field, refused)))
            }
            _ => Err(refused),
        },
    }
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
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        self.lines += 1;
        match outcome {
            Outcome::Imported => self.imported += 1,
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::Refused(_) => self.refused += 1,
        }
    }
}

/// Puts the beginning of an import on record. A dry run leaves no entry, since it changes nothing.
pub(crate) async fn begin(service: &Service, of: &Import) -> Result<(), Refused> {
    note(service, of, "import.begin", "devices".to_owned()).await
}

/// Puts its end on record, with the counts.
pub(crate) async fn end(
    service: &Service,
    of: &Import,
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

async fn note(service: &Service, of: &Import, action: &str, detail: String) -> Result<(), Refused> {
    if of.dry_run {
        return Ok(());
    }
    let entry = service.entry(&of.by, action, of.tenant.as_str(), &of.id).detail(detail);
    until_committed(async || service.write(Batch::new(), entry.clone()).await).await
}
