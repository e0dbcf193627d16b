//! An answer that is made while it is sent. It is made no faster than the peer takes it, and ends with the connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use tokio::sync::mpsc::{channel, Receiver, Sender};

use crate::limits::FLOW_PARTS;

/// An answer that breaks off: the peer sees that it is not whole.
#[derive(Debug)]
pub(crate) struct BrokenOff;

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for BrokenOff {}

/// A part of an answer, or its early end.
type Part = Result<Bytes, BrokenOff>;

/// Where the parts of an answer go.
pub(crate) struct Out(Sender<Part>);

impl Out {
    /// Sends a part, once the peer has room for it.
    pub(crate) async fn send(&self, part: Vec<u8>) {
        // An empty part would be the end of the answer (RFC 9112 section 7.1).
        if part.is_empty() {
            return;
        }
        // The receiver goes with the work that sends.
        let _ = self.0.send(Ok(Bytes::from(part))).await;
    }

    /// Ends the answer so that the peer sees that it is not whole.
    pub(crate) async fn break_off(&self) {
        let _ = self.0.send(Err(BrokenOff)).await;
    }
}

/// The body of such an answer. The work runs in the task of the connection, which also feeds the body of the request.
pub(crate) struct Flow {
    /// `None`: it is done.
    work: Option<Pin<Box<dyn Future<Output = ()>>>>,
    parts: Receiver<Part>,
}

impl Flow {
    /// An answer that `work` makes.
    pub(crate) fn of<F: Future<Output = ()> + 'static>(work: impl FnOnce(Out) -> F) -> Self {
        let (out, parts) = channel(FLOW_PARTS);
        Self { work: Some(Box::pin(work(Out(out)))), parts }
    }
}

impl MessageBody for Flow {
    type Error = BrokenOff;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        if let Poll::Ready(Some(part)) = self.parts.poll_recv(cx) {
            return Poll::Ready(Some(part));
        }
        if let Some(work) = &mut self.work {
            if work.as_mut().poll(cx).is_ready() {
                self.work = None;
            }
        }
        // When the work is done its sender is gone, and the parts come to their end.
        self.parts.poll_recv(cx)
    }
}
