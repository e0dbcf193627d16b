//! Bounds on questions to provisioning: those of one address prefix and all together.

use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_token::refusal::RefusalCode;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::admission::Prefix;
use crate::limits::{PARTNER_ASKS, PARTNER_ASKS_OF_PREFIX, PARTNER_ASK_WITHIN};

/// The places for questions.
pub(super) struct Asks {
    places: Semaphore,
    of: Mutex<HashMap<Prefix, usize>>,
}

impl Default for Asks {
    fn default() -> Self {
        Self { places: Semaphore::new(PARTNER_ASKS), of: Mutex::default() }
    }
}

/// A place for one question.
pub(super) struct Place<'a> {
    asks: &'a Asks,
    from: Prefix,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Asks {
    /// Waits for a place. A prefix that has all of its places, and a suspect one that would wait, gets none.
    ///
    /// # Errors
    /// `limit_reached`.
    pub(super) async fn place(
        &self,
        from: Prefix,
        suspect: bool,
    ) -> Result<Place<'_>, RefusalCode> {
        {
            let mut of = self.of.lock();
            let count = of.entry(from).or_default();
            if *count >= PARTNER_ASKS_OF_PREFIX {
                return Err(RefusalCode::LimitReached);
            }
            *count += 1;
        }
        // From here on it gives the place of the prefix back.
        let mut place = Place { asks: self, from, _permit: None };
        let permit = match suspect {
            true => self.places.try_acquire().ok(),
            false => {
                let permit = tokio::time::timeout(PARTNER_ASK_WITHIN, self.places.acquire()).await;
                permit.ok().and_then(Result::ok)
            }
        };
        place._permit = Some(permit.ok_or(RefusalCode::LimitReached)?);
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut of = self.asks.of.lock();
        if let Some(count) = of.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                of.remove(&self.from);
            }
        }
    }
}
