//! The root key that signs, behind the links that lead to it from the first one; and the change of it, while no service runs.
//!
//! The first root key stays the name of the database, and the key of refresh tokens. The links are one mark.

use std::path::Path;
use std::sync::Arc;

use tessera_runtime::clock::SharedClock;
use tessera_runtime::random::{self, Random};
use tessera_runtime::secret::write_secret_file;
use tessera_runtime::sql::{Batch, Database};
use tessera_runtime::store::StoreError;
use tessera_token::encoding::{base64url, from_base64url, hex};
use tessera_token::key::{SecretKey, Thumbprint};
use tessera_token::limits::ROOT_LINKS;
use tessera_token::trust::{RootLink, RootRequest, RootSet, Roots, TrustError};

use super::first_run::{is_initialised, ROOT_FILE};
use super::opening::{self, Place};
use crate::audit::{Actor, Entry, Pending};
use crate::database_settings::{DatabaseKey, DatabaseSettings};
use crate::keys::files::{draw, KeyFolder};
use crate::keys::sealed::SealedSeeds;
use crate::keys::seeds::Seeds;
use crate::start_error::StartError;
use crate::tables::Tables;
use crate::trust::ledger::Head;

const LINKS: &str = "root_links";

/// The change of the roots that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootChange {
    /// Whether the online root stays.
    pub keeps_online: bool,
    /// The offline root.
    pub offline: OfflineRoot,
    /// Whether the present online root may be in other hands.
    pub compromised: bool,
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

/// The root key that signs now.
pub(super) struct Standing {
    pub(super) root: Arc<SecretKey>,
    /// The links that lead to it, oldest first.
    pub(super) links: Arc<Vec<Vec<u8>>>,
}

/// The links of the database.
async fn links(tables: &Tables) -> Result<(Vec<String>, Vec<Vec<u8>>), StartError> {
    let texts = tables.marks.get::<Vec<String>>(LINKS).await?.unwrap_or_default();
    let links = texts.iter().map(|text| from_base64url(text)).collect::<Option<_>>();
    let links = links.ok_or(StartError::RootLink(TrustError::Malformed))?;
    Ok((texts, links))
}

/// The number of the root set of this database.
pub(super) async fn number(tables: &Tables) -> Result<u64, StartError> {
    Ok(links(tables).await?.1.len() as u64)
}

fn set(founder: &SecretKey, links: &[Vec<u8>]) -> Result<RootSet, StartError> {
    let online = founder.public().thumbprint();
    let pinned = RootSet::pinned(Roots { online, offline: None });
    pinned.follow(links).map_err(StartError::RootLink)
}

/// The key at the end of the links of this database.
pub(super) async fn standing(
    tables: &Tables,
    seeds: &Seeds,
    founder: &Arc<SecretKey>,
) -> Result<Standing, StartError> {
    let (_, links) = links(tables).await?;
    let set = set(founder, &links)?;
    if Head::read(tables).await?.root != set.number() {
        // A part of the database was lost.
        return Err(StartError::RootLink(TrustError::Root));
    }
    let online = set.roots().online;
    let root = match online == founder.public().thumbprint() {
        true => Arc::clone(founder),
        false => Arc::new(seeds.later_root(&online).await?),
    };
    Ok(Standing { root, links: Arc::new(links) })
}

/// Online roots that the links name, as hexadecimal digits: a file in a folder may still hold a former one.
pub(super) fn former(links: &[Vec<u8>]) -> Vec<String> {
    let links = links.iter().filter_map(|link| RootLink::from_cbor(link).ok());
    links.map(|link| hex::encode(link.step().from.online.as_bytes())).collect()
}

/// The database of a service that does not run.
struct Stopped {
    database: Database,
    tables: Tables,
    seeds: Seeds,
    founder: Arc<SecretKey>,
}

impl Stopped {
    async fn open(
        data: &Path,
        settings: Option<&DatabaseSettings>,
        clock: &SharedClock,
        random: &dyn Random,
    ) -> Result<Self, StartError> {
        if !data.join(ROOT_FILE).exists() {
            return Err(StartError::NotFounded(data.to_owned()));
        }
        let place = Place::make(data)?;
        let database = opening::open(&place, settings, false, clock, random).await?;
        let opened = Self::of(&place, settings, database.clone(), random).await;
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
        database: Database,
        random: &dyn Random,
    ) -> Result<Option<Self>, StartError> {
        let tables = Tables::of(&database);
        if !is_initialised(&tables, None).await? {
            return Ok(None);
        }
        let seeds = match settings {
            None => Seeds::Files(KeyFolder::open(&place.own().join("keys"))?),
            Some(settings) => {
                let key = DatabaseKey::read(settings, place.own(), random, true)?;
                Seeds::Rows(SealedSeeds::of(&database, key.of_seeds()))
            }
        };
        let founder = Arc::new(seeds.root(random, false).await?);
        is_initialised(&tables, Some(&founder)).await?;
        Ok(Some(Self { database, tables, seeds, founder }))
    }

    async fn request(
        &self,
        change: RootChange,
        clock: &SharedClock,
        random: &dyn Random,
    ) -> Result<RootRequest, StartError> {
        let (_, links) = links(&self.tables).await?;
        if links.len() >= ROOT_LINKS {
            return Err(StartError::RootLink(TrustError::TooLarge));
        }
        let set = set(&self.founder, &links)?;
        let present = standing(&self.tables, &self.seeds, &self.founder).await;
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
        // It signs what it is asked for. A root that is lost cannot, and the offline root does not need it.
        if let Ok(present) = &present {
            let _ = link.sign(&present.root);
        } else if change.keeps_online || set.roots().offline.is_none() {
            present?;
        }
        if let Some(fresh) = fresh {
            let _ = link.sign(&fresh);
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
        let (mut texts, links) = links(&self.tables).await?;
        let set = set(&self.founder, &links)?;
        let bytes = signed.link.to_cbor();
        let accepted =
            |set: RootSet, again| RootAccepted { number: set.number(), roots: set.roots(), again };
        if links.last() == Some(&bytes) {
            note(data, &set.roots().online)?;
            return Ok(accepted(set, true));
        }
        let next = set.step(&signed.link).map_err(StartError::RootLink)?;
        // A service that could not sign would be taken for one of another root.
        let online = next.roots().online;
        if online != self.founder.public().thumbprint() {
            self.seeds.later_root(&online).await?;
        }
        let mut batch = Batch::new();
        let before = Some(&texts).filter(|texts| !texts.is_empty()).cloned();
        self.tables.marks.expect_same(&mut batch, LINKS, before.as_ref());
        texts.push(base64url(&bytes));
        self.tables.marks.put(&mut batch, LINKS, &texts);
        // Nothing is published by the former root any more, by no process.
        let head = Head::read(&self.tables).await?;
        head.expect(&self.tables, &mut batch);
        Head { root: next.number(), ..head }.write(&self.tables, &mut batch);
        let now = clock.unix().get();
        let by = Actor::system("machine");
        let name = hex::encode(online.as_bytes());
        let entry = Entry::new(now, &by, "root.accept", "", &name);
        let entry = entry.detail(format!("root set {}", next.number()));
        let pending = Pending::from(random::number(random).map_err(|_| StartError::Random)?);
        pending.add(&self.tables, &mut batch, now.saturating_mul(1000), &entry);
        self.database.commit(batch).await?;
        note(data, &online)?;
        Ok(accepted(next, false))
    }
}

fn note(data: &Path, online: &Thumbprint) -> Result<(), StartError> {
    let text = format!("{}\n", hex::encode(online.as_bytes()));
    Ok(write_secret_file(&data.join(ROOT_FILE), text.as_bytes())?)
}

/// Makes the link to other roots, with the signatures of the keys that are here. A new online root is kept with the other
/// seeds, and signs nothing before the link is accepted. No process of the service may run.
///
/// # Errors
/// [`StartError`]; then nothing is changed.
pub async fn root_request(
    data: &Path,
    settings: Option<&DatabaseSettings>,
    change: RootChange,
    clock: &SharedClock,
    random: &dyn Random,
) -> Result<RootRequest, StartError> {
    let stopped = Stopped::open(data, settings, clock, random).await?;
    let made = stopped.request(change, clock, random).await;
    closed(&stopped.database, made).await
}

/// Takes a link that has all its signatures: from the next start on its online root signs. Audited as `root.accept`. No
/// process of the service may run.
///
/// # Errors
/// [`StartError::RootLink`] when it does not follow the present roots, or a signature is missing.
pub async fn root_accept(
    data: &Path,
    settings: Option<&DatabaseSettings>,
    signed: &RootRequest,
    clock: &SharedClock,
    random: &dyn Random,
) -> Result<RootAccepted, StartError> {
    let stopped = Stopped::open(data, settings, clock, random).await?;
    let taken = stopped.accept(data, signed, clock, random).await;
    closed(&stopped.database, taken).await
}

async fn closed<T>(database: &Database, done: Result<T, StartError>) -> Result<T, StartError> {
    let closed: Result<(), StoreError> = database.close().await;
    let done = done?;
    closed?;
    Ok(done)
}
