//! The step after an attempt: the next one, or the end.

use crate::limits::{WEBHOOK_FAILING_SECONDS, WEBHOOK_PAUSES};

/// HTTP: the receiver is gone and comes not back (RFC 9110 section 15.5.11).
const GONE: u16 = 410;

/// The step after an attempt that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Again after so many seconds.
    Again(u64),
    /// It was the last attempt of this message.
    GiveUp,
}

/// The step after the attempt with this number, from 1. `draw` is any number: pauses differ by up to a fifth, so that many
/// messages do not come back at one moment. `wanted` is what the receiver asked for (Retry-After), in seconds.
pub(crate) fn step(attempt: u64, draw: u64, wanted: Option<u64>) -> Step {
    let at = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(pause) = WEBHOOK_PAUSES.get(at) else { return Step::GiveUp };
    let fifth = pause / 5;
    let pause = pause - fifth + draw % (2 * fifth + 1);
    let longest = WEBHOOK_PAUSES.iter().max().copied().unwrap_or_default();
    Step::Again(pause.max(wanted.unwrap_or_default().min(longest)))
}

/// Why a webhook is disabled after an attempt failed; `None` when it is not.
pub(crate) fn end(status: Option<u16>, failing_since: u64, now: u64) -> Option<String> {
    if status == Some(GONE) {
        return Some("the receiver answered 410: it is gone".to_owned());
    }
    let failing = now.saturating_sub(failing_since);
    (failing >= WEBHOOK_FAILING_SECONDS)
        .then(|| format!("no attempt has succeeded for {} days", failing / 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::WEBHOOK_PAUSE_MOST;

    #[test]
    fn ten_attempts_within_about_three_days() {
        let (mut sum, mut attempts) = (0, 1);
        while let Step::Again(pause) = step(attempts, 1_000_000_007 * attempts, None) {
            sum += pause;
            attempts += 1;
        }
        assert_eq!(attempts, 10);
        assert_eq!(WEBHOOK_PAUSES.iter().max().map(|most| most * 6 / 5), Some(WEBHOOK_PAUSE_MOST));
        assert!((60 * 3600..90 * 3600).contains(&sum), "{sum}");
        for draw in 0..20_000 {
            let Step::Again(pause) = step(3, draw, None) else { panic!("{draw}") };
            assert!((1440..=2160).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_pause_and_not_for_ever() {
        assert_eq!(step(1, 0, Some(600)), Step::Again(600));
        assert_eq!(step(1, 0, Some(u64::MAX)), Step::Again(86_400));
        assert_eq!(step(10, 0, Some(600)), Step::GiveUp);
    }

    #[test]
    fn a_webhook_ends_when_it_is_gone_or_fails_for_five_days() {
        let day = 86_400;
        assert!(end(Some(410), 0, 1).is_some());
        assert!(end(Some(500), 0, 5 * day - 1).is_none());
        assert!(end(None, 0, 5 * day).unwrap().contains("5 days"));
    }
}
