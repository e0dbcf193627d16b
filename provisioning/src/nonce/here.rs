//! Used nonces in the memory of this process.

use std::collections::HashMap;

use parking_lot::Mutex;
use tessera_token::refusal::RefusalCode;

use super::mint::BODY;
use super::Known;
use crate::limits::{NONCE_SECONDS, USED_NONCES};

/// Each with its time.
#[derive(Default)]
pub(super) struct UsedHere(Mutex<HashMap<[u8; BODY], u64>>);

impl UsedHere {
    pub(super) fn has(&self, known: &Known) -> bool {
        self.0.lock().contains_key(&known.body)
    }

    /// Remembers it.
    ///
    /// # Errors
    /// `nonce_invalid` when it is there already, `rate_limited` when there are too many.
    pub(super) fn add(&self, known: &Known, now: u64) -> Result<(), RefusalCode> {
        let mut used = self.0.lock();
        if used.len() >= USED_NONCES {
            used.retain(|_, made| now.abs_diff(*made) <= NONCE_SECONDS);
        }
        if used.contains_key(&known.body) {
            return Err(RefusalCode::NonceInvalid);
        }
        if used.len() >= USED_NONCES {
            return Err(RefusalCode::RateLimited);
        }
        used.insert(known.body, known.made);
        Ok(())
    }

    pub(super) fn sweep(&self, now: u64) {
        self.0.lock().retain(|_, made| now.abs_diff(*made) <= NONCE_SECONDS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once() {
        let used = UsedHere::default();
        let known = Known { body: [7; BODY], made: 1000 };
        assert!(!used.has(&known));
        used.add(&known, 1000).unwrap();
        assert!(used.has(&known));
        assert_eq!(used.add(&known, 1000), Err(RefusalCode::NonceInvalid));
        used.sweep(1000 + NONCE_SECONDS);
        assert!(used.has(&known));
        used.sweep(1001 + NONCE_SECONDS);
        assert!(!used.has(&known));
    }
}
