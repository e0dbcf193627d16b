//! Limits of the metrics port.

use std::time::Duration;

/// HTTP connections at once: scrapers and probes.
pub const HTTP_CONNECTIONS: usize = 1024;
/// HTTP connections of one address at once.
pub const HTTP_CONNECTIONS_PER_ADDRESS: usize = 768;
/// Time for the head of a request.
pub const HTTP_HEAD: Duration = Duration::from_secs(5);
/// Idle connections are closed after this: scrapers come every 15 s.
pub const HTTP_IDLE: Duration = Duration::from_secs(30);
/// Time for one request: none has a body that is read.
pub const HTTP_REQUEST: Duration = Duration::from_secs(10);
/// Time given to running requests when the broker stops.
pub const HTTP_DRAIN: Duration = Duration::from_secs(2);
