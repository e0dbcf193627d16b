use crate::limits::{LEDGER_RANGES, LEDGER_RANGE_GAP};

/// Seconds as a short list of ranges, both ends included, in order and apart. It only grows: when there are too many
/// ranges, the two that lie nearest to each other become one, with what is between them.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Ranges(Vec<(u32, u32)>);

const BYTES: usize = 8;

impl Ranges {
    pub(super) fn covers(&self, second: u32) -> bool {
        self.end_of(second).is_some()
    }

    pub(super) fn covers_all(&self, first: u32, last: u32) -> bool {
        self.end_of(first).is_some_and(|end| end >= last)
    }

    /// The last second of the range that this one lies in.
    pub(super) fn end_of(&self, second: u32) -> Option<u32> {
        let range = self.0.iter().find(|(first, last)| (*first..=*last).contains(&second))?;
        Some(range.1)
    }

    /// Whether all of `others` is in here.
    pub(super) fn holds(&self, others: &Self) -> bool {
        others.0.iter().all(|(first, last)| self.covers_all(*first, *last))
    }

    pub(super) fn add(&mut self, first: u32, last: u32) {
        self.join(first, last, LEDGER_RANGE_GAP);
        while self.0.len() > LEDGER_RANGES {
            self.join_nearest();
        }
    }

    /// Adds a range, and joins it with those that lie not more than `gap` seconds apart from it.
    fn join(&mut self, first: u32, last: u32, gap: u32) {
        let (mut first, mut last) = (first, last.max(first));
        self.0.retain(|(low, high)| {
            let apart = *low > last.saturating_add(gap) || first > high.saturating_add(gap);
            if !apart {
                (first, last) = (first.min(*low), last.max(*high));
            }
            apart
        });
        let place = self.0.partition_point(|(low, _)| *low < first);
        self.0.insert(place, (first, last));
    }

    pub(super) fn add_all(&mut self, others: &Self) {
        others.0.iter().for_each(|(first, last)| self.add(*first, *last));
    }

    /// Seconds that are in both lists, and no others: it may have more ranges than a list that is added to.
    pub(super) fn common(&self, other: &Self) -> Self {
        let pairs = self.0.iter().flat_map(|own| other.0.iter().map(move |other| (own, other)));
        let both = pairs.map(|(own, other)| (own.0.max(other.0), own.1.min(other.1)));
        Self(both.filter(|(first, last)| first <= last).collect())
    }

    /// Seconds that are in one of both lists, and no others.
    pub(super) fn exactly_with(&self, other: &Self) -> Self {
        let mut all = self.clone();
        other.0.iter().for_each(|(first, last)| all.join(*first, *last, 1));
        all
    }

    pub(super) fn of(first: u32, last: u32) -> Self {
        Self(vec![(first, last.max(first))])
    }

    fn join_nearest(&mut self) {
        let gaps = self.0.iter().zip(self.0.iter().skip(1)).enumerate();
        let nearest = gaps.min_by_key(|(_, (low, high))| high.0.saturating_sub(low.1));
        let Some((place, (_, high))) = nearest else { return };
        let last = high.1;
        self.0.remove(place.saturating_add(1));
        if let Some(low) = self.0.get_mut(place) {
            low.1 = last;
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let ends =
            self.0.iter().flat_map(|(first, last)| [first.to_be_bytes(), last.to_be_bytes()]);
        ends.flatten().collect()
    }

    /// `None` for what is no list of ranges.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut ranges = Self::default();
        for range in bytes.chunks(BYTES) {
            let (first, last) = range.split_first_chunk::<4>()?;
            let (first, last) =
                (u32::from_be_bytes(*first), u32::from_be_bytes(last.try_into().ok()?));
            if first > last {
                return None;
            }
            ranges.add(first, last);
        }
        Some(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[(u32, u32)]) -> Ranges {
        let mut ranges = Ranges::default();
        list.iter().for_each(|(first, last)| ranges.add(*first, *last));
        ranges
    }

    #[test]
    fn what_touches_is_one_range_and_what_is_apart_is_two() {
        let gap = LEDGER_RANGE_GAP;
        assert_eq!(of(&[(100, 110), (105, 120)]).0, [(100, 120)]);
        assert_eq!(of(&[(100, 110), (110 + gap, 200)]).0, [(100, 200)]);
        assert_eq!(of(&[(1000, 1100), (10, 20), (1100 + gap + 1, 9000)]).0.len(), 3);
        assert_eq!(of(&[(10, 20), (1000, 1010), (0, 5000)]).0, [(0, 5000)]);
        let ranges = of(&[(10, 20), (1000, 1010)]);
        assert!(ranges.covers(10) && ranges.covers(20) && !ranges.covers(21) && !ranges.covers(9));
        assert_eq!((ranges.end_of(1003), ranges.end_of(500)), (Some(1010), None));
        assert!(ranges.covers_all(1000, 1010) && !ranges.covers_all(20, 1000));
        assert_eq!(of(&[(0, u32::MAX), (5, 6)]).0, [(0, u32::MAX)]);
    }

    #[test]
    fn of_too_many_the_nearest_two_become_one_and_nothing_is_left_out() {
        let mut ranges = Ranges::default();
        let mut added = Vec::new();
        // An hour apart each, and one in forty days.
        let ahead = 2_000_000_000 + 40 * 86_400;
        ranges.add(ahead, ahead + 2);
        for hour in 0..40 {
            let second = 2_000_000_000 + hour * 3600;
            ranges.add(second, second + 2);
            added.push(second);
            assert!(ranges.0.len() <= LEDGER_RANGES);
            assert!(added.iter().all(|second| ranges.covers_all(*second, second + 2)));
            assert!(!ranges.covers(ahead - 100));
        }
    }

    #[test]
    fn what_is_common_is_in_both_alone() {
        let ranges = of(&[(10, 20), (1000, 1010), (5000, 5100)]);
        assert_eq!(ranges.common(&Ranges::of(15, 1005)).0, [(15, 20), (1000, 1005)]);
        assert_eq!(ranges.common(&of(&[(0, 9), (2000, 6000)])).0, [(5000, 5100)]);
        assert_eq!(ranges.common(&Ranges::default()), Ranges::default());
        assert_eq!(ranges.common(&Ranges::of(21, 999)), Ranges::default());
    }

    #[test]
    fn an_exact_union_joins_what_touches_alone() {
        let ranges = Ranges::of(10, 20);
        assert_eq!(ranges.exactly_with(&Ranges::of(21, 30)).0, [(10, 30)]);
        assert_eq!(ranges.exactly_with(&Ranges::of(22, 30)).0, [(10, 20), (22, 30)]);
    }

    #[test]
    fn they_are_read_back_and_rubbish_is_not() {
        let ranges = of(&[(10, 20), (1000, 1010), (u32::MAX, u32::MAX)]);
        assert_eq!(Ranges::from_bytes(&ranges.to_bytes()), Some(ranges));
        assert_eq!(Ranges::from_bytes(&[]), Some(Ranges::default()));
        assert_eq!(Ranges::from_bytes(b"rubbish"), None);
        assert_eq!(Ranges::from_bytes(&[0, 0, 0, 9, 0, 0, 0, 8]), None);
    }
}
