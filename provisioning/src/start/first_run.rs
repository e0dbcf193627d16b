//! The first start in a folder. It may be cut off at any moment: until the one write at its end, the next start begins
//! again and only the root key stays.

use std::path::Path;

use tessera_runtime::random::Random;
use tessera_runtime::secret::{write_secret_file, Secret};
use tessera_runtime::sql::{Batch, Database};
use tessera_runtime::store::StoreError;
use tessera_token::encoding::hex;
use tessera_token::ids::{GroupId, RoleId, TenantId};
use tessera_token::key::{KeyId, SecretKey};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::Change;

use super::roots::{self, Standing};
use super::FirstStart;
use crate::audit::{Actor, Entry, Pending};
use crate::clock;
use crate::keys::fresh;
use crate::keys::issuers::IssuerKeys;
use crate::keys::seeds::Seeds;
use crate::operators::{self, OperatorRole};
use crate::records::keys::KeyRecord;
use crate::records::{RoleClass, RoleProgress, RoleRecord, TenantRecord};
use crate::registry::tenants::DEFAULT_GROUP;
use crate::registry::{groups, templates};
use crate::start_error::StartError;
use crate::tables::{one, pair, Tables};
use crate::trust::ledger::{self, Head};

pub(super) const FOUNDED: &str = "founded";
const DEFAULT_TENANT: &str = "default";

/// The parts that the first start needs.
pub(super) struct FirstRun<'a> {
    pub(super) dir: &'a Path,
    pub(super) database: &'a Database,
    pub(super) tables: &'a Tables,
    pub(super) seeds: &'a Seeds,
    pub(super) keys: &'a IssuerKeys,
    /// The key by which the database is known.
    pub(super) founder: &'a SecretKey,
    /// The key that signs: another one when the folder has links of a database that was lost.
    pub(super) standing: &'a Standing,
    pub(super) random: &'a dyn Random,
    pub(super) pending: &'a Pending,
    pub(super) now: UnixSeconds,
}

/// Whether the folder holds a whole service, and whether it is the one of this root key.
pub(super) async fn is_initialised(
    tables: &Tables,
    root: Option<&SecretKey>,
) -> Result<bool, StartError> {
    match (tables.marks.get::<String>(FOUNDED).await?, root) {
        (None, _) => Ok(false),
        (Some(_), None) => Ok(true),
        (Some(thumbprint), Some(root)) if thumbprint == name_of(root) => Ok(true),
        _ => Err(StartError::Keys),
    }
}

/// The thumbprint of the root key, by which a database knows it.
pub(super) fn name_of(root: &SecretKey) -> String {
    hex::encode(root.public().thumbprint().as_bytes())
}

/// Founds the service: tenant, roles, accounts, keys.
pub(super) async fn initialise(first_run: &FirstRun<'_>) -> Result<Founded, StartError> {
    let FirstRun { dir, database, tables, founder, standing, .. } = *first_run;
    let Standing { root, links } = standing;
    let mut batch = Batch::new();
    let tenant = TenantId::parse(DEFAULT_TENANT).map_err(|_| StartError::Internal)?;
    let (changes, keys) = tenant_and_keys(first_run, &mut batch, &tenant).await?;
    if !links.is_empty() {
        let (before, _) = roots::links(tables).await?;
        roots::put(tables, &mut batch, &before, links);
    }
    Head::read(tables).await?.expect(tables, &mut batch);
    let head = Head { root: links.len() as u64, ..Head::default() };
    ledger::chain(tables, &mut batch, head, &changes, root, first_run.now)
        .map_err(|_| StartError::Internal)?
        .write(tables, &mut batch);
    roles(tables, &mut batch, &tenant)?;
    let operator_token = account(first_run, &mut batch, BOOTSTRAP_NAME, BOOTSTRAP_FILE, BOOTSTRAP)?;
    account(first_run, &mut batch, "feed", FEED_FILE, &[OperatorRole::Feed])?;
    let by = Actor::service();
    let entry = Entry::new(first_run.now.get(), &by, "service.found", DEFAULT_TENANT, "service");
    first_run.pending.add(tables, &mut batch, first_run.now.get().saturating_mul(1000), &entry);
    let thumbprint = name_of(founder);
    write_secret_file(&dir.join(ROOT_FILE), format!("{}\n", name_of(root)).as_bytes())?;
    clock::begin(&mut batch, tables, first_run.now);
    tables.marks.expect_same::<String>(&mut batch, FOUNDED, None);
    tables.marks.put(&mut batch, FOUNDED, &thumbprint);
    first_run.seeds.keep_root(&mut batch, first_run.random, founder)?;
    match database.commit(batch).await {
        Ok(()) => Ok(Founded::Here(FirstStart { operator_token })),
        Err(StoreError::Conflict { .. }) if database.is_shared() => {
            for file in FILES {
                forget(&dir.join(file))?;
            }
            fresh::forget(first_run.keys, &keys).await;
            Ok(Founded::Elsewhere)
        }
        Err(error) => Err(error.into()),
    }
}

/// The outcome of a founding.
pub(super) enum Founded {
    Here(FirstStart),
    /// Another process of the database was first.
    Elsewhere,
}

/// The files that a founding leaves in the folder.
const FILES: [&str; 3] = [BOOTSTRAP_FILE, FEED_FILE, ROOT_FILE];
const FEED_FILE: &str = "feed.token";
pub(super) const ROOT_FILE: &str = "root.thumbprint";

/// Tokens of a service that was not founded open nothing.
fn forget(path: &Path) -> Result<(), StartError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StartError::Io(path.to_owned(), error))
        }
        _ => Ok(()),
    }
}

/// Says in the folder which root key signs, before it does; other processes of a database have folders of their own. `former` are root keys that links have
/// led away from.
pub(super) fn note_root(dir: &Path, root: &SecretKey, former: &[String]) -> Result<(), StartError> {
    let (path, thumbprint) = (dir.join(ROOT_FILE), name_of(root));
    if path.exists() {
        let known = std::fs::read_to_string(&path).map_err(|error| StartError::Io(path, error))?;
        let known = known.trim();
        if known == thumbprint {
            return Ok(());
        }
        if !former.iter().any(|former| former == known) {
            return Err(StartError::RootBehind(dir.join(ROOT_FILE)));
        }
        let path = dir.join(ROOT_FILE);
        return Ok(write_secret_file(&path, format!("{thumbprint}\n").as_bytes())?);
    }
    Ok(write_secret_file(&path, format!("{thumbprint}\n").as_bytes())?)
}

/// The first account, and where its token is.
pub(super) const BOOTSTRAP_NAME: &str = "bootstrap";
pub(super) const BOOTSTRAP_FILE: &str = "operator.token";
pub(super) const BOOTSTRAP: &[OperatorRole] =
    &[OperatorRole::Viewer, OperatorRole::Fleet, OperatorRole::Security, OperatorRole::Admin];

async fn tenant_and_keys(
    first_run: &FirstRun<'_>,
    batch: &mut Batch,
    tenant: &TenantId,
) -> Result<(Vec<Change>, [(KeyId, KeyRecord); 2]), StartError> {
    let (tables, now) = (first_run.tables, first_run.now.get());
    let mut record = TenantRecord::new(false, now);
    let group = GroupId::parse(DEFAULT_GROUP).map_err(|_| StartError::Internal)?;
    groups::found(tables, batch, tenant, &group, &mut record, now).await?;
    batch.put(&tables.tenants, one(tenant.as_str()), &record);
    let mut changes = vec![Change::Tenant(record.trust(tenant))];
    let (keys, random) = (first_run.keys, first_run.random);
    let keys = fresh::first_pair(tables, keys, random, tenant, batch, now).await?;
    for (_, key) in &keys {
        changes.push(key.change(tenant).map_err(|_: RefusalCode| StartError::Internal)?);
    }
    Ok((changes, keys))
}

fn roles(tables: &Tables, batch: &mut Batch, tenant: &TenantId) -> Result<(), StartError> {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let sensor = RoleRecord {
        class: RoleClass::Device,
        publish: texts(&["d/{device}/telemetry"]),
        subscribe: texts(&["d/{device}/cmd"]),
        token_seconds: None,
        progress: RoleProgress::default(),
        refresh_tokens: false,
    };
    let backend = RoleRecord {
        class: RoleClass::Service,
        publish: texts(&["d/+/cmd"]),
        subscribe: texts(&["d/+/telemetry", "$tessera/alerts"]),
        token_seconds: None,
        progress: RoleProgress::default(),
        refresh_tokens: false,
    };
    for (name, role) in [("sensor", sensor), ("backend", backend)] {
        templates::check(&role).map_err(|_| StartError::Internal)?;
        let id = RoleId::parse(name).map_err(|_| StartError::Internal)?;
        batch.put(&tables.roles, pair(tenant, id.as_str()), &role);
    }
    Ok(())
}

fn account(
    first_run: &FirstRun<'_>,
    batch: &mut Batch,
    name: &str,
    file: &str,
    roles: &[OperatorRole],
) -> Result<Secret<String>, StartError> {
    let token = operators::draw(first_run.random).map_err(|_| StartError::Random)?;
    write_secret_file(&first_run.dir.join(file), token.expose().as_bytes())?;
    let account = (name, operators::Tenants::All);
    operators::put(first_run.tables, batch, account, &token, roles, first_run.now.get());
    Ok(token)
}
