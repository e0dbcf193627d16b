//! The points of the plots: one a second, and fewer when a run is long.

use serde::Serialize;

use super::limits;
use crate::report::Tally;

/// The state at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// Seconds since the first connect.
    pub second: f64,
    /// Devices connected.
    pub connected: u64,
    /// Connections made so far.
    pub connections: u64,
    /// Messages published so far.
    pub published: u64,
    /// Messages received so far.
    pub received: u64,
    /// Failures so far.
    pub failures: u64,
}

/// Points in the order of time, at most [`limits::POINTS`].
#[derive(Clone, Debug)]
pub(super) struct Series {
    points: Vec<Point>,
    every: usize,
    seen: usize,
}

impl Series {
    pub(super) fn new() -> Self {
        Self { points: Vec::new(), every: 1, seen: 0 }
    }

    /// Takes a point; every second one of the former points goes when there are too many.
    pub(super) fn push(&mut self, point: Point) {
        if self.seen.is_multiple_of(self.every) {
            self.points.push(point);
        }
        self.seen += 1;
        if self.points.len() > limits::POINTS {
            let mut keep = false;
            self.points.retain(|_| {
                keep = !keep;
                keep
            });
            self.every *= 2;
        }
    }

    pub(super) fn points(self) -> Vec<Point> {
        self.points
    }
}

impl Point {
    pub(super) fn of(tally: &Tally, second: f64) -> Self {
        Self {
            second,
            connected: tally.online.get(),
            connections: tally.connections.get(),
            published: tally.published.get(),
            received: tally.delivered.get(),
            failures: tally.failures(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_no_more_points_than_the_limit() {
        let mut series = Series::new();
        for second in 0..10 * limits::POINTS {
            series.push(Point { second: second as f64, ..Point::default() });
        }
        let points = series.points();
        assert!(points.len() <= limits::POINTS && points.len() > limits::POINTS / 4);
        assert_eq!(points[0].second, 0.0);
        assert!(points.windows(2).all(|pair| pair[0].second < pair[1].second));
    }
}
