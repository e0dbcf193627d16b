//! Names of links, used again and again: rumqttd remembers each for ever.

use super::links::NoLink;
use crate::limits::ROUTER_LINKS;
use std::collections::VecDeque;

/// The names that are in use, of all routers: a link and the one that follows it have one name.
#[derive(Default)]
pub(super) struct Names {
    free: VecDeque<u32>,
    made: u32,
    in_use: usize,
}

impl Names {
    /// The name that was free for the longest time.
    pub(super) fn take(&mut self) -> Result<u32, NoLink> {
        if self.in_use >= ROUTER_LINKS {
            return Err(NoLink::TooMany);
        }
        self.in_use += 1;
        Ok(self.free.pop_front().unwrap_or_else(|| {
            self.made += 1;
            self.made
        }))
    }

    pub(super) fn give_back(&mut self, name: u32) {
        self.in_use = self.in_use.saturating_sub(1);
        self.free.push_back(name);
    }

    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.in_use
    }
}
