//! Outcomes that a run has reached: outcomes that the targets name themselves.
//!
//! Stable Rust has no coverage to steer by, so a target notes which refusal, rule or path it came to. The driver keeps
//! inputs that reach something new, and a target that no longer reaches enough fails: it would check nothing.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

thread_local! {
    static NOTED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Notes an outcome.
pub fn note(outcome: impl Hash) {
    let mut hasher = DefaultHasher::new();
    outcome.hash(&mut hasher);
    NOTED.with_borrow_mut(|noted| noted.push(hasher.finish()));
}

/// Takes what was noted since the last time.
pub fn take() -> Vec<u64> {
    NOTED.with_borrow_mut(std::mem::take)
}
