//! A count of many threads without one cache line between them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Stripes of a count: more threads than these share some.
const STRIPES: usize = 8;

/// A value for each of the threads that count all the time, so that they do not pass one cache line to and fro. A
/// reader takes all together.
#[derive(Default)]
pub struct Stripes<T>([Apart<T>; STRIPES]);

#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

impl<T> Stripes<T> {
    /// The value of this thread.
    pub fn here(&self) -> &T {
        let [first, ..] = &self.0;
        &PLACE.with(|place| self.0.get(*place)).unwrap_or(first).0
    }

    /// The values of all threads.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|apart| &apart.0)
    }
}
