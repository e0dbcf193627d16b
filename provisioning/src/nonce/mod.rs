//! Nonces for devices to sign, at enrolment and in the place of a time: made without a row, remembered once used.
//!
//! A process that has its database alone remembers used ones in memory, under a key that lives as long as the process: a
//! restart makes all older nonces invalid, so a used one can never come back. Their time is monotonic, so that no jump of
//! the clock brings one back either. Processes that share a database share the key, and used nonces are rows.

mod here;
mod mint;
mod shared;

use std::sync::Arc;

use tessera_runtime::random::{self, Random, RandomError};
use tessera_runtime::secret::Secret;
use tessera_runtime::sql::Database;
use tessera_token::refusal::RefusalCode;

use self::here::UsedHere;
use self::mint::{Known, Mint};
use self::shared::UsedShared;
use crate::clock::ServiceClock;
use crate::refused::Refused;

/// Makes and takes nonces.
pub(crate) struct Nonces {
    mint: Mint,
    time: Arc<ServiceClock>,
    used: Used,
}

enum Used {
    Here(UsedHere),
    Shared(UsedShared),
}

impl Nonces {
    /// Those of a process that has its database alone.
    pub(crate) fn own(random: &dyn Random, time: Arc<ServiceClock>) -> Result<Self, RandomError> {
        let mint = Mint::of(Secret::new(random::bytes(random)?));
        Ok(Self { mint, time, used: Used::Here(UsedHere::default()) })
    }

    /// Those of all processes that have this key.
    pub(crate) fn shared(
        key: Secret<[u8; 32]>,
        database: &Database,
        time: Arc<ServiceClock>,
    ) -> Self {
        Self { mint: Mint::of(key), time, used: Used::Shared(UsedShared::of(database)) }
    }

    /// A new one.
    pub(crate) fn make(&self, random: &dyn Random) -> Result<[u8; mint::BYTES], RandomError> {
        self.mint.make(random, self.now())
    }

    /// Whether the nonce is ours and not too old; it may have been used.
    pub(crate) fn is_ours(&self, nonce: &[u8]) -> Result<(), RefusalCode> {
        self.mint.open(nonce, self.now()).map(|_| ())
    }

    /// Whether the nonce is ours and still good; it is not used up by this.
    pub(crate) async fn check(&self, nonce: &[u8]) -> Result<(), Refused> {
        let known = self.mint.open(nonce, self.now())?;
        let is_used = match &self.used {
            Used::Here(used) => used.has(&known),
            Used::Shared(used) => used.has(&known).await?,
        };
        match is_used {
            true => Err(RefusalCode::NonceInvalid.into()),
            false => Ok(()),
        }
    }

    /// Uses the nonce up. Of two that present the same one, one is refused.
    pub(crate) async fn take(&self, nonce: &[u8]) -> Result<(), Refused> {
        let known = self.mint.open(nonce, self.now())?;
        match &self.used {
            Used::Here(used) => Ok(used.add(&known, self.now())?),
            Used::Shared(used) => used.add(&known).await,
        }
    }

    /// Forgets what has expired.
    pub(crate) async fn sweep(&self) -> Result<(), Refused> {
        match &self.used {
            Used::Here(used) => used.sweep(self.now()),
            Used::Shared(used) => used.sweep(self.time.removal().get()).await?,
        }
        Ok(())
    }

    /// Seconds of the clock by which nonces are dated.
    fn now(&self) -> u64 {
        match &self.used {
            Used::Here(_) => self.time.monotonic().as_secs(),
            Used::Shared(_) => self.time.now().get(),
        }
    }
}
