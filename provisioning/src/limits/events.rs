//! Limits of the stream of events for operators.

use std::time::Duration;

/// Streams of one account at a time in one process; accounts of some tenants have those of their share.
pub const EVENT_STREAMS_OF_ACCOUNT: usize = 4;
/// Streams of all accounts at a time in one process.
pub const EVENT_STREAMS: usize = 256;
/// Time of one stream; its reader comes back behind the last event.
pub const EVENT_STREAM_TIME: Duration = Duration::from_secs(3600);
/// Entries of one read for a stream.
pub const EVENT_STREAM_PAGE: usize = 100;
/// Time after which a stream looks for entries of other processes, and asks for the rights of its account.
pub const EVENT_STREAM_LOOK: Duration = Duration::from_secs(1);
/// Time for which entries that follow each other are gathered into one part.
pub const EVENT_STREAM_GATHER: Duration = Duration::from_millis(100);
/// Time without an event after which a stream says that it lives.
pub const EVENT_STREAM_PING: Duration = Duration::from_secs(15);
/// Milliseconds after which a browser comes back.
pub const EVENT_STREAM_AGAIN_MILLIS: u64 = 2000;
