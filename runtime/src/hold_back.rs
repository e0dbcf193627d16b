//! Answers at multiples of a span, so that the time until one says nothing about the reason.

use std::time::Duration;

/// How long to wait before an answer when `passed` has passed since the request: to the next multiple of `bucket`, which is
/// at least a microsecond.
pub fn hold_back(passed: Duration, bucket: Duration) -> Duration {
    let bucket = bucket.as_micros().max(1);
    let over = passed.as_micros() % bucket;
    Duration::from_micros(u64::try_from(bucket - over).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_at_the_next_multiple() {
        let millis = Duration::from_millis;
        for (passed, wait) in [(0, 50), (1, 49), (49, 1), (50, 50), (51, 49), (1020, 30)] {
            assert_eq!(hold_back(millis(passed), millis(50)), millis(wait), "{passed}");
        }
        assert_eq!(hold_back(millis(7), Duration::ZERO), Duration::from_micros(1));
    }
}
