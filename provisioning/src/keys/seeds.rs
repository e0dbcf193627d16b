//! The seeds of keys: in files of the data folder, or sealed in rows of a database that several processes share.

use std::collections::HashSet;
use std::fmt;

use tessera_runtime::pkcs11::ModuleError;
use tessera_runtime::random::Random;
use tessera_runtime::secret::SecretFileError;
use tessera_runtime::sql::Batch;
use tessera_runtime::store::StoreError;
use tessera_token::ids::TenantId;
use tessera_token::key::{KeyId, SecretKey, SignError, Thumbprint};
use tessera_token::refusal::RefusalCode;

use super::files::{draw, KeyFolder};
use super::sealed::SealedSeeds;
use super::{id_of, tenant_of};
use crate::limits::ROOT_REQUESTS;
use crate::records::keys::{InModule, KeyRecord, State};
use crate::refused::Refused;
use crate::start_error::{LostSeed, StartError};
use crate::tables::Tables;

/// The place of the seeds.
#[derive(Clone)]
pub(crate) enum Seeds {
    /// A file for each, of this machine.
    Files(KeyFolder),
    /// A row for each, for every process that has the key of the database.
    Rows(SealedSeeds),
}

/// A seed that cannot be had, or kept.
#[derive(Debug)]
pub(crate) enum SeedError {
    File(SecretFileError),
    Store(StoreError),
    /// There is no row.
    Missing,
    /// The row cannot be opened, or holds another key.
    Unfit(&'static str),
    /// The security module.
    Module(ModuleError),
}

impl Seeds {
    /// The root key; drawn when there is none and `make` says so. [`Seeds::keep_root`] keeps one that was drawn.
    pub(crate) async fn root(
        &self,
        random: &dyn Random,
        make: bool,
    ) -> Result<SecretKey, StartError> {
        match self {
            Self::Files(folder) => folder.root(random, make),
            Self::Rows(rows) => match rows.root().await {
                Err(SeedError::Missing) if make => draw(random).map_err(|_| StartError::Random),
                Err(SeedError::Missing) => Err(lost_row("root")),
                read => Ok(read?),
            },
        }
    }

    /// Keeps the root key with the batch that founds the service.
    pub(crate) fn keep_root(
        &self,
        batch: &mut Batch,
        random: &dyn Random,
        root: &SecretKey,
    ) -> Result<(), SeedError> {
        match self {
            // It is on the disk since it was drawn.
            Self::Files(_) => Ok(()),
            Self::Rows(rows) => rows.put_root(batch, random, root),
        }
    }

    /// Keeps a root key that links may lead to.
    pub(crate) fn keep_later_root(
        &self,
        batch: &mut Batch,
        random: &dyn Random,
        root: &SecretKey,
    ) -> Result<(), SeedError> {
        match self {
            Self::Files(folder) => Ok(folder.store_later_root(root)?),
            Self::Rows(rows) => rows.put_later_root(batch, random, root),
        }
    }

    /// The root key of this thumbprint, which is not the first one.
    pub(crate) async fn later_root(&self, name: &Thumbprint) -> Result<SecretKey, StartError> {
        let key = match self {
            Self::Files(folder) => folder.later_root(name)?,
            Self::Rows(rows) => match rows.later_root(name).await {
                Err(SeedError::Missing) => Err(lost_row(&format!("root-{}", name.key_id()))),
                read => Ok(read?),
            }?,
        };
        match key.public().thumbprint() == *name {
            true => Ok(key),
            false => Err(StartError::Keys),
        }
    }

    /// Puts a key in the place of the first root, whose seed is lost. In a database, [`Seeds::keep_root`] does it.
    pub(crate) fn replace_root(&self, root: &SecretKey) -> Result<(), SeedError> {
        match self {
            Self::Files(folder) => Ok(folder.replace_root(root)?),
            Self::Rows(_) => Ok(()),
        }
    }

    /// Forgets the seeds of requests for other roots that were given up: `in_use` are the roots that stay.
    pub(crate) async fn forget_later_roots(
        &self,
        in_use: &[Thumbprint],
    ) -> Result<usize, StartError> {
        self.given_up(in_use, 0).await
    }

    /// As [`Seeds::forget_later_roots`], when [`ROOT_REQUESTS`] are open.
    pub(crate) async fn bound_later_roots(
        &self,
        in_use: &[Thumbprint],
    ) -> Result<usize, StartError> {
        self.given_up(in_use, ROOT_REQUESTS).await
    }

    async fn given_up(&self, in_use: &[Thumbprint], most: usize) -> Result<usize, StartError> {
        let stays = |id: &KeyId| in_use.iter().any(|name| name.key_id() == *id);
        match self {
            Self::Files(folder) => {
                let mut found = folder.later_roots()?;
                found.retain(|(id, _)| !stays(id));
                if found.len() < most {
                    return Ok(0);
                }
                for (_, path) in &found {
                    let gone = std::fs::remove_file(path);
                    gone.map_err(|error| StartError::Io(path.clone(), error))?;
                }
                Ok(found.len())
            }
            Self::Rows(rows) => {
                let mut found = rows.later_roots().await?;
                found.retain(|id| !stays(id));
                if found.len() < most || found.is_empty() {
                    return Ok(0);
                }
                let mut batch = Batch::new();
                found.iter().for_each(|id| rows.forget_later_root(&mut batch, *id));
                rows.commit(batch).await?;
                Ok(found.len())
            }
        }
    }

    /// Keeps a seed from before, or with, the batch that names its key.
    pub(crate) fn keep(
        &self,
        batch: &mut Batch,
        random: &dyn Random,
        key: &SecretKey,
    ) -> Result<KeyId, SeedError> {
        match self {
            Self::Files(folder) => Ok(folder.store(key)?),
            Self::Rows(rows) => rows.put(batch, random, key),
        }
    }

    pub(crate) async fn load(&self, id: KeyId) -> Result<SecretKey, SeedError> {
        match self {
            Self::Files(folder) => Ok(folder.load(id)?),
            Self::Rows(rows) => rows.load(id).await,
        }
    }

    /// Forgets the seed of a key that signs no more, or that was drawn for a change that was not written.
    pub(crate) async fn forget(&self, id: KeyId) {
        match self {
            Self::Files(folder) => folder.forget(id),
            Self::Rows(rows) => rows.forget(id).await,
        }
    }

    /// The keys in use that have seeds, those of them that cannot sign, and the keys in modules.
    pub(crate) async fn survey(&self, tables: &Tables) -> Result<Survey, StartError> {
        let mut survey = Survey::default();
        let mut rows = tables.keys.walk(&[]);
        while let Some(page) = rows.next().await? {
            for (key, record) in page {
                let (tenant, id, state) = (tenant_of(&key)?, id_of(&key)?, record.state);
                if let Some(place) = record.module {
                    survey.in_module.push(InModuleKey { tenant, id, state, place });
                    continue;
                }
                if !matches!(state, State::Active | State::Next) {
                    continue;
                }
                survey.named.insert(id);
                let Some(why) = self.lost(id, &record).await? else { continue };
                let place = self.place(id);
                survey.lost.push(LostSeed { tenant, id, state, place, why, in_module: false });
            }
        }
        Ok(survey)
    }

    /// Why this key cannot sign; `None` when it can.
    async fn lost(
        &self,
        id: KeyId,
        record: &KeyRecord,
    ) -> Result<Option<&'static str>, StartError> {
        Ok(match self.load(id).await {
            Ok(key) if key.public_bytes() == record.public => None,
            Ok(_) => Some("holds another key"),
            Err(error) if error.is_gone() => Some("is missing"),
            Err(SeedError::File(SecretFileError::NotASecret(_))) => Some("is no seed"),
            Err(SeedError::Unfit(why)) => Some(why),
            Err(error) => return Err(error.into()),
        })
    }

    /// Removes the seeds that no record of an active or next key names. The root key's stays.
    pub(crate) async fn clear(&self, named: &HashSet<KeyId>) -> Result<(), StartError> {
        match self {
            Self::Files(folder) => folder.clear(named),
            // A row is written with the record that names it: none is left over but that of a key which has ended, and
            // another process may have made one since `named` was read.
            Self::Rows(_) => Ok(()),
        }
    }

    fn place(&self, id: KeyId) -> String {
        match self {
            Self::Files(folder) => folder.path(id).display().to_string(),
            Self::Rows(_) => format!("the row of {id} in sealed_seeds"),
        }
    }
}

/// The seed of a root that has no row.
fn lost_row(name: &str) -> StartError {
    StartError::RootLost(format!("the row {name} in sealed_seeds").into())
}

/// The outcome of a look at the seeds.
#[derive(Default)]
pub(crate) struct Survey {
    /// The keys that need their seeds.
    pub(crate) named: HashSet<KeyId>,
    pub(crate) lost: Vec<LostSeed>,
    /// Of any state.
    pub(crate) in_module: Vec<InModuleKey>,
}

/// A key in a security module.
pub(crate) struct InModuleKey {
    pub(crate) tenant: TenantId,
    pub(crate) id: KeyId,
    pub(crate) state: State,
    pub(crate) place: InModule,
}

impl SeedError {
    fn is_gone(&self) -> bool {
        let not_found = std::io::ErrorKind::NotFound;
        matches!(self, Self::Missing)
            || matches!(self, Self::File(SecretFileError::Io(_, error)) if error.kind() == not_found)
    }
}

impl fmt::Display for SeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Missing => f.write_str("the database has no row of this seed"),
            Self::Unfit(why) => write!(f, "the row of this key {why}"),
            Self::Module(error) => error.fmt(f),
        }
    }
}

impl From<SecretFileError> for SeedError {
    fn from(error: SecretFileError) -> Self {
        Self::File(error)
    }
}

impl From<StoreError> for SeedError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ModuleError> for SeedError {
    fn from(error: ModuleError) -> Self {
        Self::Module(error)
    }
}

impl From<SeedError> for StartError {
    fn from(error: SeedError) -> Self {
        match error {
            SeedError::File(error) => Self::Secret(error),
            SeedError::Store(error) => Self::Store(error),
            SeedError::Module(error) => Self::Module(error),
            SeedError::Missing | SeedError::Unfit(_) => Self::DatabaseKey,
        }
    }
}

impl From<SeedError> for Refused {
    fn from(error: SeedError) -> Self {
        tracing::error!(%error, "issuer key not made");
        match error {
            SeedError::File(error) if error.is_full() => RefusalCode::NotReady.into(),
            SeedError::Store(error) => error.into(),
            SeedError::Module(error) => RefusalCode::from(SignError::from(&error)).into(),
            _ => RefusalCode::Internal.into(),
        }
    }
}
