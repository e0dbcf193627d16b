//! Turns: so many pieces of long work of one tenant run at a time in this process, and of all tenants.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The reason for which there is no turn now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// The tenant has all of its own.
    OfOne,
    /// Others have the rest.
    OfAll,
}

/// The turns of one kind of work.
#[derive(Clone)]
pub(crate) struct Turns {
    all: usize,
    of_one: usize,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

impl Turns {
    /// So many of all, and of one tenant.
    pub(crate) fn new(all: usize, of_one: usize) -> Self {
        Self { all, of_one, taken: Arc::default() }
    }

    /// A turn, when there is one.
    pub(crate) fn take(&self, tenant: &str) -> Result<Turn, NoTurn> {
        let mut taken = self.taken.lock();
        let own = taken.get(tenant).copied().unwrap_or_default();
        if own >= self.of_one {
            return Err(NoTurn::OfOne);
        }
        if taken.values().sum::<usize>() >= self.all {
            return Err(NoTurn::OfAll);
        }
        taken.insert(tenant.to_owned(), own + 1);
        Ok(Turn { turns: self.clone(), tenant: tenant.to_owned() })
    }
}

/// A turn that is given back when it goes out of scope.
pub(crate) struct Turn {
    turns: Turns,
    tenant: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut taken = self.turns.taken.lock();
        let left = taken.get(&self.tenant).copied().unwrap_or_default().saturating_sub(1);
        match left {
            0 => taken.remove(&self.tenant),
            left => taken.insert(self.tenant.clone(), left),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_bounded_for_one_and_for_all_and_come_back() {
        let turns = Turns::new(3, 2);
        let (first, second) = (turns.take("a").unwrap(), turns.take("a").unwrap());
        assert_eq!(turns.take("a").err(), Some(NoTurn::OfOne));
        let other = turns.take("b").unwrap();
        assert_eq!(turns.take("c").err(), Some(NoTurn::OfAll));
        drop(first);
        assert!(turns.take("c").is_ok());
        drop((second, other));
        assert!(turns.taken.lock().is_empty());
    }
}
