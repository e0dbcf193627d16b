//! The wait of a connection: for bytes, for room to write, for deliveries, for a call of its handle.

use std::future::poll_fn;
use std::task::Poll;

use tokio::io::{Interest, Ready};
use tokio::time::timeout;

use super::buffers;
use super::serve::Connection;
use crate::limits::WRITE_BATCH;
use crate::session::state_machine::{End, SendState};

impl Connection {
    /// Whether the rate of the client is held down, and it has to wait.
    pub(super) fn is_paused(&mut self) -> bool {
        self.paused = self.paused.filter(|until| *until > self.now.monotonic);
        self.paused.is_some()
    }

    /// Waits for bytes, for room to write, for deliveries or for a call of its handle. Reads pause while the write
    /// buffer is full (back-pressure).
    pub(super) async fn wait(&mut self) -> Option<End> {
        let pause = self.paused.map(|until| until.saturating_sub(self.now.monotonic));
        let interest = match self.out.len() {
            _ if pause.is_some() => Interest::WRITABLE,
            0 => Interest::READABLE,
            n if n < WRITE_BATCH => Interest::READABLE | Interest::WRITABLE,
            _ => Interest::WRITABLE,
        };
        let takes_more = self.out.len() < WRITE_BATCH && self.send_state == SendState::Ready;
        // A socket without bytes to write is always writable.
        let asks_socket = pause.is_none() || !self.out.is_empty();
        let readable = poll_fn(|context| {
            if self.handle.poll_woken(context).is_ready() {
                return Poll::Ready(Ok(false));
            }
            if asks_socket {
                if let Poll::Ready(ready) = self.stream.poll_ready(context, interest) {
                    return Poll::Ready(ready.map(Ready::is_readable));
                }
            }
            match takes_more && self.reader.poll_news(context).is_ready() {
                true => Poll::Ready(Ok(false)),
                false => Poll::Pending,
            }
        });
        let readable = match pause {
            None => readable.await,
            // Boxed: few connections pause.
            Some(pause) => Box::pin(timeout(pause, readable)).await.unwrap_or(Ok(false)),
        };
        if let (Ok(false), true) = (&readable, self.streaming) {
            // Those who are about to publish go first, so that theirs leaves in the same write.
            tokio::task::yield_now().await;
        }
        self.now = self.hub.now();
        if self.out.is_empty() {
            self.out = buffers::to_write();
        }
        match readable {
            Ok(true) => self.read(),
            Ok(false) => None,
            Err(_) => Some(End::lost()),
        }
    }
}
