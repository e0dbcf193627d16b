//! Lines of a file in the order of their times: a source may write them up to five seconds out of order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

use super::line::{Line, LineError};
use super::{Observation, UnixMillis};
use crate::limits;

/// Why a line was not taken.
#[derive(Debug)]
pub enum OrderError {
    /// It is no observation.
    Line(LineError),
    /// Its time lies too far before that of a line that was given on already.
    TooLate {
        /// By how much, in milliseconds.
        by: UnixMillis,
    },
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(error) => error.fmt(f),
            Self::TooLate { by } => write!(
                f,
                "the time of the line lies {by} ms before that of an earlier line, and {} ms are possible: sort the file \
                 by `t`",
                limits::OUT_OF_ORDER_MS
            ),
        }
    }
}

impl std::error::Error for OrderError {}

/// Lines that wait for earlier ones. Those of one time keep their order.
#[derive(Debug, Default)]
pub struct InOrder {
    waiting: BinaryHeap<Reverse<(UnixMillis, u64, String)>>,
    number: u64,
    newest: UnixMillis,
    given: UnixMillis,
}

impl InOrder {
    /// Takes in one line, and gives those observations for which nothing earlier can come.
    ///
    /// # Errors
    /// See [`OrderError`]. The line is left out; the next one may be good.
    pub fn push(
        &mut self,
        text: &str,
        take: impl FnMut(&Observation<'_>),
    ) -> Result<(), OrderError> {
        let Some(line) = Line::parse(text).map_err(OrderError::Line)? else { return Ok(()) };
        let at = line.observation().at;
        if at < self.given {
            return Err(OrderError::TooLate { by: self.newest.saturating_sub(at) });
        }
        self.newest = self.newest.max(at);
        self.waiting.push(Reverse((at, self.number, text.to_owned())));
        self.number += 1;
        let until = match self.waiting.len() > limits::WAITING_LINES {
            // So many in five seconds: the oldest is given all the same, or memory would have no bound.
            true => self.newest,
            false => self.newest.saturating_sub(limits::OUT_OF_ORDER_MS),
        };
        self.give(until, take);
        Ok(())
    }

    /// Gives what is left.
    pub fn finish(&mut self, take: impl FnMut(&Observation<'_>)) {
        self.give(UnixMillis::MAX, take);
    }

    fn give(&mut self, until: UnixMillis, mut take: impl FnMut(&Observation<'_>)) {
        while self.waiting.peek().is_some_and(|Reverse((at, ..))| *at <= until) {
            let Some(Reverse((at, _, text))) = self.waiting.pop() else { return };
            self.given = at;
            // The text was parsed before.
            if let Ok(Some(line)) = Line::parse(&text) {
                take(&line.observation());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(t: f64, device: &str) -> String {
        format!(r#"{{"t":{t},"device":"{device}","kind":"disconnect"}}"#)
    }

    #[test]
    fn lines_are_given_in_the_order_of_their_times() {
        let (mut order, mut seen) = (InOrder::default(), Vec::new());
        for (t, device) in
            [(10.0, "a"), (9.0, "b"), (12.0, "c"), (12.0, "d"), (11.0, "e"), (30.0, "f")]
        {
            order.push(&line(t, device), |o| seen.push(o.device.to_owned())).unwrap();
        }
        assert_eq!(seen, ["b", "a", "e", "c", "d"]);
        let late = order.push(&line(11.5, "g"), |_| ()).unwrap_err();
        assert!(matches!(late, OrderError::TooLate { by: 18_500 }), "{late}");
        assert!(late.to_string().contains("sort the file by `t`"));
        assert!(matches!(order.push("{}", |_| ()), Err(OrderError::Line(_))));
        order.finish(|o| seen.push(o.device.to_owned()));
        assert_eq!(seen.last().unwrap(), "f");
    }

    #[test]
    fn lines_that_wait_have_a_bound() {
        let (mut order, mut count) = (InOrder::default(), 0);
        for _ in 0..limits::WAITING_LINES + 5 {
            order.push(&line(1.0, "a"), |_| count += 1).unwrap();
        }
        assert!(count > 0 && order.waiting.len() <= limits::WAITING_LINES);
    }
}
