//! Trust data that a verifier knows and could not store: it is shown to a service that has lost it all the same.

use tessera_token::limits::EVIDENCE_EVENTS;
use tessera_token::trust::Evidence;

/// Signed bytes behind those of the store.
#[derive(Default)]
pub(super) struct Unstored {
    /// A snapshot that stands in the place of everything stored.
    snapshot: Option<Vec<u8>>,
    /// Events behind it, or behind the stored ones.
    events: Vec<Vec<u8>>,
}

impl Unstored {
    pub(super) fn of_snapshot(bytes: &[u8]) -> Self {
        Self { snapshot: Some(bytes.to_vec()), events: Vec::new() }
    }

    pub(super) fn add<'a>(&mut self, events: impl Iterator<Item = &'a Vec<u8>>) {
        self.events.extend(events.cloned());
        newest(&mut self.events);
    }

    /// Everything that is known.
    pub(super) fn behind(&self, stored: Evidence) -> Evidence {
        let mut evidence = match &self.snapshot {
            Some(snapshot) => Evidence { snapshot: snapshot.clone(), ..Evidence::default() },
            None => Evidence { heartbeat: Vec::new(), ..stored },
        };
        evidence.events.extend(self.events.iter().cloned());
        newest(&mut evidence.events);
        evidence
    }
}

fn newest(events: &mut Vec<Vec<u8>>) {
    events.drain(..events.len().saturating_sub(EVIDENCE_EVENTS));
}
