//! Moves the database of a data folder, whose service does not run, to a server: for several processes on one database.
//!
//! The mark that the service is founded is written last, with the root key: before it, the database on the server holds no
//! service, and the move begins again. The file `moving` keeps the folder's own database from being served meanwhile.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tessera_runtime::clock::SystemClock;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::secret::write_secret_file;
use tessera_runtime::sql::{Batch, Database, Record, Table, Value};
use tessera_runtime::store::{StoreError, StoreOptions};

use super::first_run::{is_initialised, FOUNDED};
use super::opening::{Place, MOVED, MOVING};
use super::{roots, seen};
use crate::database_settings::{DatabaseKey, DatabaseSettings};
use crate::former;
use crate::keys::files::KeyFolder;
use crate::keys::sealed::SealedSeeds;
use crate::keys::seeds::Seeds;
use crate::start_error::StartError;
use crate::tables::{Tables, SCHEMA};

/// Rows of each table that were moved.
pub type Moved = Vec<(&'static str, u64)>;

/// The two databases.
struct Move<'a> {
    from: Tables,
    to: Tables,
    target: &'a Database,
    say: &'a dyn Fn(&str),
    moved: Moved,
}

/// Moves the database of the folder `data`, with the seeds of its keys, to the server. The former files stay beside, under
/// names that no service opens. `say` is told what is done.
///
/// # Errors
/// [`StartError::NotFounded`] for a folder without a service, [`StartError::DatabaseTaken`] when the database holds another
/// one, [`StoreError::Locked`] while a service runs in the folder. Done in part, the move is begun again by the same call.
pub async fn move_to_server(
    data: &Path,
    settings: &DatabaseSettings,
    say: &dyn Fn(&str),
) -> Result<Moved, StartError> {
    let place = Place::make(data)?;
    if place.own().join(MOVED).exists() {
        // The database holds the service: what is left are the names of the former files.
        set_aside(&place)?;
        return Err(StartError::MovedAway(data.to_owned()));
    }
    if !place.store().exists() {
        return Err(StartError::NotFounded(data.to_owned()));
    }
    let options = StoreOptions { must_exist: true, ..StoreOptions::default() };
    let source = former::open(&place.store(), &options, SystemClock::shared(), &SystemRandom)?;
    let target = Database::connect(settings.url.expose(), &settings.trust, SCHEMA).await;
    let done = match &target {
        Ok(target) => between(&place, (&source, target), settings, say).await,
        Err(error) => Err(error.clone().into()),
    };
    let closed = source.close().await;
    if let Ok(target) = &target {
        target.close().await?;
    }
    let moved = done?;
    closed?;
    set_aside(&place)?;
    Ok(moved)
}

async fn between(
    place: &Place,
    (source, target): (&Database, &Database),
    settings: &DatabaseSettings,
    say: &dyn Fn(&str),
) -> Result<Moved, StartError> {
    let (from, to) = (Tables::of(source), Tables::of(target));
    let folder = Seeds::Files(KeyFolder::open(&place.own().join("keys"))?);
    let root = Arc::new(folder.root(&SystemRandom, false).await?);
    if !is_initialised(&from, Some(&root)).await? {
        return Err(StartError::NotFounded(place.store()));
    }
    let is_there = is_initialised(&to, None).await?;
    if is_there && !is_initialised(&to, Some(&root)).await.unwrap_or(false) {
        return Err(StartError::DatabaseTaken);
    }
    let key = DatabaseKey::read(settings, place.own(), &SystemRandom, is_there)?;
    if is_there {
        say("the database holds this service already: the move is ended");
        return Ok(Vec::new());
    }
    write_secret_file(&place.own().join(MOVING), b"")?;
    let seeds = Seeds::Rows(SealedSeeds::of(target, key.of_seeds()));
    let mut all = Move { from, to, target, say, moved: Vec::new() };
    all.rows().await?;
    say("sealing the seeds of the keys");
    let mut last = Batch::new();
    for id in folder.survey(&all.from).await?.named {
        seeds.keep(&mut last, &SystemRandom, &folder.load(id).await?)?;
    }
    seeds.keep_root(&mut last, &SystemRandom, &root)?;
    let present = roots::standing(&all.from, &folder, &root).await?.root;
    if present.public() != root.public() {
        seeds.keep_later_root(&mut last, &SystemRandom, &present)?;
    }
    let founded = vec![FOUNDED.into()];
    let mark = all.from.marks.table().get(founded.clone()).await?;
    let mark = mark.ok_or_else(|| StartError::NotFounded(place.store()))?;
    last.insert(all.to.marks.table(), founded, &mark);
    target.commit(last).await?;
    seen::note_of(place.own(), &all.to).await;
    Ok(all.moved)
}

impl Move<'_> {
    /// Every table; the suite compares them with the schema.
    async fn rows(&mut self) -> Result<(), StoreError> {
        self.table(|tables| tables.marks.table().clone()).await?;
        self.table(|tables| tables.tenants.clone()).await?;
        self.table(|tables| tables.roles.clone()).await?;
        self.table(|tables| tables.groups.clone()).await?;
        self.table(|tables| tables.claims.clone()).await?;
        self.table(|tables| tables.claim_counts.clone()).await?;
        self.table(|tables| tables.alert_lines.clone()).await?;
        self.table(|tables| tables.claim_imports.clone()).await?;
        self.table(|tables| tables.claim_uses.clone()).await?;
        self.table(|tables| tables.rules.clone()).await?;
        self.table(|tables| tables.rule_tests.clone()).await?;
        self.table(|tables| tables.restraints.clone()).await?;
        self.table(|tables| tables.answer_policies.clone()).await?;
        self.table(|tables| tables.rule_counts.clone()).await?;
        self.table(|tables| tables.device_uses.clone()).await?;
        self.table(|tables| tables.role_uses.clone()).await?;
        self.table(|tables| tables.role_watches.clone()).await?;
        self.table(|tables| tables.group_ways.clone()).await?;
        self.table(|tables| tables.listed_keys.clone()).await?;
        self.table(|tables| tables.group_keys.clone()).await?;
        self.table(|tables| tables.listed_ids.clone()).await?;
        self.table(|tables| tables.authorities.clone()).await?;
        self.table(|tables| tables.denied_certificates.clone()).await?;
        self.table(|tables| tables.approvals.clone()).await?;
        self.table(|tables| tables.approval_counts.clone()).await?;
        self.table(|tables| tables.devices.clone()).await?;
        self.table(|tables| tables.device_attributes.clone()).await?;
        self.table(|tables| tables.rekeys.clone()).await?;
        self.table(|tables| tables.deleted_devices.clone()).await?;
        self.table(|tables| tables.issued.clone()).await?;
        self.table(|tables| tables.keys.clone()).await?;
        self.table(|tables| tables.operators.clone()).await?;
        self.table(|tables| tables.api_tokens.clone()).await?;
        self.table(|tables| tables.partner_tokens.clone()).await?;
        self.table(|tables| tables.partner_uses.clone()).await?;
        self.table(|tables| tables.moved_devices.clone()).await?;
        self.table(|tables| tables.revoked_tokens.clone()).await?;
        self.table(|tables| tables.trust_events.clone()).await?;
        self.table(|tables| tables.families.clone()).await?;
        self.table(|tables| tables.verifiers.clone()).await?;
        self.table(|tables| tables.push_turns.clone()).await?;
        self.table(|tables| tables.trl_tokens.clone()).await?;
        self.table(|tables| tables.trl_updates.clone()).await?;
        self.table(|tables| tables.trl_tenants.clone()).await?;
        self.table(|tables| tables.findings.clone()).await?;
        self.table(|tables| tables.kept_requests.clone()).await?;
        self.table(|tables| tables.kept_answers.clone()).await?;
        self.table(|tables| tables.webhooks.clone()).await?;
        self.table(|tables| tables.webhook_states.clone()).await?;
        self.table(|tables| tables.webhook_messages.clone()).await?;
        self.table(|tables| tables.webhook_attempts.clone()).await?;
        self.table(|tables| tables.audit.clone()).await?;
        self.table(|tables| tables.audit_waiting.clone()).await
    }

    async fn table<R: Record>(&mut self, of: fn(&Tables) -> Table<R>) -> Result<(), StoreError> {
        let (from, to) = (of(&self.from), of(&self.to));
        self.clear(&to).await?;
        let (mut count, mut told, mut rows) = (0, 0, from.walk(&[]));
        while let Some(page) = rows.next().await? {
            let mut batch = Batch::new();
            for (key, record) in page {
                if R::TABLE == "marks" && key.first() == Some(&Value::from(FOUNDED)) {
                    continue;
                }
                batch.add(&to, key, &record);
                count += 1;
            }
            self.target.commit(batch).await?;
            if count >= told + 100_000 {
                told = count;
                (self.say)(&format!("{}: {count} rows", R::TABLE));
            }
        }
        (self.say)(&format!("{}: {count} rows, all of them", R::TABLE));
        self.moved.push((R::TABLE, count));
        Ok(())
    }

    /// Rows of a move that was cut off.
    async fn clear<R: Record>(&self, table: &Table<R>) -> Result<(), StoreError> {
        let mut rows = table.walk(&[]);
        while let Some(page) = rows.next().await? {
            let mut batch = Batch::new();
            page.into_iter().for_each(|(key, _)| batch.delete(table, key));
            self.target.commit(batch).await?;
        }
        Ok(())
    }
}

/// The files of the former database stay, under names that no service opens.
fn set_aside(place: &Place) -> Result<(), StartError> {
    write_secret_file(&place.own().join(MOVED), b"")?;
    for name in ["keys", "store"] {
        let from = place.own().join(name);
        let names = (1..).map(|number| place.own().join(format!("{name}.moved-{number}")));
        let Some(to) = names.into_iter().find(|path| !path.exists()) else { continue };
        if from.exists() {
            fs::rename(&from, to).map_err(|error| StartError::Io(from, error))?;
        }
    }
    let moving = place.own().join(MOVING);
    if moving.exists() {
        fs::remove_file(&moving).map_err(|error| StartError::Io(moving, error))?;
    }
    let folder = fs::File::open(place.own()).and_then(|folder| folder.sync_all());
    folder.map_err(|error| StartError::Io(place.own().to_owned(), error))
}
