//! The sessions at one broker, as it told of them: at most [`PUSH_SESSIONS_OF_DEVICE`] of one device.

use std::sync::Arc;

use hashbrown::HashMap;
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, TenantId};

use super::pace::Id;
use crate::limits::PUSH_SESSIONS_OF_DEVICE;

/// A device and its tenant.
pub(super) type Of = Arc<(TenantId, DeviceId)>;

/// A session at the broker.
struct Known {
    of: Of,
    token: TokenHash,
    /// The token that was handed to the broker, until that has an outcome.
    pushed: Option<TokenHash>,
}

/// The news that a broker tells of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Its token is known.
    Nothing,
    /// It has another token, or is new.
    Token {
        /// Whether that token was pushed.
        pushed: bool,
    },
    /// Its device has enough of them.
    TooMany,
}

/// The sessions, by their numbers.
#[derive(Default)]
pub(super) struct Sessions {
    known: HashMap<Id, Known>,
    of_devices: HashMap<Of, u32>,
    /// Pushes that were handed to the broker and have no outcome.
    under_way: usize,
}

impl Sessions {
    /// The broker tells of this session, and of its token.
    pub(super) fn tell(&mut self, id: Id, of: (TenantId, DeviceId), token: TokenHash) -> Told {
        if let Some(known) = self.known.get_mut(&id).filter(|known| *known.of == of) {
            if known.token == token {
                return Told::Nothing;
            }
            let pushed = known.pushed.take();
            self.under_way -= usize::from(pushed.is_some());
            known.token = token;
            return Told::Token { pushed: pushed == Some(token) };
        }
        self.gone(id);
        let of = match self.of_devices.get_key_value(&of) {
            Some((_, many)) if *many >= PUSH_SESSIONS_OF_DEVICE => return Told::TooMany,
            Some((of, _)) => Arc::clone(of),
            None => Arc::new(of),
        };
        *self.of_devices.entry(Arc::clone(&of)).or_insert(0) += 1;
        self.known.insert(id, Known { of, token, pushed: None });
        Told::Token { pushed: false }
    }

    /// It has ended, or is not pushed to any more.
    pub(super) fn gone(&mut self, id: Id) {
        self.settled(id);
        let Some(known) = self.known.remove(&id) else { return };
        if let Some(many) = self.of_devices.get_mut(&known.of) {
            *many = many.saturating_sub(1);
            if *many == 0 {
                self.of_devices.remove(&known.of);
            }
        }
    }

    /// Its device.
    pub(super) fn of(&self, id: Id) -> Option<Of> {
        self.known.get(&id).map(|known| Arc::clone(&known.of))
    }

    /// This token was handed to the broker.
    pub(super) fn pushed(&mut self, id: Id, token: TokenHash) {
        self.settled(id);
        if let Some(known) = self.known.get_mut(&id) {
            known.pushed = Some(token);
            self.under_way += 1;
        }
    }

    /// A push that was under way has its outcome; false when none was.
    pub(super) fn settled(&mut self, id: Id) -> bool {
        let pushed = self.known.get_mut(&id).and_then(|known| known.pushed.take());
        self.under_way -= usize::from(pushed.is_some());
        pushed.is_some()
    }

    /// Pushes that were handed to the broker and have no outcome.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(device: &str) -> (TenantId, DeviceId) {
        (TenantId::parse("acme").unwrap(), DeviceId::parse(device).unwrap())
    }

    fn token(text: &str) -> TokenHash {
        TokenHash::of(text.as_bytes())
    }

    const NEW: Told = Told::Token { pushed: false };

    #[test]
    fn a_device_has_its_share_of_the_sessions() {
        let mut sessions = Sessions::default();
        let most = u64::from(PUSH_SESSIONS_OF_DEVICE);
        for id in 0..most {
            assert_eq!(sessions.tell(id, of("d-1"), token("a")), NEW);
        }
        assert_eq!(sessions.tell(most, of("d-1"), token("a")), Told::TooMany);
        assert_eq!(sessions.tell(most + 1, of("d-2"), token("a")), NEW);
        assert_eq!(sessions.tell(3, of("d-1"), token("b")), NEW, "one that is known goes on");
        sessions.gone(3);
        assert_eq!(sessions.tell(most, of("d-1"), token("a")), NEW);
        for id in 0..=most + 1 {
            sessions.gone(id);
        }
        assert!(sessions.known.is_empty() && sessions.of_devices.is_empty());
    }

    #[test]
    fn a_push_has_one_outcome() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.tell(1, of("d-1"), token("a")), NEW);
        sessions.pushed(1, token("b"));
        assert_eq!(sessions.under_way(), 1);
        assert_eq!(sessions.tell(1, of("d-1"), token("a")), Told::Nothing);
        assert_eq!(sessions.tell(1, of("d-1"), token("b")), Told::Token { pushed: true });
        assert_eq!((sessions.under_way(), sessions.settled(1)), (0, false));
        sessions.pushed(1, token("c"));
        // The number is that of another device now.
        assert_eq!(sessions.tell(1, of("d-2"), token("c")), NEW);
        assert_eq!(sessions.under_way(), 0);
        sessions.pushed(2, token("c"));
        assert_eq!(sessions.under_way(), 0, "there is no such session");
    }
}
