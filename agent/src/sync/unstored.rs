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
        extend(&mut evidence, self.views.iter().cloned());
        evidence
    }
}

/// Views behind the others, as many as find room beside the events.
pub(super) fn extend(evidence: &mut Evidence, views: impl Iterator<Item = Vec<u8>>) {
    evidence.views.extend(views);
    newest(&mut evidence.views, EVIDENCE_EVENTS.saturating_sub(evidence.events.len()));
}

fn newest(parts: &mut Vec<Vec<u8>>, most: usize) {
    parts.drain(..parts.len().saturating_sub(most));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_views_find_room_together_and_the_newest_count() {
        let part = |number: usize| number.to_be_bytes().to_vec();
        let mut unstored = Unstored::default();
        for number in 0..EVIDENCE_EVENTS {
            unstored.add_view(&part(number), [part(number)].iter());
        }
        let stored = Evidence { views: vec![part(0); 3], ..Evidence::default() };
        assert_eq!(unstored.behind(stored).views, [] as [Vec<u8>; 0]);
        unstored.events.truncate(10);
        let mut evidence = unstored.behind(Evidence::default());
        let last = vec![7];
        extend(&mut evidence, [last.clone()].into_iter());
        assert_eq!(evidence.events.len() + evidence.views.len(), EVIDENCE_EVENTS);
        assert_eq!(evidence.views.last(), Some(&last));
        assert!(Evidence::from_cbor(&evidence.to_cbor()).is_ok());
    }
}
