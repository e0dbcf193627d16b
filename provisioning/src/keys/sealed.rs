//! Seeds in rows, sealed to a key that every process of the database has in a file and the database does not.

use std::sync::Arc;

use tessera_runtime::random::{self, Random};
use tessera_runtime::sql::{Batch, Database, Key, Record, Row, Table, Value};
use tessera_runtime::store::StoreError;
use tessera_token::encoding::hex;
use tessera_token::key::{KeyId, SecretKey, Thumbprint};
use tessera_token::seal::{seal, OpeningKey};

use super::seeds::SeedError;
use crate::tables::one;

const ROOT: &str = "root";
const INFO: &[u8] = b"tessera-seed-1";

/// The row of a seed.
struct SealedSeed(Vec<u8>);

impl Record for SealedSeed {
    const TABLE: &'static str = "sealed_seeds";
    const KEY: &'static [&'static str] = &["name"];
    const COLUMNS: &'static [&'static str] = &["sealed"];

    fn values(&self) -> Vec<Value> {
        vec![self.0.as_slice().into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        row.blob().map(Self)
    }
}

/// The table of sealed seeds, with the key that opens them.
#[derive(Clone)]
pub(crate) struct SealedSeeds {
    database: Database,
    table: Table<SealedSeed>,
    key: Arc<OpeningKey>,
}

impl SealedSeeds {
    /// `key` is that of the database.
    pub(crate) fn of(database: &Database, key: OpeningKey) -> Self {
        Self { database: database.clone(), table: database.table(), key: Arc::new(key) }
    }

    pub(super) async fn root(&self) -> Result<SecretKey, SeedError> {
        self.open(ROOT).await
    }

    pub(super) fn put_root(
        &self,
        batch: &mut Batch,
        random: &dyn Random,
        root: &SecretKey,
    ) -> Result<(), SeedError> {
        self.seal(batch, random, ROOT, root)
    }

    pub(super) fn put_later_root(
        &self,
        batch: &mut Batch,
        random: &dyn Random,
        root: &SecretKey,
    ) -> Result<(), SeedError> {
        self.seal(batch, random, &later_root(&root.public().thumbprint()), root)
    }

    pub(super) async fn later_root(&self, name: &Thumbprint) -> Result<SecretKey, SeedError> {
        self.open(&later_root(name)).await
    }

    /// The later roots that have a row.
    pub(super) async fn later_roots(&self) -> Result<Vec<KeyId>, StoreError> {
        let mut found = Vec::new();
        let mut rows = self.table.walk(&[]);
        while let Some(page) = rows.next().await? {
            for (key, _) in page {
                let Some(Value::Text(name)) = key.first() else { continue };
                let id = name.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('-'));
                let id = id.and_then(hex::decode).and_then(|id| id.try_into().ok());
                found.extend(id.map(KeyId::from_bytes));
            }
        }
        Ok(found)
    }

    pub(super) fn forget_later_root(&self, batch: &mut Batch, id: KeyId) {
        batch.delete(&self.table, name(&format!("{ROOT}-{id}")));
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.database.commit(batch).await
    }

    pub(super) fn put(
        &self,
        batch: &mut Batch,
        random: &dyn Random,
        key: &SecretKey,
    ) -> Result<KeyId, SeedError> {
        let id = key.public().key_id();
        self.seal(batch, random, &id.to_string(), key)?;
        Ok(id)
    }

    pub(super) async fn load(&self, id: KeyId) -> Result<SecretKey, SeedError> {
        let key = self.open(&id.to_string()).await?;
        match key.public().key_id() == id {
            true => Ok(key),
            false => Err(SeedError::Unfit("holds another key")),
        }
    }

    /// A row that stays is sealed, and its key signs nothing that counts.
    pub(super) async fn forget(&self, id: KeyId) {
        let mut batch = Batch::new();
        batch.delete(&self.table, name(&id.to_string()));
        if let Err(error) = self.database.commit(batch).await {
            tracing::warn!(key = %id, %error, "the sealed seed of a retired key was not removed");
        }
    }

    fn seal(
        &self,
        batch: &mut Batch,
        random: &dyn Random,
        of: &str,
        key: &SecretKey,
    ) -> Result<(), SeedError> {
        let drawn =
            random::bytes::<32>(random).map_err(|_| SeedError::Unfit("got no randomness"))?;
        let sealed =
            seal(&self.key.public(), drawn, INFO, of.as_bytes(), key.expose_seed().as_slice());
        let sealed = sealed.ok_or(SeedError::Unfit("could not be sealed"))?;
        batch.put(&self.table, name(of), &SealedSeed(sealed));
        Ok(())
    }

    async fn open(&self, of: &str) -> Result<SecretKey, SeedError> {
        let row = self.table.get(name(of)).await?.ok_or(SeedError::Missing)?;
        let seed = self.key.open(&row.0, INFO, of.as_bytes());
        let seed = seed.ok_or(SeedError::Unfit("is not sealed to the key of this database"))?;
        let seed = seed.as_slice().try_into().map_err(|_| SeedError::Unfit("is no seed"))?;
        Ok(SecretKey::from_seed(seed))
    }
}

fn later_root(name: &Thumbprint) -> String {
    format!("{ROOT}-{}", name.key_id())
}

fn name(of: &str) -> Key {
    one(of)
}
