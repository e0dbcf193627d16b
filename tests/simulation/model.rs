//! The promises, in the plainest form: each answer of provisioning is held against every part from then on.

use std::collections::{BTreeMap, HashMap, HashSet};

use tessera_token::cbor::Reader;
use tessera_token::claims::Claims;
use tessera_token::hash::TokenHash;

/// A token that was given out.
#[derive(Clone)]
pub struct Token {
    pub bytes: Vec<u8>,
    pub device: usize,
    pub kid: [u8; 8],
    pub expires: u64,
    /// The service that gave it out has lost its record.
    pub lost: bool,
    /// Its end, when it was ended.
    pub ended: Option<Ended>,
}

#[derive(Clone, Copy)]
pub struct Ended {
    /// A verifier that knows the event with this number refuses it; [`UNHEARD`] before it was read in the feed.
    pub seq: u64,
    /// When that was acknowledged, in true milliseconds.
    pub at: u64,
    pub by: &'static str,
    /// False when the event was lost with a part of the service: it is so if a reader knew of it.
    pub sure: bool,
}

/// The service has come back from an older copy, and its loss is not known yet.
#[derive(Clone, Copy)]
pub struct Loss {
    /// It was told so, and did not have to learn it from a reader.
    pub marked: bool,
}

/// The number of an event that no reader has read yet.
pub const UNHEARD: u64 = u64::MAX;

/// Facts about a device.
#[derive(Clone, Default)]
pub struct Known {
    pub enrolled: bool,
    /// `None` after a change whose answer says nothing.
    pub revoked: Option<bool>,
    pub epoch: u64,
}

/// Promises of provisioning.
#[derive(Clone, Default)]
pub struct Model {
    pub tokens: Vec<Token>,
    /// Numbers that restored services gave out too: a serial never means two tokens.
    pub serials: HashMap<Vec<u8>, usize>,
    /// Number of an event to its hash: never two of one number, over restored services too.
    pub events: BTreeMap<u64, [u8; 32]>,
    /// The newest event of the present service.
    pub head: u64,
    /// Where its feed begins.
    pub start: u64,
    pub loss: Option<Loss>,
    pub devices: Vec<Known>,
    pub groups: Vec<u64>,
    pub tenant: u64,
    pub suspended: Option<bool>,
    /// The answers of refreshes: the same request gets the same token while it is fresh.
    pub refreshed: HashMap<Vec<u8>, (usize, u64)>,
    /// Hashes of the audit chain, as far as it was read.
    pub audit: Vec<[u8; 32]>,
    /// Entries that it must have, and those that it has.
    pub audited: HashMap<(String, String), (u64, u64)>,
}

/// Proofs that one ledger has accepted.
#[derive(Clone, Default)]
pub struct Taken(HashSet<(usize, u64, u32)>);

impl Taken {
    /// Whether the proof is new.
    pub fn add(&mut self, device: usize, time: u64, counter: u32) -> bool {
        self.0.insert((device, time, counter))
    }
}

impl Model {
    /// Notes an event of the present line.
    pub fn event(&mut self, seq: u64, hash: [u8; 32]) -> Result<(), String> {
        self.head = self.head.max(seq);
        match *self.events.entry(seq).or_insert(hash) == hash {
            true => Ok(()),
            false => Err(format!("event {seq} has two meanings")),
        }
    }

    /// Files a token that came out; says what is wrong with it.
    pub fn give(&mut self, bytes: Vec<u8>, device: usize) -> Result<usize, String> {
        if let Some(known) = self.tokens.iter().position(|token| token.bytes == bytes) {
            return Ok(known);
        }
        let (kid, claims) = open(&bytes).ok_or("provisioning gave out what is no token")?;
        let serial = claims.serial.as_bytes().to_vec();
        let at = self.tokens.len();
        if let Some(before) = self.serials.insert(serial.clone(), at) {
            return Err(format!("serial {serial:?} was given to tokens {before} and {at}"));
        }
        let epochs = claims.epochs;
        let known = &mut self.devices[device];
        let back = epochs.device < known.epoch || epochs.tenant < self.tenant;
        if back {
            return Err(format!("the epochs of token {at} moved back: {epochs:?}"));
        }
        known.epoch = epochs.device;
        let expires = claims.expires.get();
        let token = Token { bytes, device, kid, expires, lost: false, ended: None };
        self.tokens.push(token);
        Ok(at)
    }

    /// Ends every token that `which` names.
    pub fn end(&mut self, ended: Ended, which: impl Fn(&Token) -> bool) {
        for token in self.tokens.iter_mut().filter(|token| which(token)) {
            token.ended.get_or_insert(ended);
        }
    }

    /// The feed was read to its end: the event that ended a token is in it.
    pub fn heard(&mut self) {
        let head = self.head;
        let ended = self.tokens.iter_mut().filter_map(|token| token.ended.as_mut());
        let open = ended.filter(|ended| ended.seq == UNHEARD && ended.sure);
        // Events of a service that does not know yet that it lost something are told again, above what readers have.
        if self.loss.is_none_or(|loss| loss.marked) {
            open.for_each(|ended| ended.seq = head);
        }
    }

    pub fn hash(&self, token: usize) -> TokenHash {
        TokenHash::of(&self.tokens[token].bytes)
    }

    /// One more entry must stand in the audit log.
    pub fn audits(&mut self, action: &str, subject: &str) {
        self.audited.entry((action.to_owned(), subject.to_owned())).or_default().0 += 1;
    }
}

/// Key id and claims of a token, unverified.
fn open(token: &[u8]) -> Option<([u8; 8], Claims)> {
    let mut reader = Reader::new(token.strip_prefix(&[0xd8, 0x3d, 0xd2])?);
    reader.array_of(4).ok()?;
    let kid = *reader.bytes().ok()?.last_chunk::<8>()?;
    reader.skip().ok()?;
    let claims = Claims::from_cbor(reader.bytes().ok()?).ok()?;
    Some((kid, claims))
}
