//! Client programs that devices of a group changed to: many that change to the same one within a day are an update.

use super::super::record::{Flow, Flowed};

/// Programs that are watched.
const PROGRAMS: usize = 4;
/// Hours in which changes to one program belong together, and for which an update explains what the group does.
const HOURS: u32 = 30;

/// A program, and the devices that changed to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Program {
    mark: u32,
    devices: u32,
    /// The hour of the last change to it.
    hour: u32,
}

/// Programs to which devices changed of late.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Updates {
    programs: [Program; PROGRAMS],
    /// The hour from which a note about the group is told again.
    told_until: u32,
}

impl Updates {
    /// A grown device uses a program that it never used before.
    pub(in super::super) fn add(&mut self, mark: u32, hour: u32) {
        let known = self.programs.iter().position(|program| program.mark == mark);
        let oldest = (0..PROGRAMS).min_by_key(|place| self.programs.get(*place).map(|p| p.hour));
        let Some(program) = known.or(oldest).and_then(|place| self.programs.get_mut(place)) else {
            return;
        };
        if program.mark != mark || hour.saturating_sub(program.hour) > HOURS {
            *program = Program { mark, devices: 0, hour };
        }
        program.devices = program.devices.saturating_add(1);
        program.hour = hour;
    }

    /// Whether a note about the group is due; then it is told.
    pub(in super::super) fn tell(&mut self, hour: u32) -> bool {
        let is_news = hour >= self.told_until;
        if is_news {
            self.told_until = hour + 2 * HOURS;
        }
        is_news
    }

    pub(in super::super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        for program in &mut self.programs {
            flow.u32(&mut program.mark)?;
            flow.u32(&mut program.devices)?;
            flow.hour(&mut program.hour)?;
        }
        flow.hour(&mut self.told_until)
    }

    /// Whether so many of the group's devices changed to one program lately that it is an update.
    pub(in super::super) fn is_update(&self, members: u32, hour: u32) -> bool {
        let least = (members / 10).max(4);
        let mut programs = self.programs.iter();
        programs
            .any(|program| program.devices >= least && hour.saturating_sub(program.hour) <= HOURS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn update_is_one_program_at_many_devices_within_a_day_and_is_told_once() {
        let mut updates = Updates::default();
        (0..9).for_each(|hour| updates.add(7, 100 + hour));
        assert!(!updates.is_update(100, 110), "nine of a hundred");
        updates.add(7, 109);
        assert!(updates.is_update(100, 110));
        assert!(!updates.is_update(100, 109 + HOURS + 1), "long over");
        assert!(updates.tell(110) && !updates.tell(111));
        // As many devices, each with a program of its own.
        let mut updates = Updates::default();
        (0..50).for_each(|mark| updates.add(1 + mark, 100));
        assert!(!updates.is_update(100, 100));
        // One device a week.
        let mut updates = Updates::default();
        (0..50).for_each(|week| updates.add(7, 100 + 168 * week));
        assert!(!updates.is_update(100, 100 + 168 * 49));
    }
}
