const PLACES: usize = 4;
/// Milliseconds for which a session counts as at work after it did something.
const AT_WORK_MS: u64 = 120_000;

/// The open sessions of a device, to see one key at work in two networks: 4 places, the fifth takes the oldest's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    places: [Place; PLACES],
    /// Where the key was last at work.
    network: u32,
    at_ms: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    session: u32,
    network: u32,
    key: u32,
    since_ms: u64,
}

impl Live {
    /// Whether the key's work moved to another network while it was open and at work in the one before.
    pub(crate) fn opened(&mut self, session: u32, network: u32, key: u32, now_ms: u64) -> bool {
        let switched = self.switches_to(network, key, now_ms);
        let place = Place { session, network, key, since_ms: now_ms };
        if let Some(oldest) =
            self.places.iter_mut().min_by_key(|place| (place.session != 0, place.since_ms))
        {
            *oldest = place;
        }
        (self.network, self.at_ms) = (network, now_ms);
        switched
    }

    /// As [`Live::opened`], for work on a session that is open.
    pub(crate) fn worked(&mut self, session: u32, now_ms: u64) -> bool {
        let place = self.places.iter().find(|place| place.session == session);
        let Some(Place { network, key, .. }) = place.copied() else {
            return false;
        };
        let switched = self.switches_to(network, key, now_ms);
        (self.network, self.at_ms) = (network, now_ms);
        switched
    }

    pub(crate) fn closed(&mut self, session: u32) {
        if let Some(place) = self.places.iter_mut().find(|place| place.session == session) {
            *place = Place::default();
        }
    }

    /// Nothing was at work later than `now_ms`.
    pub(crate) fn heal(&mut self, now_ms: u64) {
        self.at_ms = self.at_ms.min(now_ms);
        self.places.iter_mut().for_each(|place| place.since_ms = place.since_ms.min(now_ms));
    }

    pub(crate) fn is_any(&self) -> bool {
        self.places.iter().any(|place| place.session != 0)
    }

    fn switches_to(&self, network: u32, key: u32, now_ms: u64) -> bool {
        let left = self.network;
        left != 0
            && left != network
            && now_ms.saturating_sub(self.at_ms) <= AT_WORK_MS
            && self
                .places
                .iter()
                .any(|place| place.session != 0 && place.network == left && place.key == key)
    }
}
