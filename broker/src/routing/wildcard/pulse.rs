//! Whether a router makes progress: a pure machine, fed by the watcher.
//!
//! A router is judged by the watcher's own steps, not by time that passes. A pause of the whole process (SIGSTOP, a
//! suspended machine) takes as many steps from the watcher as from the router: one step at most ends late, so that no
//! pause is taken for a death, however long it is.

/// The result of one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Finding {
    /// It answered since the step before, or has little time behind it since it was asked.
    Alive,
    /// It has not answered for [`Patience::silent`] steps: a check of health reports it.
    Silent,
    /// It has not answered for [`Patience::hung`] steps, or its thread ended: it is to be replaced.
    Over(Cause),
}

/// Why a router is replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// Its thread has ended.
    Died,
    /// Its thread is there and answers nothing.
    Hung,
    /// Its logs hold much that no reader will read.
    Residue,
}

impl Cause {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Died => "died",
            Self::Hung => "hung",
            Self::Residue => "residue",
        }
    }
}

/// Steps without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) silent: u32,
    pub(super) hung: u32,
}

/// The signs of life of one router.
#[derive(Debug)]
pub(super) struct Pulse {
    patience: Patience,
    seen: u64,
    steps: u32,
}

impl Pulse {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, seen: 0, steps: 0 }
    }

    /// One step of the watcher, which asked the router before. `answers` counts all answers of the router so far.
    pub(super) fn step(&mut self, answers: u64, is_dead: bool) -> Finding {
        if is_dead {
            return Finding::Over(Cause::Died);
        }
        if answers != self.seen {
            self.seen = answers;
            self.steps = 0;
            return Finding::Alive;
        }
        self.steps = self.steps.saturating_add(1);
        if self.steps >= self.patience.hung {
            Finding::Over(Cause::Hung)
        } else if self.steps >= self.patience.silent {
            Finding::Silent
        } else {
            Finding::Alive
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const TICK: Duration = Duration::from_millis(250);
    const PATIENCE: Patience = Patience { silent: 8, hung: 40 };

    /// A machine with a clock: the watcher sleeps one tick at a time, the router answers while it runs.
    struct World {
        now: Duration,
        pulse: Pulse,
        answers: u64,
        router_runs: bool,
    }

    impl World {
        fn new() -> Self {
            Self { now: Duration::ZERO, pulse: Pulse::new(PATIENCE), answers: 0, router_runs: true }
        }

        /// The watcher's sleep ends late by `pause`, in which nothing of the process runs.
        fn step(&mut self, pause: Duration) -> Finding {
            self.now += TICK + pause;
            self.answers += u64::from(self.router_runs && pause == Duration::ZERO);
            self.pulse.step(self.answers, false)
        }
    }

    #[test]
    fn no_pause_of_the_process_is_taken_for_a_death() {
        for seconds in [1, 10, 12, 600, 86_400] {
            let mut world = World::new();
            for round in 0..200 {
                let pause =
                    if round % 3 == 0 { Duration::from_secs(seconds) } else { Duration::ZERO };
                assert_eq!(world.step(pause), Finding::Alive, "round {round}, {seconds} s");
            }
            assert!(world.now > Duration::from_secs(seconds));
        }
    }

    #[test]
    fn a_hung_router_is_silent_first_and_over_then() {
        let mut world = World::new();
        world.step(Duration::ZERO);
        world.router_runs = false;
        let found: Vec<_> = (0..40).map(|_| world.step(Duration::ZERO)).collect();
        assert!(found[..7].iter().all(|one| *one == Finding::Alive));
        assert!(found[7..39].iter().all(|one| *one == Finding::Silent));
        assert_eq!(found[39], Finding::Over(Cause::Hung));
        // A router that answers again is alive.
        world.router_runs = true;
        assert_eq!(world.step(Duration::ZERO), Finding::Alive);
    }

    #[test]
    fn a_hung_router_is_found_although_the_process_was_paused() {
        let mut world = World::new();
        world.router_runs = false;
        let steps =
            (1..).find(|_| world.step(Duration::from_secs(60)) == Finding::Over(Cause::Hung));
        assert_eq!(steps, Some(40));
    }

    #[test]
    fn a_dead_one_is_over_at_once() {
        assert_eq!(Pulse::new(PATIENCE).step(1, true), Finding::Over(Cause::Died));
    }
}
