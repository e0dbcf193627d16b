//! Open sessions of a device, and the programs and networks behind them: two holders of one credential show by work in
//! turns, or by a program or network that comes back.

use super::super::num::at;
use super::super::record::{Flow, Flowed};

const PLACES: usize = 3;
/// Seconds within which work of two sessions in turns counts as work at the same time.
const TOGETHER: u32 = 900;

/// One open session.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in super::super) struct Live {
    /// A mark of its number; 0 is an empty place.
    id: u32,
    pub(in super::super) network: u32,
    pub(in super::super) program: u32,
    opened: u32,
    /// When it last worked; 0 for never.
    worked: u32,
}

/// Open sessions: those that are followed, and how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in super::super) struct Sessions {
    places: [Live; PLACES],
    /// The place that worked last.
    last: u8,
    /// Sessions that are open, and the most that are usual.
    open: u16,
    pub(in super::super) usual_open: u8,
}

/// Two sessions that work at the same time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Overlap {
    pub(in super::super) other_network: bool,
    pub(in super::super) other_program: bool,
    pub(in super::super) since: u32,
}

impl Sessions {
    pub(in super::super) fn open(&mut self, id: u32, network: u32, program: u32, now: u32) {
        self.open = self.open.saturating_add(1);
        let live = Live { id, network, program, opened: now, worked: 0 };
        // An empty place, or the one that worked or was opened the longest ago.
        let oldest = self.places.iter_mut().min_by_key(|place| match place.id {
            0 => 0,
            _ => place.worked.max(place.opened),
        });
        if let Some(place) = oldest {
            *place = live;
        }
    }

    pub(in super::super) fn close(&mut self, id: u32) {
        self.open = self.open.saturating_sub(1);
        if let Some(place) = self.places.iter_mut().find(|place| place.id == id) {
            *place = Live::default();
        }
    }

    /// Whether this session, the last one that worked, works on.
    pub(in super::super) fn goes_on(&self, id: u32, now: u32) -> bool {
        let last = at_place(&self.places, self.last);
        last.id == id && now.saturating_sub(last.worked) < 30
    }

    /// A session works. Tells when another one has worked since it last did.
    pub(in super::super) fn work(&mut self, id: u32, now: u32) -> Option<Overlap> {
        let last = at_place(&self.places, self.last);
        let place = self.places.iter().position(|place| place.id == id)?;
        let this = self.places.get_mut(place)?;
        let before = this.worked;
        this.worked = now.max(1);
        let this = *this;
        self.last = u8::try_from(place).unwrap_or(0);
        let is_other = last.id != 0 && last.id != id && last.worked > 0;
        let in_turns = is_other
            && before > 0
            && before <= last.worked
            && last.worked.saturating_sub(before) <= TOGETHER
            && now.saturating_sub(last.worked) <= TOGETHER;
        in_turns.then_some(Overlap {
            other_network: last.network != this.network,
            other_program: last.program != this.program,
            since: before,
        })
    }

    pub(in super::super) fn number(&self) -> u16 {
        self.open
    }

    pub(in super::super) fn any(&self) -> bool {
        self.open > 0
    }

    /// Sessions that were open for long and never worked.
    pub(in super::super) fn idle(&self, now: u32, seconds: u32) -> usize {
        let is_idle = |place: &&Live| {
            place.id != 0 && place.worked == 0 && now.saturating_sub(place.opened) >= seconds
        };
        self.places.iter().filter(is_idle).count()
    }

    /// An hour ends: the usual number of open sessions follows slowly.
    pub(in super::super) fn end_hour(&mut self) {
        let open = u8::try_from(self.open).unwrap_or(u8::MAX);
        if open > self.usual_open {
            self.usual_open = self.usual_open.saturating_add(1);
        }
    }

    pub(in super::super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        for place in &mut self.places {
            flow.u32(&mut place.id)?;
            flow.u32(&mut place.network)?;
            flow.u32(&mut place.program)?;
            flow.seconds(&mut place.opened)?;
            flow.seconds(&mut place.worked)?;
        }
        flow.u8(&mut self.last)?;
        flow.u16(&mut self.open)?;
        flow.u8(&mut self.usual_open)
    }
}

fn at_place(places: &[Live], place: u8) -> Live {
    at(places, usize::from(place))
}

/// Marks that were used, the longest unused given up first: networks or programs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Used<const N: usize> {
    marks: [u32; N],
    last: [u32; N],
    current: u8,
}

impl<const N: usize> Default for Used<N> {
    fn default() -> Self {
        Self { marks: [0; N], last: [0; N], current: 0 }
    }
}

/// How a mark relates to those that were used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Use {
    /// The first one of all.
    First,
    /// The one that was used last.
    Same,
    /// One that was never used.
    New,
    /// One that was used before another one, so many seconds ago.
    Back { after: u32 },
}

impl<const N: usize> Used<N> {
    pub(in super::super) fn knows(&self, mark: u32) -> bool {
        self.marks.contains(&mark)
    }

    pub(in super::super) fn any(&self) -> bool {
        self.marks.iter().any(|mark| *mark != 0)
    }

    pub(in super::super) fn add(&mut self, mark: u32, now: u32) -> Use {
        let was_empty = !self.any();
        let before = usize::from(self.current);
        let known = self.marks.iter().position(|known| *known == mark);
        let place = known.unwrap_or_else(|| {
            let oldest =
                (0..N).min_by_key(|place| (at(&self.marks, *place) != 0, at(&self.last, *place)));
            oldest.unwrap_or(0)
        });
        let last = at(&self.last, place);
        super::super::num::put(&mut self.marks, place, mark);
        super::super::num::put(&mut self.last, place, now);

        self.current = u8::try_from(place).unwrap_or(0);
        match known {
            _ if was_empty => Use::First,
            None => Use::New,
            Some(known) if known == before => Use::Same,
            Some(_) => Use::Back { after: now.saturating_sub(last) },
        }
    }

    pub(in super::super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        for mark in &mut self.marks {
            flow.u32(mark)?;
        }
        for last in &mut self.last {
            flow.seconds(last)?;
        }
        flow.u8(&mut self.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_work_in_turns_overlap_and_a_takeover_does_not() {
        let mut sessions = Sessions::default();
        sessions.open(1, 10, 20, 100);
        assert_eq!(sessions.work(1, 101), None);
        sessions.open(2, 11, 20, 110);
        assert_eq!(sessions.work(2, 111), None);
        assert_eq!(sessions.work(2, 112), None);
        let overlap = sessions.work(1, 115).unwrap();
        assert!(overlap.other_network && !overlap.other_program);
        // A takeover: the older session ends, and only the newer one works.
        let mut sessions = Sessions::default();
        for turn in 0..50 {
            sessions.open(turn + 1, 10 + turn, 20, 100 + turn * 40);
            assert_eq!(sessions.work(turn + 1, 101 + turn * 40), None);
            if turn > 0 {
                sessions.close(turn);
            }
            assert_eq!(sessions.work(turn + 1, 130 + turn * 40), None);
        }
    }

    #[test]
    fn used_marks_tell_a_return_from_a_change() {
        let mut used = Used::<3>::default();
        let uses: Vec<Use> = [7, 7, 8, 7].iter().zip(1..).map(|(m, t)| used.add(*m, t)).collect();
        assert_eq!(uses, [Use::First, Use::Same, Use::New, Use::Back { after: 2 }]);
        assert!(used.knows(8) && !used.knows(9));
    }
}
