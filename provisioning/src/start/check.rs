//! Looks through the database of a service that does not run: its bytes, its chains, and that each row names rows that are
//! there.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use tessera_runtime::clock::SystemClock;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::sql::{Database, Record, Table};
use tessera_runtime::store::{StoreError, StoreOptions};
use tessera_token::trust::{Event, EventHash};

use crate::limits::{FAULTS_TOLD, LINE_STEP};
use crate::records::keys::State;
use crate::records::operators::Tenants;
use crate::records::SignedEvent;
use crate::registry::claims;
use crate::tables::{number, pair, text, Tables, SCHEMA};
use crate::trust::ledger::Head;
use crate::{audit, former};

/// The outcome of a check.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Tables, and how many rows each has.
    pub rows: Vec<(&'static str, u64)>,
    /// The faults that were found, at most [`FAULTS_TOLD`]; none when all is well.
    pub faults: Vec<String>,
}

impl Checked {
    fn fault(&mut self, fault: impl Into<String>) {
        if self.faults.len() < FAULTS_TOLD {
            self.faults.push(fault.into());
        }
    }

    fn counted<R: Record>(&mut self, table: &Table<R>, rows: u64) {
        self.rows.push((table.name(), rows));
    }
}

/// Checks the database in the folder `store`. `say` is told what is looked at.
///
/// # Errors
/// [`StoreError::Locked`] while a service runs on it, [`StoreError::Io`]. A fault of the database is no error.
pub async fn check_stopped(store: &Path, say: &dyn Fn(&str)) -> Result<Checked, StoreError> {
    if former::is_former(store)? {
        let why = "the store of a former version: it becomes a database when the server starts";
        return Err(StoreError::Io(format!("{}: {why}", store.display())));
    }
    let options = StoreOptions { must_exist: true, ..StoreOptions::default() };
    let clock = SystemClock::shared();
    say("opening the database");
    let database = match Database::open(store, SCHEMA, &options, clock, &SystemRandom) {
        Ok((database, _)) => database,
        Err(StoreError::Lost(loss)) => {
            return Ok(Checked { rows: Vec::new(), faults: loss.missing });
        }
        Err(error) => return Err(error),
    };
    let checked = match all(&database, say).await {
        // A row that is as it was written, and says something that its table cannot hold.
        Err(StoreError::Damaged { table, why }) => {
            Ok(Checked { faults: vec![format!("{table}: {why}")], rows: Vec::new() })
        }
        checked => checked,
    };
    let closed = database.close().await;
    let checked = checked?;
    closed?;
    Ok(checked)
}

async fn all(database: &Database, say: &dyn Fn(&str)) -> Result<Checked, StoreError> {
    say("reading every page and every row");
    let mut checked = Checked { faults: database.faults()?, rows: Vec::new() };
    if !checked.faults.is_empty() {
        // Rows that cannot be read name nothing.
        return Ok(checked);
    }
    let tables = Tables::of(database);
    say("following the chain of the audit log");
    audit_log(&tables, &mut checked).await?;
    say("following the chain of the trust feed");
    feed(&tables, &mut checked).await?;
    say("looking for rows that are named and not there");
    Registry::read(&tables, &mut checked).await?.check(&tables, &mut checked).await?;
    Ok(checked)
}

async fn audit_log(tables: &Tables, checked: &mut Checked) -> Result<(), StoreError> {
    let (mut seq, mut previous) = (0, [0; 32]);
    let mut rows = tables.audit.walk(&[]);
    while let Some(page) = rows.next().await? {
        for (key, row) in page {
            seq += 1;
            let found = number(&key, 0)?;
            if found != seq {
                checked.fault(format!("audit: entry {seq} is missing"));
                seq = found;
            } else if row.previous != previous
                || row.hash != audit::hash(seq, &previous, &row.entry)
            {
                checked.fault(format!("audit: entry {seq} does not follow from the one before"));
            }
            previous = row.hash;
        }
    }
    let head = audit::Head::read(tables).await?;
    if (head.seq, head.hash) != (seq, previous) {
        checked.fault(format!("audit: the log ends at {seq}, and its head says {}", head.seq));
    }
    checked.counted(&tables.audit, seq);
    Ok(())
}

async fn feed(tables: &Tables, checked: &mut Checked) -> Result<(), StoreError> {
    let head = Head::read(tables).await?;
    let (mut last, mut events) = (None, 0);
    let mut rows = tables.trust_events.walk(&[]);
    while let Some(page) = rows.next().await? {
        for (key, SignedEvent(signed)) in page {
            events += 1;
            let seq = number(&key, 0)?;
            let Ok(event) = Event::unverified(&signed) else {
                checked.fault(format!("trust feed: event {seq} is none"));
                continue;
            };
            // The first that is kept follows one that was swept, and a line begins behind its restoration.
            let follows = match last {
                Some((before, hash)) if seq == before + 1 => event.previous == hash,
                Some(_) if seq == head.start + 1 => {
                    event.previous == EventHash::from_bytes(head.start_hash)
                }
                // An earlier line, of which only the place of the beginning is known.
                Some(_) => (seq - 1).is_multiple_of(LINE_STEP),
                None => true,
            };
            if event.seq != seq || !follows {
                checked.fault(format!("trust feed: event {seq} does not follow the one before"));
            }
            last = Some((seq, EventHash::of(&signed)));
        }
    }
    let end = (head.seq, EventHash::from_bytes(head.hash));
    if last.is_some_and(|last| last != end) && head.seq != head.start {
        checked.fault(format!("trust feed: it does not end with event {}", head.seq));
    }
    checked.counted(&tables.trust_events, events);
    Ok(())
}

/// The rows that others name, by tenant.
#[derive(Default)]
struct Registry(HashMap<String, Named>);

#[derive(Default)]
struct Named {
    roles: HashSet<String>,
    groups: HashSet<String>,
    active_keys: usize,
}

impl Registry {
    async fn read(tables: &Tables, checked: &mut Checked) -> Result<Self, StoreError> {
        let mut registry = Self::default();
        let mut rows = tables.tenants.walk(&[]);
        while let Some(page) = rows.next().await? {
            for (key, _) in page {
                registry.0.insert(text(&key, 0)?.to_owned(), Named::default());
            }
        }
        checked.counted(&tables.tenants, registry.0.len() as u64);
        registry.each(&tables.roles, checked, |of| &mut of.roles).await?;
        registry.each(&tables.groups, checked, |of| &mut of.groups).await?;
        let mut keys = 0;
        let mut rows = tables.keys.walk(&[]);
        while let Some(page) = rows.next().await? {
            for (key, record) in page {
                keys += 1;
                let active = usize::from(record.state == State::Active);
                match registry.0.get_mut(text(&key, 0)?) {
                    Some(of) => of.active_keys += active,
                    None => checked.fault(missing("issuer_keys", text(&key, 0)?, "its tenant")),
                }
            }
        }
        checked.counted(&tables.keys, keys);
        for (tenant, of) in registry.0.iter().filter(|(_, of)| of.active_keys != 1) {
            checked.fault(format!("tenant {tenant} has {} active issuer keys", of.active_keys));
        }
        Ok(registry)
    }

    /// Each row of a table of tenants and names.
    async fn each<R: Record>(
        &mut self,
        table: &Table<R>,
        checked: &mut Checked,
        names: fn(&mut Named) -> &mut HashSet<String>,
    ) -> Result<(), StoreError> {
        let (mut count, mut rows) = (0, table.walk(&[]));
        while let Some(page) = rows.next().await? {
            for (key, _) in page {
                count += 1;
                match self.0.get_mut(text(&key, 0)?) {
                    Some(of) => names(of).extend([text(&key, 1)?.to_owned()]),
                    None => checked.fault(missing(table.name(), text(&key, 1)?, "its tenant")),
                }
            }
        }
        checked.counted(table, count);
        Ok(())
    }

    async fn check(&self, tables: &Tables, checked: &mut Checked) -> Result<(), StoreError> {
        let (mut devices, mut attributes, mut rows) = (0, 0, tables.devices.walk(&[]));
        while let Some(page) = rows.next().await? {
            for (key, record) in page {
                devices += 1;
                attributes += record.attributes.values().len() as u64;
                let (tenant, device) = (text(&key, 0)?, text(&key, 1)?);
                self.names(("devices", tenant, device), (&record.role, &record.group), checked);
            }
        }
        checked.counted(&tables.devices, devices);
        index_of_attributes(tables, attributes, checked).await?;
        let (mut count, mut rows) = (0, tables.claims.walk(&[]));
        while let Some(page) = rows.next().await? {
            for (key, record) in page {
                count += 1;
                let id = claims::id_of(&key).unwrap_or_default();
                let row = ("claims", text(&key, 0)?, id.as_str());
                self.names(row, (&record.role, &record.group), checked);
            }
        }
        checked.counted(&tables.claims, count);
        let (mut accounts, mut rows) = (0, tables.operators.walk(&[]));
        while let Some(page) = rows.next().await? {
            for (_, account) in page {
                accounts += 1;
                let Tenants::These(these) = &account.tenants else { continue };
                for tenant in these.iter().filter(|tenant| !self.0.contains_key(*tenant)) {
                    let what = format!("its tenant {tenant}");
                    checked.fault(missing("operators", &account.name, &what));
                }
            }
        }
        checked.counted(&tables.operators, accounts);
        checked.counted(&tables.api_tokens, tables.api_tokens.count().await?);
        let (mut shown, mut rows) = (0, tables.partner_tokens.walk(&[]));
        while let Some(page) = rows.next().await? {
            for (key, token) in page {
                shown += 1;
                let device = pair(&token.tenant, token.device.as_str());
                if !tables.devices.contains(device).await? {
                    let what = format!("its device {}/{}", token.tenant, token.device);
                    checked.fault(missing("partner_tokens", text(&key, 0)?, &what));
                }
            }
        }
        checked.counted(&tables.partner_tokens, shown);
        checked.counted(&tables.issued, tables.issued.count().await?);
        Ok(())
    }

    fn names(
        &self,
        (table, tenant, row): (&str, &str, &str),
        (role, group): (&String, &String),
        checked: &mut Checked,
    ) {
        let Some(of) = self.0.get(tenant) else {
            return checked.fault(missing(table, row, &format!("its tenant {tenant}")));
        };
        if !of.roles.contains(role) {
            checked.fault(missing(table, row, &format!("its role {role} in tenant {tenant}")));
        }
        if !of.groups.contains(group) {
            checked.fault(missing(table, row, &format!("its group {group} in tenant {tenant}")));
        }
    }
}

/// Each row by which a device is found names an attribute that it has, and each attribute has its row.
async fn index_of_attributes(
    tables: &Tables,
    attributes: u64,
    checked: &mut Checked,
) -> Result<(), StoreError> {
    let (mut count, mut right, mut rows) = (0, 0, tables.device_attributes.walk(&[]));
    while let Some(page) = rows.next().await? {
        for (key, _) in page {
            count += 1;
            let (tenant, name) = (text(&key, 0)?, text(&key, 1)?);
            let (value, device) = (text(&key, 2)?, text(&key, 3)?);
            let record = tables.devices.get(pair(tenant, device)).await?;
            match record.is_some_and(|record| record.attributes.get(name) == Some(value)) {
                true => right += 1,
                false => {
                    let what = format!("its attribute {name} {value} in tenant {tenant}");
                    checked.fault(missing("device_attributes", device, &what));
                }
            }
        }
    }
    if right != attributes {
        let fault = format!("device_attributes: {right} rows for {attributes} attributes");
        checked.fault(fault);
    }
    checked.counted(&tables.device_attributes, count);
    Ok(())
}

fn missing(table: &str, row: &str, what: &str) -> String {
    format!("{table}: {row} names {what}, which is not there")
}
