//! The roots that a verifier trusts: the pinned ones, or those to which links lead from them. Pure.

use tessera_token::key::Thumbprint;
use tessera_token::trust::{RootLink, RootSet, Roots};

use super::refusal::TrustRefusal;

/// The pinned roots, the links that were taken from there, and the set at their end.
#[derive(Clone)]
pub(super) struct RootLine {
    pinned: Roots,
    links: Vec<Vec<u8>>,
    set: RootSet,
    /// The online roots of the line, newest first. One of them signed the stored data.
    online: Vec<Thumbprint>,
}

impl RootLine {
    /// The line without links.
    pub(super) fn pinned(pinned: Roots) -> Self {
        let set = RootSet::pinned(pinned);
        Self { pinned, links: Vec::new(), set, online: vec![pinned.online] }
    }

    /// The line of these links; `root` when it does not hold the pinned roots.
    pub(super) fn of(pinned: Roots, links: Vec<Vec<u8>>) -> Result<Self, TrustRefusal> {
        let set = RootSet::pinned(pinned).follow(&links)?;
        let mut online = vec![set.roots().online];
        for link in links.iter().rev() {
            let step = *RootLink::from_cbor(link)?.step();
            online.extend([step.to.online, step.from.online]);
        }
        online.dedup();
        Ok(Self { pinned, links, set, online })
    }

    pub(super) fn set(&self) -> RootSet {
        self.set
    }

    pub(super) fn links(&self) -> &[Vec<u8>] {
        &self.links
    }

    pub(super) fn online(&self) -> &[Thumbprint] {
        &self.online
    }

    /// The line with these links behind it; `None` when they do not lead on.
    ///
    /// An answer may begin anywhere in the line. The result leads from the pinned roots to its end by itself, so that a
    /// restart finds that end again.
    pub(super) fn followed(&self, links: &[Vec<u8>]) -> Result<Option<Self>, TrustRefusal> {
        let set = self.set.follow(links)?;
        if set == self.set {
            return Ok(None);
        }
        let mut whole = self.links.clone();
        for link in links {
            if RootLink::from_cbor(link)?.step().number > self.set.number() {
                whole.push(link.clone());
            }
        }
        let next = Self::of(self.pinned, whole)?;
        match next.set == set {
            true => Ok(Some(next)),
            false => Err(TrustRefusal::Order),
        }
    }
}
