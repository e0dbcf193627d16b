use super::record::{Cut, Take};

const PLACES: usize = 8;

/// The networks a device came from last: 96 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks([Place; PLACES]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    network: u32,
    seen: u32,
    times: u16,
}

impl Networks {
    pub(crate) fn knows(&self, network: u32) -> bool {
        self.0.iter().any(|place| place.network == network)
    }

    /// Whether any network is known at all.
    pub(crate) fn any(&self) -> bool {
        self.0.iter().any(|place| place.network != 0)
    }

    /// None was seen later than `now`.
    pub(crate) fn heal(&mut self, now: u32) {
        self.0.iter_mut().for_each(|place| place.seen = place.seen.min(now));
    }

    /// Notes a connect; the place that was not used for longest is given up.
    pub(crate) fn add(&mut self, network: u32, now: u32) {
        let known = self.0.iter_mut().find(|place| place.network == network);
        if let Some(place) = known {
            place.seen = now;
            place.times = place.times.saturating_add(1);
            return;
        }
        if let Some(oldest) = self.0.iter_mut().min_by_key(|place| place.seen) {
            *oldest = Place { network, seen: now, times: 1 };
        }
    }

    /// How many networks were seen in the last `seconds`, and within how many seconds of each other.
    pub(crate) fn recent(&self, now: u32, seconds: u32) -> (u32, u32) {
        let recent = self
            .0
            .iter()
            .filter(|place| place.network != 0 && now.saturating_sub(place.seen) <= seconds);
        let (mut count, mut first, mut last) = (0, u32::MAX, 0);
        for place in recent {
            count += 1;
            first = first.min(place.seen);
            last = last.max(place.seen);
        }
        (count, last.saturating_sub(first))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for place in &self.0 {
            out.extend(place.network.to_le_bytes());
            out.extend(place.seen.to_le_bytes());
            out.extend(place.times.to_le_bytes());
        }
    }

    pub(super) fn read(from: &mut Take<'_>) -> Result<Self, Cut> {
        let mut places = [Place::default(); PLACES];
        for place in &mut places {
            *place = Place { network: from.u32()?, seen: from.u32()?, times: from.u16()? };
        }
        Ok(Self(places))
    }
}
