//! From the time of the scenario to the time of the run.

use std::time::Duration;

use tessera_behaviour::observation::UnixMillis;

/// The begin of a run on all clocks, and how fast its time goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The first moment of the scenario.
    pub(super) world: UnixMillis,
    /// The same moment by the monotonic clock of the process.
    pub(super) process: Duration,
    /// The same moment by the clock on the wall.
    pub(super) wall: UnixMillis,
    /// Seconds of the scenario in one second.
    pub(super) speed: f64,
}

impl Pace {
    /// When something of the scenario is due in this process.
    pub(super) fn due(&self, at: UnixMillis) -> Duration {
        self.process + self.lasts(at.saturating_sub(self.world))
    }

    /// The same by the clock on the wall.
    pub(super) fn on_the_wall(&self, at: UnixMillis) -> UnixMillis {
        let after = self.lasts(at.saturating_sub(self.world)).as_millis();
        self.wall.saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
    }

    /// How long so many milliseconds of the scenario last here.
    pub(super) fn lasts(&self, millis: u64) -> Duration {
        Duration::from_secs_f64(millis as f64 / 1_000.0 / self.speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_divides_the_time_of_the_scenario() {
        let pace =
            Pace { world: 1_000, process: Duration::from_secs(5), wall: 50_000, speed: 60.0 };
        assert_eq!(pace.due(1_000 + 60_000), Duration::from_secs(6));
        assert_eq!(pace.on_the_wall(1_000 + 3_600_000), 50_000 + 60_000);
        assert_eq!(pace.on_the_wall(0), 50_000, "before the begin is the begin");
    }
}
