//! Futures behind a pointer, for the doors of crates.
//!
//! The body of an `async fn` is compiled where it is first polled: in every program that calls it. The body of a boxed
//! future is compiled once, with its own crate.

use std::future::Future;
use std::pin::Pin;

/// A boxed future that gives `T`.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
