//! The set of root keys that a verifier trusts, and the signed links that move it.
//!
//! A [`RootSet`] names the online root, which signs the feed, and the offline root, when there is one, which signs links
//! alone. A link states the next set and is signed by every key of it, and by the authority of the set before it: the
//! offline root where there is one, else the online root. So an online root that was stolen moves no set that has an
//! offline root. Links carry numbers and hashes, so none is taken twice, and none leads back.

use alloc::vec::Vec;

use crate::cbor::{Reader, Writer};
use crate::hash::sha256;
use crate::key::{PublicKey, SecretKey, Thumbprint};
use crate::limits::{ROOT_LINKS, ROOT_LINK_BYTES};
use crate::time::UnixSeconds;

use super::TrustError;

const STATEMENT: &str = "tessera-root-set-1";
/// Keys that sign one link: two of each set.
const SIGNATURES: usize = 4;

/// The roots of one set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The key that signs the feed.
    pub online: Thumbprint,
    /// The key that is kept on another machine; `None` when there is none.
    pub offline: Option<Thumbprint>,
}

/// The statement of a link. Payload `[kind, number, previous, online, offline, next online, next offline, time,
/// compromised]`; an empty byte string stands for no offline root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootStep {
    /// The number of the next set; the pinned set has 0.
    pub number: u64,
    /// The hash of the statement before it; all zero before the first.
    pub previous: [u8; 32],
    /// The set before.
    pub from: Roots,
    /// The next set.
    pub to: Roots,
    /// When it was written.
    pub time: UnixSeconds,
    /// Whether the online root of the set before may be in other hands.
    pub compromised: bool,
}

impl RootStep {
    /// As it is signed.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(9).text(STATEMENT).uint(self.number).bytes(&self.previous);
        for roots in [self.from, self.to] {
            let offline = roots.offline.as_ref().map_or(&[][..], |key| key.as_bytes().as_slice());
            w.bytes(roots.online.as_bytes()).bytes(offline);
        }
        w.uint(self.time.get()).bool(self.compromised);
        w.finish()
    }

    fn read(bytes: &[u8]) -> Result<Self, TrustError> {
        let mut r = Reader::strict(bytes, ROOT_LINK_BYTES)?;
        r.array_of(9)?;
        if r.text()? != STATEMENT {
            return Err(TrustError::Malformed);
        }
        let (number, previous) = (r.uint()?, r.bytes_of()?);
        let (from, to) = (read_roots(&mut r)?, read_roots(&mut r)?);
        let step = Self {
            number,
            previous,
            from,
            to,
            time: UnixSeconds::new(r.uint()?),
            compromised: r.bool()?,
        };
        r.end()?;
        Ok(step)
    }

    /// The keys that must sign: those of the next set, and the authority of the set before.
    fn signers(&self) -> impl Iterator<Item = Thumbprint> {
        let authority = self.from.offline.unwrap_or(self.from.online);
        [Some(self.to.online), self.to.offline, Some(authority)].into_iter().flatten()
    }
}

fn read_roots(r: &mut Reader<'_>) -> Result<Roots, TrustError> {
    let online = Thumbprint::from_bytes(r.bytes_of()?);
    let offline = match r.bytes()? {
        [] => None,
        key => Some(key.try_into().map_err(|_| TrustError::Malformed)?),
    };
    let roots = Roots { online, offline: offline.map(Thumbprint::from_bytes) };
    // One key in both places would make the online root the authority.
    match roots.offline == Some(roots.online) {
        true => Err(TrustError::Malformed),
        false => Ok(roots),
    }
}

/// A link, or one that still lacks signatures. CBOR `[statement, [[COSE_Key, signature], …]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootLink {
    step: RootStep,
    statement: Vec<u8>,
    signatures: Vec<(PublicKey, Vec<u8>)>,
}

impl RootLink {
    /// A link without signatures.
    pub fn new(step: RootStep) -> Self {
        Self { step, statement: step.to_cbor(), signatures: Vec::new() }
    }

    /// Its statement.
    pub fn step(&self) -> &RootStep {
        &self.step
    }

    /// Adds the signature of a key that the statement asks for; false when it asks for another.
    #[must_use]
    pub fn sign(&mut self, key: &SecretKey) -> bool {
        let public = key.public();
        let name = public.thumbprint();
        if !self.step.signers().any(|signer| signer == name) {
            return false;
        }
        self.signatures.retain(|(known, _)| *known != public);
        self.signatures.push((public, key.sign(&self.statement).to_vec()));
        true
    }

    /// The keys whose signatures are missing.
    pub fn missing(&self) -> Vec<Thumbprint> {
        let has = |key: &Thumbprint| self.signatures.iter().any(|(by, _)| by.thumbprint() == *key);
        let mut missing: Vec<Thumbprint> = Vec::new();
        for signer in self.step.signers() {
            if !has(&signer) && !missing.contains(&signer) {
                missing.push(signer);
            }
        }
        missing
    }

    /// As CBOR.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(2).bytes(&self.statement).array(self.signatures.len());
        for (key, signature) in &self.signatures {
            w.array(2).raw(&key.to_cose_key()).bytes(signature);
        }
        w.finish()
    }

    /// Reads a link, and checks every signature that is there. Whether all are there and lead on is for
    /// [`RootSet::follow`].
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, TrustError> {
        if bytes.len() > ROOT_LINK_BYTES {
            return Err(TrustError::TooLarge);
        }
        let mut r = Reader::strict(bytes, ROOT_LINK_BYTES)?;
        r.array_of(2)?;
        let statement = r.bytes()?.to_vec();
        let step = RootStep::read(&statement)?;
        let count = r.array()?;
        if count > SIGNATURES {
            return Err(TrustError::Malformed);
        }
        let mut signatures: Vec<(PublicKey, Vec<u8>)> = Vec::with_capacity(count);
        for _ in 0..count {
            r.array_of(2)?;
            let key = PublicKey::from_cose_key(r.item()?).map_err(|_| TrustError::Root)?;
            let signature = r.bytes()?.to_vec();
            let is_asked = step.signers().any(|signer| signer == key.thumbprint());
            let is_twice = signatures.iter().any(|(known, _)| *known == key);
            if !is_asked || is_twice || key.as_ed25519().is_none() {
                return Err(TrustError::Malformed);
            }
            if !key.verifies(&statement, &signature) {
                return Err(TrustError::Signature);
            }
            signatures.push((key, signature));
        }
        r.end()?;
        Ok(Self { step, statement, signatures })
    }

    /// The public key of one of its signers.
    pub fn signer(&self, name: &Thumbprint) -> Option<&PublicKey> {
        self.signatures.iter().map(|(key, _)| key).find(|key| key.thumbprint() == *name)
    }
}

/// A set of roots, with its place in the line of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootSet {
    number: u64,
    /// The hash of the statement that led here; all zero for a set that was pinned.
    link: [u8; 32],
    roots: Roots,
}

impl RootSet {
    /// The set that a configuration pins.
    pub const fn pinned(roots: Roots) -> Self {
        Self { number: 0, link: [0; 32], roots }
    }

    /// Its number: that of the last link.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Its roots.
    pub const fn roots(&self) -> Roots {
        self.roots
    }

    /// The statement of a link to another set.
    pub const fn next(&self, to: Roots, time: UnixSeconds, compromised: bool) -> RootStep {
        let number = self.number.saturating_add(1);
        RootStep { number, previous: self.link, from: self.roots, to, time, compromised }
    }

    /// The set after this link.
    ///
    /// # Errors
    /// [`TrustError::Order`] when the link does not follow this set, [`TrustError::Signature`] when a key has not signed it.
    pub fn step(&self, link: &RootLink) -> Result<Self, TrustError> {
        let step = link.step;
        let follows = self.number.checked_add(1) == Some(step.number)
            && step.previous == self.link
            && step.from == self.roots;
        if !follows {
            return Err(TrustError::Order);
        }
        Self::after(link)
    }

    fn after(link: &RootLink) -> Result<Self, TrustError> {
        match link.missing().is_empty() {
            true => Ok(Self {
                number: link.step.number,
                link: sha256(&link.statement),
                roots: link.step.to,
            }),
            false => Err(TrustError::Signature),
        }
    }

    /// The set at the end of this line of links, oldest first. A set that has taken a link passes the links up to its own
    /// number over, and takes none that leads elsewhere; a pinned set finds its place in the line first.
    ///
    /// # Errors
    /// [`TrustError`] of the first link that is not good; then this set stays. [`TrustError::Root`] when the line does not
    /// hold this set.
    pub fn follow(&self, links: &[Vec<u8>]) -> Result<Self, TrustError> {
        if links.len() > ROOT_LINKS {
            return Err(TrustError::TooLarge);
        }
        let links = links.iter().map(|link| RootLink::from_cbor(link));
        let links: Vec<RootLink> = links.collect::<Result<_, _>>()?;
        let (mut set, place) = self.place(&links)?;
        for link in links.get(place..).unwrap_or_default() {
            set = set.step(link)?;
        }
        Ok(set)
    }

    /// This set in the line, and the place of the link behind it.
    fn place(&self, links: &[RootLink]) -> Result<(Self, usize), TrustError> {
        let Some(first) = links.first() else { return Ok((*self, 0)) };
        if self.number > 0 {
            return match links.iter().position(|link| link.step.number == self.number) {
                Some(at) => match links.get(at).map(|link| sha256(&link.statement)) {
                    Some(hash) if hash == self.link => Ok((*self, at + 1)),
                    // The authority has signed two lines: the one that was taken stays.
                    _ => Err(TrustError::Order),
                },
                // It is behind the end of the line, or its line begins later.
                None if links.last().is_some_and(|link| link.step.number < self.number) => {
                    Ok((*self, links.len()))
                }
                None => Ok((*self, 0)),
            };
        }
        if first.step.number == 1 && first.step.from == self.roots {
            return Ok((*self, 0));
        }
        // Every key of a set signs the link to it: those that are pinned vouch for the place.
        let is_here = |link: &RootLink| {
            let to = link.step.to;
            let offline = self.roots.offline.is_none() || self.roots.offline == to.offline;
            to.online == self.roots.online && offline
        };
        let at = links.iter().position(is_here).ok_or(TrustError::Root)?;
        let set = links.get(at).ok_or(TrustError::Root).and_then(Self::after)?;
        Ok((set, at + 1))
    }
}

/// A file that asks the machine of the offline root for its signature, or that has it: the links up to the present set, and
/// the next one. CBOR `[kind, [link, …], link]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootRequest {
    /// The links up to the present set.
    pub links: Vec<Vec<u8>>,
    /// The next one.
    pub link: RootLink,
}

const REQUEST: &str = "tessera-root-request-1";

impl RootRequest {
    /// The set at which the link begins, when the links before it lead there from the first root of a service, which had no
    /// offline root beside it, and the online roots have signed what they have to. An offline root signs nothing else.
    ///
    /// # Errors
    /// [`TrustError::Order`] when the link does not begin at the end of the line, [`TrustError::Signature`] when a link lacks
    /// a signature that is none of an offline root of this step.
    pub fn begins(&self) -> Result<RootSet, TrustError> {
        let step = *self.link.step();
        let first = match self.links.first() {
            Some(first) => RootLink::from_cbor(first)?.step().from,
            None => step.from,
        };
        if first.offline.is_some() {
            return Err(TrustError::Order);
        }
        let set = RootSet::pinned(first).follow(&self.links)?;
        if set.number() != self.links.len() as u64
            || set.next(step.to, step.time, step.compromised) != step
        {
            return Err(TrustError::Order);
        }
        let offline = [step.from.offline, step.to.offline];
        match self.link.missing().iter().all(|key| offline.contains(&Some(*key))) {
            true => Ok(set),
            false => Err(TrustError::Signature),
        }
    }

    /// As CBOR.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(3).text(REQUEST).array(self.links.len());
        for link in &self.links {
            w.bytes(link);
        }
        w.bytes(&self.link.to_cbor());
        w.finish()
    }

    /// Reads it; the signatures that are there are good.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, TrustError> {
        let mut r = Reader::strict(bytes, (ROOT_LINKS + 2) * ROOT_LINK_BYTES)?;
        r.array_of(3)?;
        if r.text()? != REQUEST {
            return Err(TrustError::Malformed);
        }
        let count = r.array()?;
        if count > ROOT_LINKS {
            return Err(TrustError::TooLarge);
        }
        let mut links = Vec::with_capacity(count);
        for _ in 0..count {
            links.push(r.bytes()?.to_vec());
        }
        let link = RootLink::from_cbor(r.bytes()?)?;
        r.end()?;
        Ok(Self { links, link })
    }
}

/// A snapshot behind the links that lead to the root which signed it: `[kind, [link, …], snapshot]`. A service whose root
/// was never changed sends the snapshot alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkedSnapshot;

const LINKED: &str = "tessera-linked-snapshot-1";

impl LinkedSnapshot {
    /// The snapshot behind these links; without links it is the snapshot alone.
    pub fn write(links: &[Vec<u8>], snapshot: Vec<u8>) -> Vec<u8> {
        if links.is_empty() {
            return snapshot;
        }
        let mut w = Writer::new();
        w.array(3).text(LINKED).array(links.len());
        for link in links {
            w.bytes(link);
        }
        w.bytes(&snapshot);
        w.finish()
    }

    /// Links and snapshot. Nothing is verified yet.
    ///
    /// # Errors
    /// [`TrustError::Malformed`], [`TrustError::TooLarge`].
    pub fn read(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, &[u8]), TrustError> {
        // The first byte of an array of three; a snapshot is one of two.
        if bytes.first() != Some(&0x83) {
            return Ok((Vec::new(), bytes));
        }
        let mut r = Reader::new(bytes);
        r.array_of(3)?;
        if r.text()? != LINKED {
            return Err(TrustError::Malformed);
        }
        let count = r.array()?;
        if count > ROOT_LINKS {
            return Err(TrustError::TooLarge);
        }
        let mut links = Vec::with_capacity(count);
        for _ in 0..count {
            links.push(r.bytes()?.to_vec());
        }
        let snapshot = r.bytes()?;
        r.end()?;
        Ok((links, snapshot))
    }
}
