//! Kinds of rare events, and their evidence at one device.

use super::evidence::Rare;
use super::record::{Flow, Flowed, Torn};
use super::signal::SignalName;

/// A kind of rare event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Stolen,
    Impersonation,
    Replayed,
    Foreign,
    Holders,
    Shared,
    Faults,
    Idle,
    OddTargets,
    Place,
}

pub(super) const KINDS: usize = 10;

/// Kinds that are kept of one device.
pub(super) const MOST: usize = 4;

const DAY: f32 = 1.0 / 24.0;

impl Kind {
    pub(super) fn signal(self) -> SignalName {
        match self {
            Self::Stolen => SignalName::StolenToken,
            Self::Impersonation => SignalName::Impersonation,
            Self::Replayed => SignalName::ReplayedProof,
            Self::Foreign => SignalName::ForeignTopics,
            Self::Holders => SignalName::TwoHolders,
            Self::Shared => SignalName::SharedCredential,
            Self::Faults => SignalName::ProtocolFaults,
            Self::Idle => SignalName::IdleSessions,
            Self::OddTargets => SignalName::OddTargets,
            Self::Place => SignalName::ForeignPlace,
        }
    }

    /// Events an hour that are honest, before the group has shown others.
    pub(super) fn honest(self) -> f32 {
        let days = match self {
            Self::Stolen | Self::Faults | Self::Holders | Self::Impersonation | Self::Place => {
                1000.0
            }
            Self::Foreign | Self::Idle | Self::Shared => 500.0,
            Self::Replayed => 50.0,
            Self::OddTargets => 200.0,
        };
        DAY / days
    }

    /// Events an hour that a group may teach: above them, no number of events excuses the next one.
    pub(super) fn most_honest(self) -> f32 {
        match self {
            Self::Stolen | Self::Impersonation | Self::Foreign => DAY / 100.0,
            Self::Replayed | Self::Holders | Self::Shared => DAY / 20.0,
            Self::Faults | Self::Idle | Self::OddTargets | Self::Place => DAY / 4.0,
        }
    }

    /// Whether many of a group with an event on one day are the group's matter: a bad firmware, or a change of names.
    pub(super) fn is_of_groups(self) -> bool {
        matches!(self, Self::Faults | Self::Holders | Self::Idle | Self::Foreign | Self::Place)
    }
}

/// Evidence of the kinds that occurred, and the owners that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rares {
    kinds: Vec<(u8, Rare)>,
    /// Owners in two generations of thirty days.
    young: u64,
    old: u64,
    turned: u32,
}

impl Rares {
    /// The evidence of a kind.
    pub(super) fn of(&self, kind: Kind) -> Rare {
        let found = self.kinds.iter().find(|(known, _)| *known == kind as u8);
        found.map_or_else(Rare::default, |(_, rare)| *rare)
    }

    /// Keeps the evidence of a kind.
    pub(super) fn keep(&mut self, kind: Kind, rare: Rare) {
        match self.kinds.iter_mut().find(|(known, _)| *known == kind as u8) {
            Some((_, kept)) => *kept = rare,
            None => {
                if self.kinds.len() >= MOST {
                    // The kind whose last event is the oldest is let go.
                    let oldest =
                        (0..).zip(&self.kinds).min_by_key(|(_, (_, rare))| rare.last_hour());
                    let oldest = oldest.map_or(0, |(place, _)| place);
                    self.kinds.swap_remove(oldest);
                }
                self.kinds.reserve_exact(1);
                self.kinds.push((kind as u8, rare));
            }
        }
    }

    /// Takes in an owner, and tells whether it was not asked for in the last month.
    pub(super) fn owner(&mut self, mark: u64, hour: u32) -> bool {
        if hour.saturating_sub(self.turned) > 24 * 30 {
            (self.old, self.young, self.turned) = (self.young, 0, hour);
        }
        let mut old = self.old;
        let was_old = !super::hash::sketch(&mut old, mark);
        super::hash::sketch(&mut self.young, mark) && !was_old
    }

    pub(super) fn owners(&self) -> u32 {
        (self.young | self.old).count_ones()
    }

    /// Bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        size_of::<Self>() + self.kinds.capacity() * size_of::<(u8, Rare)>()
    }

    pub(super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        let mut number = u8::try_from(self.kinds.len()).map_err(|_| Torn)?;
        flow.u8(&mut number)?;
        if usize::from(number) > MOST {
            return Err(Torn);
        }
        self.kinds.resize(usize::from(number), (0, Rare::default()));
        for (kind, rare) in &mut self.kinds {
            flow.u8(kind)?;
            if usize::from(*kind) >= KINDS {
                return Err(Torn);
            }
            rare.flow(flow)?;
        }
        flow.u64(&mut self.young)?;
        flow.u64(&mut self.old)?;
        flow.hour(&mut self.turned)
    }
}

/// Events of an hour count by their order of magnitude: the first, the fifth, the twenty-fifth.
pub(super) fn counts(number: u16) -> bool {
    matches!(number, 1 | 5 | 25 | 125 | 625)
}
