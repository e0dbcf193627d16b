//! The beginning of a start: the service that the database holds, with its root key, or a new one.

use std::sync::Arc;

use tessera_runtime::pkcs11::Module;
use tessera_runtime::random::Random;
use tessera_runtime::sql::Database;
use tessera_token::key::SecretKey;
use tessera_token::time::UnixSeconds;

use super::first_run::{initialise, is_initialised, note_root, FirstRun, Founded};
use super::opening::Place;
use super::roots::{Standing, TakeUp};
use super::{mend, roots, seen, FirstStart};
use crate::audit::Pending;
use crate::config::ProvisioningConfig;
use crate::database_settings::DatabaseKey;
use crate::keys::files::KeyFolder;
use crate::keys::issuers::IssuerKeys;
use crate::keys::sealed::SealedSeeds;
use crate::keys::seeds::Seeds;
use crate::start_error::StartError;
use crate::tables::Tables;
use crate::trust::restored;

/// The parts that a beginning needs.
pub(super) struct Begin<'a> {
    pub(super) config: &'a ProvisioningConfig,
    pub(super) place: &'a Place,
    pub(super) database: &'a Database,
    pub(super) tables: &'a Tables,
    pub(super) random: &'a dyn Random,
    pub(super) pending: &'a Pending,
    /// Where issuer keys are made, when not here.
    pub(super) module: Option<Module>,
    pub(super) now: UnixSeconds,
}

/// A service that is there.
pub(super) struct Begun {
    pub(super) keys: IssuerKeys,
    /// The key that signs.
    pub(super) root: Arc<SecretKey>,
    /// The links that lead from the first root key to it.
    pub(super) links: Arc<Vec<Vec<u8>>>,
    /// The first root key, by which the database is known.
    pub(super) founder: Arc<SecretKey>,
    /// `None` when it was there before.
    pub(super) first_start: Option<FirstStart>,
    /// That of a database which several processes share.
    pub(super) key: Option<DatabaseKey>,
}

impl Begin<'_> {
    pub(super) async fn begin(&self) -> Result<Begun, StartError> {
        loop {
            if let Some(begun) = self.attempt().await? {
                self.place.done()?;
                return Ok(begun);
            }
        }
    }

    /// `None` when another process has founded the service meanwhile.
    async fn attempt(&self) -> Result<Option<Begun>, StartError> {
        let (tables, random) = (self.tables, self.random);
        let is_there = is_initialised(tables, None).await?;
        let (seeds, key) = self.seeds(is_there)?;
        let keys = IssuerKeys::of(seeds.clone(), self.module.clone());
        let founded = match self.database.is_shared() {
            true => self.shared(is_there).await.map(|()| is_there)?,
            false => self.own(&seeds).await?,
        };
        let root = Arc::new(seeds.root(random, !founded).await?);
        let is_ours = match is_initialised(tables, Some(&root)).await {
            // Another process founded the service after the look above, by another root key than the one drawn here.
            Err(StartError::Keys) if !founded && self.database.is_shared() => return Ok(None),
            looked => looked?,
        };
        if is_ours {
            let founder = root;
            self.take_up().run().await?;
            let Standing { root, links } = roots::standing(tables, &seeds, &founder).await?;
            note_root(&self.config.data_dir, &root, &roots::former(&links))?;
            return Ok(Some(Begun { keys, root, links, founder, first_start: None, key }));
        }
        // A database that was lost had come so far.
        let known = roots::known(&self.config.data_dir, tables).await?;
        let standing = roots::at_the_end(&seeds, &root, known).await?;
        let first_run = FirstRun {
            dir: &self.config.data_dir,
            database: self.database,
            tables,
            seeds: &seeds,
            keys: &keys,
            founder: &root,
            standing: &standing,
            random,
            pending: self.pending,
            now: self.now,
        };
        Ok(match initialise(&first_run).await? {
            Founded::Here(first) => {
                let (Standing { root, links }, founder) = (standing, root);
                Some(Begun { keys, root, links, founder, first_start: Some(first), key })
            }
            Founded::Elsewhere => None,
        })
    }

    fn take_up(&self) -> TakeUp<'_> {
        TakeUp {
            data: &self.config.data_dir,
            database: self.database,
            tables: self.tables,
            random: self.random,
            now: self.now,
        }
    }

    fn seeds(&self, is_there: bool) -> Result<(Seeds, Option<DatabaseKey>), StartError> {
        let own = self.place.own();
        let Some(settings) = &self.config.database else {
            return Ok((Seeds::Files(KeyFolder::open(&own.join("keys"))?), None));
        };
        let key = DatabaseKey::read(settings, own, self.random, is_there)?;
        let seeds = Seeds::Rows(SealedSeeds::of(self.database, key.of_seeds()));
        Ok((seeds, Some(key)))
    }

    /// Whether the database in the folder holds a service. After an accepted loss its marks are mended.
    async fn own(&self, seeds: &Seeds) -> Result<bool, StartError> {
        let (place, tables) = (self.place, self.tables);
        let lossy = place.loss()?.is_some();
        if lossy {
            mend::marks(self.database, tables, seeds, self.random).await?;
            // Nothing that the lost part may have given out is given out again.
            self.database.commit(restored::mark(self.database, self.now)).await?;
        }
        let founded = is_initialised(tables, None).await?;
        if !founded {
            if place.had_one() {
                match lossy {
                    true => self.not_behind(seeds).await?,
                    false => return Err(StartError::StoreLost(place.store())),
                }
            }
            place.begin()?;
        }
        Ok(founded)
    }

    /// The root that signed last is the one that will sign. Verifiers follow no former one.
    async fn not_behind(&self, seeds: &Seeds) -> Result<(), StartError> {
        let dir = &self.config.data_dir;
        let known = roots::known(dir, self.tables).await?;
        let founder = match seeds.root(self.random, false).await {
            // Nothing of the service is left.
            Err(StartError::RootLost(_)) if known.is_empty() => return Ok(()),
            root => Arc::new(root?),
        };
        let standing = roots::at_the_end(seeds, &founder, known).await?;
        note_root(dir, &standing.root, &roots::former(&standing.links))
    }

    /// Whether a database on a server is the one that this folder knows, and has all that was acknowledged from here.
    async fn shared(&self, is_there: bool) -> Result<(), StartError> {
        let place = self.place;
        if !is_there {
            return match place.had_one() {
                true => Err(StartError::DatabaseEmpty(self.config.data_dir.clone())),
                false => place.begin(),
            };
        }
        let is_marked = restored::is_marked(self.tables).await?;
        let older = seen::is_older(place.own(), self.tables).await?;
        if let Some(what) = older.filter(|_| !is_marked) {
            if !self.config.accept_loss {
                return Err(StartError::DatabaseOlder(what));
            }
            tracing::error!(
                what,
                "the database is older than what was acknowledged; this was accepted"
            );
            self.database.commit(restored::mark(self.database, self.now)).await?;
        }
        Ok(())
    }
}
