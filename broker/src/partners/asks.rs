//! Bounds on questions to provisioning: one about each token at a time, those of one address prefix, and all together.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_token::refusal::RefusalCode;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard, Semaphore, SemaphorePermit};

use super::known::Name;
use crate::admission::Prefix;
use crate::limits::{
    PARTNER_ASKS, PARTNER_ASKS_OF_KNOWN, PARTNER_ASKS_OF_PREFIX, PARTNER_ASKS_WAITING,
    PARTNER_ASK_WITHIN,
};

/// The places for questions.
pub(super) struct Asks {
    strangers: Semaphore,
    known: Semaphore,
    of: Mutex<Counts>,
    turns: Mutex<HashMap<Name, Arc<Turn<()>>>>,
}

/// Strangers that ask or wait.
#[derive(Default)]
struct Counts {
    of: HashMap<Prefix, usize>,
    all: usize,
}

impl Default for Asks {
    fn default() -> Self {
        Self {
            strangers: Semaphore::new(PARTNER_ASKS),
            known: Semaphore::new(PARTNER_ASKS_OF_KNOWN),
            of: Mutex::default(),
            turns: Mutex::default(),
        }
    }
}

/// The turn to ask about one token. Others with the same token wait for it, and find its answer.
pub(super) struct OfToken<'a> {
    asks: &'a Asks,
    name: Name,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Drop for OfToken<'_> {
    fn drop(&mut self) {
        self.turn = None;
        let mut turns = self.asks.turns.lock();
        // No other waits for it.
        if turns.get(&self.name).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(&self.name);
        }
    }
}

/// A place for one question.
pub(super) struct Place<'a> {
    asks: &'a Asks,
    counted: Option<Prefix>,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.permit = None;
        if let Some(from) = self.counted {
            self.asks.leave(from);
        }
    }
}

impl Asks {
    /// Waits for the turn to ask about this token.
    ///
    /// # Errors
    /// `limit_reached`.
    pub(super) async fn turn(&self, name: Name) -> Result<OfToken<'_>, RefusalCode> {
        let turn = Arc::clone(self.turns.lock().entry(name).or_default());
        let mut of = OfToken { asks: self, name, turn: None };
        let guard = tokio::time::timeout(PARTNER_ASK_WITHIN, turn.lock_owned()).await;
        of.turn = Some(guard.map_err(|_| RefusalCode::LimitReached)?);
        Ok(of)
    }

    /// Waits for a place to ask about a token that was good lately.
    ///
    /// # Errors
    /// `limit_reached`.
    pub(super) async fn place_of_known(&self) -> Result<Place<'_>, RefusalCode> {
        let permit = Some(waited(&self.known).await?);
        Ok(Place { asks: self, counted: None, permit })
    }

    /// Waits for a place to ask about any other token. There is none for a prefix that has all of its places, for a suspect
    /// prefix that would wait, and for all when too many wait.
    ///
    /// # Errors
    /// `limit_reached`.
    pub(super) async fn place(
        &self,
        from: Prefix,
        suspect: bool,
    ) -> Result<Place<'_>, RefusalCode> {
        self.count(from)?;
        // From here on it gives its place back.
        let mut place = Place { asks: self, counted: Some(from), permit: None };
        place.permit = Some(match suspect {
            true => self.strangers.try_acquire().map_err(|_| RefusalCode::LimitReached)?,
            false => waited(&self.strangers).await?,
        });
        Ok(place)
    }

    fn count(&self, from: Prefix) -> Result<(), RefusalCode> {
        let mut counts = self.of.lock();
        if counts.all >= PARTNER_ASKS_WAITING {
            return Err(RefusalCode::LimitReached);
        }
        let count = counts.of.entry(from).or_default();
        if *count >= PARTNER_ASKS_OF_PREFIX {
            return Err(RefusalCode::LimitReached);
        }
        *count += 1;
        counts.all += 1;
        Ok(())
    }

    fn leave(&self, from: Prefix) {
        let mut counts = self.of.lock();
        counts.all = counts.all.saturating_sub(1);
        if let Some(count) = counts.of.get_mut(&from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.of.remove(&from);
            }
        }
    }
}

async fn waited(places: &Semaphore) -> Result<SemaphorePermit<'_>, RefusalCode> {
    let permit = tokio::time::timeout(PARTNER_ASK_WITHIN, places.acquire()).await;
    permit.ok().and_then(Result::ok).ok_or(RefusalCode::LimitReached)
}
