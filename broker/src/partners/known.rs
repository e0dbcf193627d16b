//! Answers of provisioning that are used again for a short time.

use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use tessera_token::refusal::RefusalCode;

use crate::limits::{PARTNERS_KEPT, PARTNER_KEPT, PARTNER_REFUSALS_KEPT, PARTNER_REFUSED_KEPT};

/// SHA-256 of a partner token.
pub(super) type Name = [u8; 32];

/// Kept answers. Refusals have a table of their own, so that strangers push out no partner.
#[derive(Default)]
pub(super) struct Known {
    good: HashMap<Name, (Bytes, Duration)>,
    bad: HashMap<Name, (RefusalCode, Duration)>,
}

impl Known {
    /// The answer, when it is not too old.
    pub(super) fn get(&self, name: &Name, now: Duration) -> Option<Result<Bytes, RefusalCode>> {
        if let Some((access, until)) = self.good.get(name) {
            return (*until > now).then(|| Ok(access.clone()));
        }
        let (code, until) = self.bad.get(name)?;
        (*until > now).then_some(Err(*code))
    }

    /// Whether the token was good when it was asked about last, and that was not long ago.
    pub(super) fn was_good(&self, name: &Name) -> bool {
        self.good.contains_key(name)
    }

    /// Keeps an answer. Without room for it the next connection asks again.
    pub(super) fn put(&mut self, name: Name, answer: Result<Bytes, RefusalCode>, now: Duration) {
        match answer {
            Ok(access) => {
                self.bad.remove(&name);
                if self.good.len() >= PARTNERS_KEPT && !self.good.contains_key(&name) {
                    self.good.retain(|_, (_, until)| *until > now);
                }
                if self.good.len() < PARTNERS_KEPT || self.good.contains_key(&name) {
                    self.good.insert(name, (access, now + PARTNER_KEPT));
                }
            }
            Err(code) => {
                self.good.remove(&name);
                if self.bad.len() >= PARTNER_REFUSALS_KEPT {
                    self.bad.retain(|_, (_, until)| *until > now);
                }
                if self.bad.len() < PARTNER_REFUSALS_KEPT {
                    self.bad.insert(name, (code, now + PARTNER_REFUSED_KEPT));
                }
            }
        }
    }

    /// Forgets the answer. A token that was good is one of those that were good lately all the same.
    pub(super) fn forget(&mut self, name: &Name) {
        if let Some((_, until)) = self.good.get_mut(name) {
            *until = Duration::ZERO;
        }
        self.bad.remove(name);
    }
}
