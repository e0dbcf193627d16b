//! Clients of a converted source, and the numbers of their sessions.

use hashbrown::HashMap;

use crate::limits;

/// Numbers of sessions by client.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    of: HashMap<Box<str>, (u64, bool)>,
}

impl Sessions {
    /// A session begins. The number of the one that it takes over comes with it.
    pub(super) fn open(&mut self, client: &str) -> (u64, Option<u64>) {
        if self.of.len() >= limits::CONVERTED_CLIENTS && !self.of.contains_key(client) {
            self.of.retain(|_, (_, is_open)| *is_open);
        }
        let (number, is_open) = self.of.entry(client.into()).or_insert((0, false));
        let former = is_open.then_some(*number);
        *number += 1;
        *is_open = true;
        (*number, former)
    }

    /// The number of the session of a client; 0 when its begin was not seen.
    pub(super) fn number(&self, client: &str) -> u64 {
        self.of.get(client).filter(|(_, is_open)| *is_open).map_or(0, |(number, _)| *number)
    }

    /// A session ends: its number, or nothing when it is over already.
    pub(super) fn close(&mut self, client: &str) -> Option<u64> {
        let (number, is_open) = self.of.get_mut(client)?;
        std::mem::replace(is_open, false).then_some(*number)
    }
}
