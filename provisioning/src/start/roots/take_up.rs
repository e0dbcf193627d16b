//! A database takes up the links of its folder that it does not have: a part of it was lost, or it came back from an older
//! copy. Verifiers have taken them, and follow none back.

use std::path::Path;

use tessera_runtime::random::{self, Random};
use tessera_runtime::sql::{Batch, Database};
use tessera_runtime::store::StoreError;
use tessera_token::encoding::{base64url, hex};
use tessera_token::time::UnixSeconds;
use tessera_token::trust::TrustError;

use super::{file, founder_of, links, set, LINKS, LINKS_FILE};
use crate::audit::{Actor, Entry, Pending};
use crate::start_error::StartError;
use crate::tables::Tables;
use crate::trust::ledger::Head;

/// The database, its folder, and the parts of an audit entry.
pub(in crate::start) struct TakeUp<'a> {
    pub(in crate::start) data: &'a Path,
    pub(in crate::start) database: &'a Database,
    pub(in crate::start) tables: &'a Tables,
    pub(in crate::start) random: &'a dyn Random,
    pub(in crate::start) now: UnixSeconds,
}

impl TakeUp<'_> {
    /// Makes the links of the database and those of the folder the same, which are the longer ones.
    pub(in crate::start) async fn run(&self) -> Result<(), StartError> {
        loop {
            match self.attempt().await {
                // Another process of the database takes them up too.
                Err(StartError::Store(StoreError::Conflict { .. }))
                    if self.database.is_shared() => {}
                done => return done,
            }
        }
    }

    async fn attempt(&self) -> Result<(), StartError> {
        let (texts, here) = links(self.tables).await?;
        let known = file::read(self.data)?;
        let path = || self.data.join(LINKS_FILE);
        let whole = file::longer(&here, &known).map_err(|_| StartError::RootLines(path()))?;
        if whole.len() > known.len() {
            file::write(self.data, whole)?;
        }
        if whole.len() == here.len() {
            return Ok(());
        }
        let fault = |error: TrustError| StartError::RootLinksFile(path(), error);
        let set = set(&founder_of(self.tables).await?, whole).map_err(fault)?;
        tracing::error!(
            database = here.len(),
            folder = set.number(),
            "the database has fewer root links than its folder: it lost a part, or is an older copy. It takes them up"
        );
        let mut batch = Batch::new();
        put(self.tables, &mut batch, &texts, whole);
        let head = Head::read(self.tables).await?;
        head.expect(self.tables, &mut batch);
        Head { root: set.number(), ..head }.write(self.tables, &mut batch);
        let (by, now) = (Actor::service(), self.now.get());
        let name = hex::encode(set.roots().online.as_bytes());
        let entry = Entry::new(now, &by, "root.take-up", "", &name);
        let entry = entry.detail(format!("root set {}, from root.links", set.number()));
        let pending = random::number(self.random).map_err(|_| StartError::Random)?;
        Pending::from(pending).add(self.tables, &mut batch, now.saturating_mul(1000), &entry);
        self.database.commit(batch).await?;
        Ok(())
    }
}

/// Puts these links in the place of those that the mark has.
pub(in crate::start) fn put(
    tables: &Tables,
    batch: &mut Batch,
    before: &[String],
    whole: &[Vec<u8>],
) {
    let before = Some(before.to_vec()).filter(|texts| !texts.is_empty());
    tables.marks.expect_same(batch, LINKS, before.as_ref());
    let texts: Vec<String> = whole.iter().map(|link| base64url(link)).collect();
    tables.marks.put(batch, LINKS, &texts);
}
