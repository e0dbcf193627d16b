//! Steps that are noted and not committed yet.

use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};

use crate::message::SubscriberId;

/// The name of one row.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Row {
    /// A session: whose, until when, and its will.
    Session(SubscriberId),
    /// A subscription, by its number within the session.
    Subscription(SubscriberId, u32),
    /// A QoS 1 or 2 message on its way to the client, by its number within the session.
    Outgoing(SubscriberId, u64),
    /// A QoS 2 message of the client that it has not released, by packet id.
    Incoming(SubscriberId, u16),
    /// A retained message.
    Retained(u64),
}

impl Row {
    pub(super) fn key(&self) -> Vec<u8> {
        match self {
            Self::Session(id) => id.0.to_be_bytes().to_vec(),
            Self::Subscription(id, n) => [&id.0.to_be_bytes()[..], &n.to_be_bytes()].concat(),
            Self::Outgoing(id, n) => [&id.0.to_be_bytes()[..], &n.to_be_bytes()].concat(),
            Self::Incoming(id, n) => [&id.0.to_be_bytes()[..], &n.to_be_bytes()].concat(),
            Self::Retained(n) => n.to_be_bytes().to_vec(),
        }
    }

    fn session(&self) -> Option<SubscriberId> {
        match self {
            Self::Session(id)
            | Self::Subscription(id, _)
            | Self::Outgoing(id, _)
            | Self::Incoming(id, _) => Some(*id),
            Self::Retained(_) => None,
        }
    }
}

/// One change.
pub(crate) enum Step {
    Put(Row, Vec<u8>),
    Delete(Row),
    /// All rows of a session.
    Forget(SubscriberId),
}

/// Groups of steps in their order: what is in one group is committed as one.
#[derive(Default)]
pub(super) struct Pending {
    sealed: VecDeque<Taken>,
    rows: HashMap<Row, Option<Vec<u8>>>,
    forgotten: HashSet<SubscriberId>,
    commit: u64,
    /// Of the values in all groups, and of those in the open one.
    bytes: usize,
    open_bytes: usize,
}

pub(super) struct Taken {
    pub(super) rows: Vec<(Row, Option<Vec<u8>>)>,
    pub(super) forgotten: Vec<SubscriberId>,
    pub(super) commit: u64,
    bytes: usize,
}

impl Pending {
    pub(super) fn add(&mut self, step: Step) -> u64 {
        match step {
            Step::Put(row, value) => self.set(row, Some(value)),
            Step::Delete(row) => self.set(row, None),
            Step::Forget(id) => drop(self.forgotten.insert(id)),
        }
        self.commit += 1;
        self.commit
    }

    fn set(&mut self, row: Row, value: Option<Vec<u8>>) {
        let length = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let more = length(&value);
        let less = self.rows.insert(row, value).as_ref().map_or(0, length);
        self.open_bytes = self.open_bytes + more - less;
        self.bytes = self.bytes + more - less;
    }

    /// Bytes that wait to be committed.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.sealed.iter().map(|group| group.rows.len() + group.forgotten.len()).sum::<usize>()
            + self.group_len()
    }

    /// Steps in the group that is still open.
    pub(super) fn group_len(&self) -> usize {
        self.rows.len() + self.forgotten.len()
    }

    /// Ends the open group: steps noted from now on belong to the next one. Must not be called while steps are noted
    /// that belong together.
    pub(super) fn seal(&mut self) {
        let open = self.take_open();
        self.sealed.extend(open);
    }

    /// The oldest group.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let taken = self.sealed.pop_front().or_else(|| self.take_open())?;
        self.bytes = self.bytes.saturating_sub(taken.bytes);
        Some(taken)
    }

    pub(super) fn last(&self) -> u64 {
        self.commit
    }

    /// Session numbers are never used again, so what was noted for one that is forgotten goes unwritten.
    fn take_open(&mut self) -> Option<Taken> {
        if self.group_len() == 0 {
            return None;
        }
        let forgotten = std::mem::take(&mut self.forgotten);
        let rows = std::mem::take(&mut self.rows)
            .into_iter()
            .filter(|(row, _)| !row.session().is_some_and(|id| forgotten.contains(&id)))
            .collect();
        let bytes = std::mem::take(&mut self.open_bytes);
        let forgotten = forgotten.into_iter().collect();
        Some(Taken { rows, forgotten, commit: self.commit, bytes })
    }
}
