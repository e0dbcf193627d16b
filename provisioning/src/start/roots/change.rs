//! The change of the root keys: a request, and the acceptance of what was signed.

use std::path::Path;
use std::slice;
use std::sync::Arc;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::random::{self, Random};
use tessera_runtime::secret::write_secret_file;
use tessera_runtime::sql::{Batch, Database};
use tessera_runtime::store::StoreError;
use tessera_token::encoding::hex;
use tessera_token::key::{SecretKey, Thumbprint};
use tessera_token::limits::ROOT_LINKS;
use tessera_token::trust::{RootLink, RootRequest, RootSet, Roots, TrustError};

use super::take_up::put;
use super::{file, founder_of, links, set, TakeUp};
use crate::audit::{Actor, Entry, Pending};
use crate::database_settings::{DatabaseKey, DatabaseSettings};
use crate::keys::files::{draw, KeyFolder};
use crate::keys::sealed::SealedSeeds;
use crate::keys::seeds::Seeds;
use crate::start::first_run::{is_initialised, FOUNDED, ROOT_FILE};
use crate::start::opening::{self, Place};
use crate::start_error::StartError;
use crate::tables::Tables;
use crate::trust::ledger::Head;

/// The change of the roots that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootChange {
    /// Whether the online root stays.
    pub keeps_online: bool,
    /// The offline root.
    pub offline: OfflineRoot,
    /// Whether the present online root may be in other hands.
    pub compromised: bool,
    /// Whether the seed of the first root or of the present one is lost for good.
    pub seed_lost: bool,
}

/// The offline root of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfflineRoot {
    /// It stays as it is.
    Same,
    /// This one.
    Key(Thumbprint),
    /// There is none any more.
    None,
}

/// A change that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootAccepted {
    /// The number of the set.
    pub number: u64,
    /// Its roots.
    pub roots: Roots,
    /// Whether it was taken before.
    pub again: bool,
}

/// The database of a service that does not run.
struct Stopped {
    database: Database,
    tables: Tables,
    seeds: Seeds,
    /// The key by which the database is known; its seed may be lost.
    founder: Thumbprint,
    key: Option<Arc<SecretKey>>,
}

impl Stopped {
    async fn open(
        data: &Path,
        settings: Option<&DatabaseSettings>,
        seed_lost: bool,
        (clock, random): (&SharedClock, &dyn Random),
    ) -> Result<Self, StartError> {
        if !data.join(ROOT_FILE).exists() {
            return Err(StartError::NotFounded(data.to_owned()));
        }
        let place = Place::make(data)?;
        let database = opening::open(&place, settings, false, clock, random).await?;
        let taking = TakeUp {
            data,
            database: &database,
            tables: &Tables::of(&database),
            random,
            now: clock.unix(),
        };
        let opened = Self::of(&place, settings, &taking, seed_lost).await;
        match opened {
            Ok(Some(opened)) => Ok(opened),
            failed => {
                let _ = database.close().await;
                Err(failed.err().unwrap_or_else(|| StartError::NotFounded(data.to_owned())))
            }
        }
    }

    async fn of(
        place: &Place,
        settings: Option<&DatabaseSettings>,
        taking: &TakeUp<'_>,
        seed_lost: bool,
    ) -> Result<Option<Self>, StartError> {
        let (database, tables, random) = (taking.database, taking.tables, taking.random);
        if !is_initialised(tables, None).await? {
            return Ok(None);
        }
        let seeds = match settings {
            None => Seeds::Files(KeyFolder::open(&place.own().join("keys"))?),
            Some(settings) => {
                let key = DatabaseKey::read(settings, place.own(), random, true)?;
                Seeds::Rows(SealedSeeds::of(database, key.of_seeds()))
            }
        };
        let key = match seeds.root(random, false).await {
            Ok(key) => Some(Arc::new(key)),
            Err(StartError::RootLost(_)) if seed_lost => None,
            Err(error) => return Err(error),
        };
        is_initialised(tables, key.as_deref()).await?;
        taking.run().await?;
        let (database, tables) = (database.clone(), Tables::of(database));
        let founder = founder_of(&tables).await?;
        Ok(Some(Self { database, tables, seeds, founder, key }))
    }

    /// The seed of an online root.
    async fn online(&self, name: &Thumbprint) -> Result<Arc<SecretKey>, StartError> {
        match &self.key {
            Some(key) if self.founder == *name => Ok(Arc::clone(key)),
            _ => Ok(Arc::new(self.seeds.later_root(name).await?)),
        }
    }

    /// The line of this database, with the links behind it that another file has; the set at its end.
    async fn line(
        &self,
        behind: Option<&[Vec<u8>]>,
    ) -> Result<(Vec<Vec<u8>>, RootSet), StartError> {
        let (_, mut whole) = links(&self.tables).await?;
        let here = set(&self.founder, &whole).map_err(StartError::RootLink)?;
        let Some(behind) = behind else { return Ok((whole, here)) };
        let end = here.follow(behind).map_err(StartError::RootLink)?;
        for link in behind {
            let read = RootLink::from_cbor(link).map_err(StartError::RootLink)?;
            if read.step().number > here.number() {
                whole.push(link.clone());
            }
        }
        if whole.len() > ROOT_LINKS {
            return Err(StartError::RootLink(TrustError::TooLarge));
        }
        match end.number() == whole.len() as u64 {
            true => Ok((whole, end)),
            false => Err(StartError::RootLink(TrustError::Order)),
        }
    }

    async fn request(
        &self,
        change: RootChange,
        behind: Option<&RootRequest>,
        clock: &SharedClock,
        random: &dyn Random,
    ) -> Result<RootRequest, StartError> {
        if change.keeps_online && (change.compromised || change.seed_lost) {
            return Err(StartError::Config(
                "an online root whose seed is lost or stolen cannot be kept",
            ));
        }
        let behind = behind.map(whole_of);
        let (links, set) = self.line(behind.as_deref()).await?;
        if links.len() >= ROOT_LINKS {
            return Err(StartError::RootLink(TrustError::TooLarge));
        }
        let present = match self.online(&set.roots().online).await {
            Ok(present) => Some(present),
            // The offline root does not need its signature.
            Err(StartError::RootLost(_)) if change.seed_lost && set.roots().offline.is_some() => {
                None
            }
            Err(error) => return Err(error),
        };
        let fresh = match change.keeps_online {
            true => None,
            false => Some(draw(random).map_err(|_| StartError::Random)?),
        };
        let offline = match change.offline {
            OfflineRoot::Same => set.roots().offline,
            OfflineRoot::Key(key) => Some(key),
            OfflineRoot::None => None,
        };
        let online = fresh.as_ref().map_or(set.roots().online, |key| key.public().thumbprint());
        let to = Roots { online, offline };
        if to == set.roots() || offline == Some(online) {
            return Err(StartError::Config(
                "the change of the roots changes nothing, or names one key twice",
            ));
        }
        let mut link = RootLink::new(set.next(to, clock.unix(), change.compromised));
        // It signs what it is asked for.
        if let Some(present) = present {
            let _ = link.sign(&present);
        }
        if let Some(fresh) = fresh {
            let _ = link.sign(&fresh);
            self.seeds.bound_later_roots(&self.in_use(&links)?).await?;
            let mut batch = Batch::new();
            self.seeds.keep_later_root(&mut batch, random, &fresh)?;
            self.database.commit(batch).await?;
        }
        Ok(RootRequest { links, link })
    }

    async fn accept(
        &self,
        data: &Path,
        signed: &RootRequest,
        clock: &SharedClock,
        random: &dyn Random,
    ) -> Result<RootAccepted, StartError> {
        let (texts, here) = links(&self.tables).await?;
        let present = set(&self.founder, &here).map_err(StartError::RootLink)?;
        let bytes = signed.link.to_cbor();
        if signed.link.step().number == present.number()
            && present.follow(slice::from_ref(&bytes)) == Ok(present)
        {
            let online = present.roots().online;
            self.found_again(&online).await?;
            note(data, &online)?;
            return Ok(RootAccepted {
                number: present.number(),
                roots: present.roots(),
                again: true,
            });
        }
        let (whole, next) = self.line(Some(&whole_of(signed))).await?;
        // A service that could not sign would be taken for one of another root.
        let online = next.roots().online;
        let root = self.online(&online).await?;
        let mut batch = Batch::new();
        put(&self.tables, &mut batch, &texts, &whole);
        // Nothing is published by the former root any more, by no process.
        let head = Head::read(&self.tables).await?;
        head.expect(&self.tables, &mut batch);
        Head { root: next.number(), ..head }.write(&self.tables, &mut batch);
        let now = clock.unix().get();
        let by = Actor::system("machine");
        let name = hex::encode(online.as_bytes());
        let entry = Entry::new(now, &by, "root.accept", "", &name);
        let detail = format!("root set {}", next.number());
        let entry = match self.key {
            Some(_) => entry.detail(detail),
            None => entry.detail(format!("{detail}; the seed of the first root was lost")),
        };
        if self.key.is_none() {
            let before = hex::encode(self.founder.as_bytes());
            self.tables.marks.expect_same(&mut batch, FOUNDED, Some(&before));
            self.tables.marks.put(&mut batch, FOUNDED, &name);
            self.seeds.keep_root(&mut batch, random, &root)?;
        }
        let pending = Pending::from(random::number(random).map_err(|_| StartError::Random)?);
        pending.add(&self.tables, &mut batch, now.saturating_mul(1000), &entry);
        // From here on no loss of the database leads back.
        file::write(data, &whole)?;
        if let Err(error) = self.database.commit(batch).await {
            if matches!(error, StoreError::Conflict { .. }) {
                file::write(data, &here)?;
            }
            return Err(error.into());
        }
        if self.key.is_none() {
            self.seeds.replace_root(&root)?;
        }
        note(data, &online)?;
        self.seeds.forget_later_roots(&self.in_use(&whole)?).await?;
        Ok(RootAccepted { number: next.number(), roots: next.roots(), again: false })
    }

    /// Ends an acceptance that was cut off before the seed of the first root was replaced.
    async fn found_again(&self, online: &Thumbprint) -> Result<(), StartError> {
        match self.key.is_none() && self.founder == *online {
            true => Ok(self.seeds.replace_root(&self.seeds.later_root(online).await?)?),
            false => Ok(()),
        }
    }

    /// The online roots of these links, and the first one: their seeds are none of a request that was given up.
    fn in_use(&self, links: &[Vec<u8>]) -> Result<Vec<Thumbprint>, StartError> {
        let mut names = vec![self.founder];
        for link in links {
            let link = RootLink::from_cbor(link).map_err(StartError::RootLink)?;
            names.extend([link.step().from.online, link.step().to.online]);
        }
        Ok(names)
    }
}

/// The links of a request, with the one that it asks for.
fn whole_of(request: &RootRequest) -> Vec<Vec<u8>> {
    let mut links = request.links.clone();
    links.push(request.link.to_cbor());
    links
}

fn note(data: &Path, online: &Thumbprint) -> Result<(), StartError> {
    let text = format!("{}\n", hex::encode(online.as_bytes()));
    Ok(write_secret_file(&data.join(ROOT_FILE), text.as_bytes())?)
}

/// Makes the link to other roots, with the signatures of the keys that are here. A new online root is kept with the other
/// seeds, and signs nothing before the link is accepted. `behind` is a change that verifiers have taken and this database
/// does not have: the new link follows it. No process of the service may run.
///
/// # Errors
/// [`StartError`]; then no link is made. [`StartError::RootLost`] when a seed is missing that has to sign.
pub async fn root_request(
    data: &Path,
    settings: Option<&DatabaseSettings>,
    (change, behind): (RootChange, Option<&RootRequest>),
    clock: &SharedClock,
    random: &dyn Random,
) -> Result<RootRequest, StartError> {
    let stopped = Stopped::open(data, settings, change.seed_lost, (clock, random)).await?;
    let made = stopped.request(change, behind, clock, random).await;
    closed(&stopped.database, made).await
}

/// Takes a link that has all its signatures, with those before it that the database does not have: from the next start on its
/// online root signs. Audited as `root.accept`. With `seed_lost` it also takes the place of the first root, when the seed of
/// that is missing. No process of the service may run.
///
/// # Errors
/// [`StartError::RootLink`] when it does not follow the present roots, or a signature is missing.
pub async fn root_accept(
    data: &Path,
    settings: Option<&DatabaseSettings>,
    (signed, seed_lost): (&RootRequest, bool),
    clock: &SharedClock,
    random: &dyn Random,
) -> Result<RootAccepted, StartError> {
    let stopped = Stopped::open(data, settings, seed_lost, (clock, random)).await?;
    let taken = stopped.accept(data, signed, clock, random).await;
    closed(&stopped.database, taken).await
}

async fn closed<T>(database: &Database, done: Result<T, StartError>) -> Result<T, StartError> {
    let closed: Result<(), StoreError> = database.close().await;
    let done = done?;
    closed?;
    Ok(done)
}
