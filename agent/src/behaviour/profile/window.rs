/// Seconds of half a window.
const HALF: u64 = 300;

/// Events of the last five to ten minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    half: u64,
    current: Counts,
    previous: Counts,
}

/// Counts of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) connects: u16,
    pub(crate) lost: u16,
    /// Refused publishes, subscriptions and wills.
    pub(crate) refused: u16,
    /// Which topics those were, marked.
    pub(crate) refused_topics: u64,
    /// Proofs of another key.
    pub(crate) forged: u16,
    /// Tokens without their proof.
    pub(crate) unproved: u16,
    pub(crate) replayed: u16,
    /// Of those three, how many came from a network that the device never used.
    pub(crate) foreign: u16,
    pub(crate) impersonated: u16,
    pub(crate) wrong_clock: u16,
    pub(crate) other_refusals: u16,
    /// Refused requests of its sessions for tokens.
    pub(crate) requests: u16,
    pub(crate) new_topics: u16,
    /// How often a key's work moved to another network while it was still at work in the one before.
    pub(crate) switches: u16,
    pub(crate) largest_gap: u32,
}

impl Window {
    /// The counts to add to.
    pub(crate) fn at(&mut self, now_ms: u64) -> &mut Counts {
        let half = now_ms / 1000 / HALF;
        if half > self.half {
            let next_door = half == self.half + 1;
            self.previous = if next_door { self.current } else { Counts::default() };
            self.current = Counts::default();
            self.half = half;
        }
        &mut self.current
    }

    /// Begins anew when it lies ahead of `now_ms`.
    pub(crate) fn heal(&mut self, now_ms: u64) {
        if self.half > now_ms / 1000 / HALF {
            *self = Self::default();
        }
    }

    /// Both halves together.
    pub(crate) fn counts(&self) -> Counts {
        let (a, b) = (&self.current, &self.previous);
        Counts {
            connects: a.connects.saturating_add(b.connects),
            lost: a.lost.saturating_add(b.lost),
            refused: a.refused.saturating_add(b.refused),
            refused_topics: a.refused_topics | b.refused_topics,
            forged: a.forged.saturating_add(b.forged),
            unproved: a.unproved.saturating_add(b.unproved),
            replayed: a.replayed.saturating_add(b.replayed),
            foreign: a.foreign.saturating_add(b.foreign),
            impersonated: a.impersonated.saturating_add(b.impersonated),
            wrong_clock: a.wrong_clock.saturating_add(b.wrong_clock),
            other_refusals: a.other_refusals.saturating_add(b.other_refusals),
            requests: a.requests.saturating_add(b.requests),
            new_topics: a.new_topics.saturating_add(b.new_topics),
            switches: a.switches.saturating_add(b.switches),
            largest_gap: a.largest_gap.max(b.largest_gap),
        }
    }
}

/// Adds one and stays at the top.
pub(crate) fn count(counter: &mut u16) {
    *counter = counter.saturating_add(1);
}
