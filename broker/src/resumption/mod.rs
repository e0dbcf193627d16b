//! Ticket keys: resumption secrets are derived from them. They are stored on disk and rotated.
//!
//! 1. A key is on disk, flushed, before the first secret of it leaves: a device that holds one gets in after a crash.
//! 2. A new key takes over every `rotate_every` seconds; the one before it is accepted until the next
//!    change. A secret of an older key is no proof: the device proves its key again.
//! 3. Nodes of one cluster may share a file of keys instead, which their operator replaces.
//! 4. A connection that a secret let in ends with the key behind it (`server::ticket_rotation`). Removing their file
//!    discards the node's own keys.
//!
//! The holder of a ticket key and of the bytes of a token that an issuer signed can come as its device for as long as
//! both are accepted. It can make no token. Neither `Debug` nor `Serialize`.

mod files;
mod settings;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tessera_runtime::random::{self, SharedRandom};
use tessera_token::grant::Grant;
use tessera_token::proof::{ResumptionSecret, TicketId, TicketKey};
use tessera_token::time::UnixSeconds;

use crate::limits::TICKET_KEYS_KEPT;
pub use files::TicketError;
use files::{Folder, Made};
pub use settings::{RawResumption, TicketSettings};

/// The keys by which a secret may have been made, newest first; none where none is accepted.
pub(crate) type Accepted = Arc<Vec<TicketKey>>;

/// The ticket keys of this broker.
pub(crate) struct TicketKeys {
    keys: ArcSwap<Vec<TicketKey>>,
    source: Source,
}

/// The outcome of a look at the keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Changed {
    /// There is a new key for the secrets that are sent from now on.
    pub(crate) newer: bool,
    /// A key is not accepted any more.
    pub(crate) withdrawn: bool,
}

enum Source {
    Off,
    Own(Own),
    Shared(PathBuf),
}

struct Own {
    folder: Folder,
    rotate_every: u64,
    random: SharedRandom,
    made: Mutex<Vec<Made>>,
}

impl TicketKeys {
    /// Reads the keys, or makes the first one, in `folder` unless a shared file is set.
    ///
    /// # Errors
    /// [`TicketError`]: a file cannot be read or written, others may read it, or it holds something else.
    pub(crate) fn open(
        settings: &TicketSettings,
        folder: &Path,
        random: SharedRandom,
        now: UnixSeconds,
    ) -> Result<Self, TicketError> {
        let keys = ArcSwap::default();
        let source = match settings {
            TicketSettings::Off => Source::Off,
            TicketSettings::Shared(path) => Source::Shared(path.clone()),
            TicketSettings::Own { rotate_every } => {
                let (folder, made) = Folder::open(folder)?;
                let (rotate_every, made) = (*rotate_every, Mutex::new(made));
                Source::Own(Own { folder, rotate_every, random, made })
            }
        };
        let tickets = Self { keys, source };
        tickets.load(now)?;
        Ok(tickets)
    }

    /// The keys that are accepted now.
    pub(crate) fn accepted(&self) -> Accepted {
        self.keys.load_full()
    }

    /// Whether secrets of this key are taken.
    pub(crate) fn accepts(&self, ticket: TicketId) -> bool {
        self.keys.load().iter().any(|key| key.id() == ticket)
    }

    /// The secret of the token of a grant, by the newest key. To be handed over TLS, to a peer that proved the key of
    /// the token. A bearer token has none.
    pub(crate) fn secret_of(&self, grant: &Grant) -> Option<ResumptionSecret> {
        let (key, keys) = (grant.confirmation()?, self.keys.load());
        Some(keys.first()?.secret_of(grant.audience(), &key, &grant.token_hash()))
    }

    /// Replaces the key when its time has come, or reads the shared file again. Own keys whose file is gone are thrown
    /// away. Blocks for a write that is flushed.
    ///
    /// # Errors
    /// As [`TicketKeys::open`]; all stays as it was, except for keys that were discarded.
    pub(crate) fn refresh(&self, now: UnixSeconds) -> Result<Changed, TicketError> {
        let before = self.ids();
        let loaded = self.load(now);
        let after = self.ids();
        match loaded {
            Err(error) if after == before => return Err(error),
            Err(error) => {
                tracing::error!(%error, "no new ticket key could be made: resumption is off until one is")
            }
            Ok(()) => {}
        }
        Ok(Changed {
            newer: after.first() != before.first(),
            withdrawn: before.iter().any(|key| !after.contains(key)),
        })
    }

    fn load(&self, now: UnixSeconds) -> Result<(), TicketError> {
        let keys = match &self.source {
            Source::Off => return Ok(()),
            Source::Shared(path) => files::shared(path)?,
            Source::Own(own) => match own.rotate(now) {
                Ok(Some(keys)) => keys,
                Ok(None) => return Ok(()),
                Err(error) => {
                    // A discarded key is no longer accepted, also when a new key finds no room.
                    if own.folder.holds_keys().is_ok_and(|holds| !holds) {
                        self.keys.store(Arc::default());
                    }
                    return Err(error);
                }
            },
        };
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    fn ids(&self) -> Vec<TicketId> {
        self.keys.load().iter().map(TicketKey::id).collect()
    }
}

impl Own {
    /// The keys from now on; `None` when nothing has changed.
    fn rotate(&self, now: UnixSeconds) -> Result<Option<Vec<TicketKey>>, TicketError> {
        let mut made = self.made.lock();
        let too_old = |key: &Made| now.since(key.at) >= self.rotate_every * TICKET_KEYS_KEPT as u64;
        let mut next: Vec<Made> = match self.folder.holds_keys()? {
            true => made.iter().filter(|key| !too_old(key)).cloned().collect(),
            false => Vec::new(),
        };
        // A key of the future was made while the clock was wrong.
        let due = |key: &Made| key.at > now || now.since(key.at) >= self.rotate_every;
        let fresh = next.first().is_none_or(due);
        if fresh {
            let key = random::bytes(&*self.random).map_err(|_| TicketError::Random)?;
            next.insert(0, Made::new(now, key));
            next.truncate(TICKET_KEYS_KEPT);
            self.folder.write(&next)?;
        }
        if !fresh && next.len() == made.len() && made.iter().all(|key| key.in_use) {
            return Ok(None);
        }
        next.iter_mut().for_each(|key| key.in_use = true);
        *made = next;
        Ok(Some(made.iter().map(Made::key).collect()))
    }
}
