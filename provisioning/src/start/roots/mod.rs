//! The root key that signs, behind the links that lead to it from the first one; and the change of it, while no service runs.
//!
//! The first root key stays the name of the database, and the key of refresh tokens. The links are one mark, and beside it
//! the file `root.links` of the data folder: a database that lost a part, or came back from an older copy, does not lead back.

use std::sync::Arc;

use tessera_token::encoding::{from_base64url, hex};
use tessera_token::key::{SecretKey, Thumbprint};
use tessera_token::trust::{RootLink, RootSet, Roots, TrustError};

use super::first_run::FOUNDED;
use crate::keys::seeds::Seeds;
use crate::start_error::StartError;
use crate::tables::Tables;
use crate::trust::ledger::Head;

mod change;
mod file;
mod take_up;

pub use change::{root_accept, root_request, OfflineRoot, RootAccepted, RootChange};
pub(super) use file::known;
use file::LINKS_FILE;
pub(super) use take_up::{put, TakeUp};

pub(super) const LINKS: &str = "root_links";

/// The root key that signs now.
pub(super) struct Standing {
    pub(super) root: Arc<SecretKey>,
    /// The links that lead to it, oldest first.
    pub(super) links: Arc<Vec<Vec<u8>>>,
}

/// The links of the database, as the mark has them and as they were signed.
pub(super) async fn links(tables: &Tables) -> Result<(Vec<String>, Vec<Vec<u8>>), StartError> {
    let texts = tables.marks.get::<Vec<String>>(LINKS).await?.unwrap_or_default();
    let links = texts.iter().map(|text| from_base64url(text)).collect::<Option<_>>();
    let links = links.ok_or(StartError::RootLink(TrustError::Malformed))?;
    Ok((texts, links))
}

/// The number of the root set of this database.
pub(super) async fn number(tables: &Tables) -> Result<u64, StartError> {
    Ok(links(tables).await?.1.len() as u64)
}

/// The thumbprint of the key by which the database is known.
async fn founder_of(tables: &Tables) -> Result<Thumbprint, StartError> {
    let text = tables.marks.get::<String>(FOUNDED).await?.unwrap_or_default();
    let bytes = hex::decode(&text).and_then(|bytes| bytes.try_into().ok());
    bytes.map(Thumbprint::from_bytes).ok_or(StartError::Keys)
}

/// The set at the end of these links, which begin with the first root of the service. `founder` is a root of theirs: the
/// first one, or the one that took its place when its seed was lost.
fn set(founder: &Thumbprint, links: &[Vec<u8>]) -> Result<RootSet, TrustError> {
    let Some(first) = links.first() else {
        return Ok(RootSet::pinned(Roots { online: *founder, offline: None }));
    };
    let online = RootLink::from_cbor(first)?.step().from.online;
    let set = RootSet::pinned(Roots { online, offline: None }).follow(links)?;
    let mut is_known = online == *founder;
    for link in links {
        is_known |= RootLink::from_cbor(link)?.step().to.online == *founder;
    }
    match is_known && set.number() == links.len() as u64 {
        true => Ok(set),
        false => Err(TrustError::Root),
    }
}

/// The key at the end of the links of this database.
pub(super) async fn standing(
    tables: &Tables,
    seeds: &Seeds,
    founder: &Arc<SecretKey>,
) -> Result<Standing, StartError> {
    let (_, links) = links(tables).await?;
    if Head::read(tables).await?.root != links.len() as u64 {
        // A part of the database was lost.
        return Err(StartError::RootLink(TrustError::Root));
    }
    at_the_end(seeds, founder, links).await
}

/// The key at the end of these links.
pub(super) async fn at_the_end(
    seeds: &Seeds,
    founder: &Arc<SecretKey>,
    links: Vec<Vec<u8>>,
) -> Result<Standing, StartError> {
    let name = founder.public().thumbprint();
    let online = set(&name, &links).map_err(StartError::RootLink)?.roots().online;
    let root = match online == name {
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
