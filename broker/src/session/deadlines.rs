//! The moments at which a session or its connection ends by itself: expiry of the token, keep-alive, will delay,
//! session expiry.

use std::time::Duration;

use super::state_machine::{End, Will};
use super::{Now, Session, State};
use crate::authorisation::Rights;
use crate::codec::ReasonCode;
use crate::limits::DEADLINE_CHECK;

/// The result of a timer of a session.
pub enum Due {
    /// Nothing before this moment.
    Later(Duration),
    /// Its connection was told to end; nothing more to do.
    Told,
    /// A will whose delay has passed.
    Will(Will),
    /// It has expired.
    Over,
    /// It has ended already, or the timer was an old one.
    Nothing,
}

impl Session {
    /// The next moment at which something ends by itself, and marks it as the one timer that counts.
    pub fn next_deadline(&self, now: Now) -> Duration {
        let mut state = self.state.lock();
        let deadline = state.deadline(&self.rights.load(), now);
        state.timer = deadline;
        deadline
    }

    /// Looks whether something is due; `at` is the timer that fired.
    pub fn due(&self, at: Duration, now: Now) -> Due {
        let mut state = self.state.lock();
        if state.ended || state.timer != at {
            return Due::Nothing;
        }
        let rights = self.rights.load();
        if let Some(handle) = &state.handle {
            if let Err(code) = rights.alive(now.unix) {
                handle.end(End::refused(ReasonCode::NOT_AUTHORIZED, code));
                return Due::Told;
            }
            if state.machine.silent_until().is_some_and(|until| now.monotonic >= until) {
                handle.end(End::silent());
                return Due::Told;
            }
        } else {
            if now.monotonic >= state.keep_until {
                // A CONNECT at this very moment starts a new session.
                state.ended = true;
                return Due::Over;
            }
            if state.waiting_will.as_deref().is_some_and(|(until, _)| now.monotonic >= *until) {
                if let Some((_, will)) = state.waiting_will.take().map(|waiting| *waiting) {
                    self.save(&state);
                    return Due::Will(will);
                }
            }
        }
        Due::Later(state.deadline(&rights, now))
    }
}

impl State {
    fn deadline(&self, rights: &Rights, now: Now) -> Duration {
        let mut deadline = now.monotonic.saturating_add(DEADLINE_CHECK);
        if self.handle.is_some() {
            let left = rights.grant().expires().since(now.unix);
            deadline = deadline.min(now.monotonic.saturating_add(Duration::from_secs(left)));
            deadline = self.machine.silent_until().map_or(deadline, |until| deadline.min(until));
        } else {
            deadline = deadline.min(self.keep_until);
            deadline =
                self.waiting_will.as_deref().map_or(deadline, |(until, _)| deadline.min(*until));
        }
        deadline.max(now.monotonic + Duration::from_millis(1))
    }
}
