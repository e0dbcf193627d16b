//! What a verifier knows and could not store: it is shown to a service that has lost it all the same.

use tessera_token::limits::EVIDENCE_EVENTS;
use tessera_token::trust::Evidence;

/// Signed bytes behind those of the store.
#[derive(Default)]
pub(super) struct Unstored {
    /// A snapshot that stands in the place of everything stored.
    snapshot: Option<Vec<u8>>,
    /// Events behind it, or behind the stored ones.
    events: Vec<Vec<u8>>,
    /// The views in which a verifier of some tenants got them.
    views: Vec<Vec<u8>>,
}

impl Unstored {
    pub(super) fn of_snapshot(bytes: &[u8]) -> Self {
        Self { snapshot: Some(bytes.to_vec()), ..Self::default() }
    }

    pub(super) fn add<'a>(&mut self, events: impl Iterator<Item = &'a Vec<u8>>) {
        self.events.extend(events.cloned());
        newest(&mut self.events, EVIDENCE_EVENTS);
    }

    pub(super) fn add_view<'a>(&mut self, view: &[u8], events: impl Iterator<Item = &'a Vec<u8>>) {
        self.add(events);
        self.views.push(view.to_vec());
        newest(&mut self.views, EVIDENCE_EVENTS);
    }

    /// Everything that is known.
    pub(super) fn behind(&self, stored: Evidence) -> Evidence {
        let mut evidence = match &self.snapshot {
            Some(snapshot) => Evidence { snapshot: snapshot.clone(), ..Evidence::default() },
            None => Evidence { heartbeat: Vec::new(), ..stored },
        };
        evidence.events.extend(self.events.iter().cloned());
        newest(&mut evidence.events, EVIDENCE_EVENTS);
        evidence.views.extend(self.views.iter().cloned());
        // Both together within the bytes of evidence.
        newest(&mut evidence.views, EVIDENCE_EVENTS - evidence.events.len());
        evidence
    }
}

fn newest(parts: &mut Vec<Vec<u8>>, most: usize) {
    parts.drain(..parts.len().saturating_sub(most));
}
