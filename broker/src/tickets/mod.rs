//! Ticket keys: what resumption secrets are made of (DESIGN section 4), kept on disk and replaced on time.
//!
//! 1. A key is on disk, flushed, before the first secret of it leaves: a device that holds one gets in after a crash.
//! 2. A new key takes over every [`TicketSettings::rotate_every`] seconds; the one before it is accepted until the next
//!    change. What a secret of an older key proves is nothing: the device proves its key again.
//! 3. Nodes of one cluster may share a file of keys instead, which whoever runs them replaces.
//!
//! Whoever holds a ticket key can let anybody in here, as whatever device, for as long as the key is accepted: it is
//! worth as much as an issuer key, and is handled so. Neither `Debug` nor `Serialize`.

mod files;
mod settings;
#[cfg(test)]
mod tests;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tessera_runtime::random::{self, SharedRandom};
use tessera_token::hash::TokenHash;
use tessera_token::proof::{ResumptionSecret, TicketKey};
use tessera_token::time::UnixSeconds;

use crate::limits::TICKET_KEYS_KEPT;
pub use files::TicketError;
use files::{Folder, Made};
pub use settings::{RawResumption, TicketSettings};
pub(crate) use watch::watch;

/// The keys by which a secret may have been made, newest first; none where none is accepted.
pub(crate) type Accepted = Arc<Vec<TicketKey>>;

/// The ticket keys of this broker.
pub(crate) struct Tickets {
    keys: ArcSwap<Vec<TicketKey>>,
    source: Source,
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

impl Tickets {
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

    /// The secret of a token, by the newest key. To be handed over TLS, to a peer that proved the key of the token.
    pub(crate) fn secret_of(&self, token: &TokenHash) -> Option<ResumptionSecret> {
        self.keys.load().first().map(|key| key.secret_of(token))
    }

    /// Replaces the key when its time has come, or reads the shared file again. Says whether there is a newer key.
    /// Blocks for a write that is flushed.
    ///
    /// # Errors
    /// As [`Tickets::open`]; all stays as it was.
    pub(crate) fn refresh(&self, now: UnixSeconds) -> Result<bool, TicketError> {
        let before = self.probe();
        self.load(now)?;
        Ok(self.probe() != before)
    }

    fn load(&self, now: UnixSeconds) -> Result<(), TicketError> {
        let keys = match &self.source {
            Source::Off => return Ok(()),
            Source::Shared(path) => files::shared(path)?,
            Source::Own(own) => match own.rotate(now)? {
                Some(keys) => keys,
                None => return Ok(()),
            },
        };
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Names the newest key without telling it.
    fn probe(&self) -> Option<[u8; 32]> {
        let token = TokenHash::from_bytes([0; 33]);
        self.secret_of(&token).map(|secret| *secret.expose_bytes())
    }
}

impl Own {
    /// The keys from now on; `None` when nothing has changed.
    fn rotate(&self, now: UnixSeconds) -> Result<Option<Vec<TicketKey>>, TicketError> {
        let mut made = self.made.lock();
        let too_old = |key: &Made| now.since(key.at) >= self.rotate_every * TICKET_KEYS_KEPT as u64;
        let mut next: Vec<Made> = made.iter().filter(|key| !too_old(key)).cloned().collect();
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
