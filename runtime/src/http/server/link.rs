//! One connection, as its driver, its dispatcher and its requests share it. All of them run on one thread.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer::Refused;
use super::boundary::HeadScan;
use super::place::{Phase, Place};
use crate::limits::{SERVER_PROGRESS_BYTES, SERVER_READ_BYTES};

/// A stream of bytes: a socket, or TLS over one.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Which of the received bytes the dispatcher may have.
#[derive(Clone, Copy)]
pub(super) enum Feed {
    /// Those of a head, which has had so many.
    Head(HeadScan, usize),
    /// So many of a body.
    Body(u64),
    /// All: a chunked body.
    Chunks,
    /// None: a request is being answered.
    Nothing,
}

/// The shared state.
pub(super) struct Link {
    stream: RefCell<Box<dyn Stream>>,
    /// Received and not handed to the dispatcher.
    pub(super) received: RefCell<BytesMut>,
    pub(super) place: Arc<Place>,
    pub(super) feed: Cell<Feed>,
    /// Bytes of the present body that the dispatcher holds.
    pub(super) ahead: Cell<usize>,
    /// The peer sends no more.
    pub(super) over: Cell<bool>,
    phase: Cell<Phase>,
    /// The phase is new, so its time begins.
    turned: Cell<bool>,
    /// The dispatcher can go on with what is here.
    again: Cell<bool>,
    /// Another request may follow.
    pub(super) keep: Cell<bool>,
    /// The body of the answered request did not come to its end.
    pub(super) unread: Cell<bool>,
    /// The last part of the answer was handed to the dispatcher.
    pub(super) answered: Cell<bool>,
    pub(super) refused: Cell<Option<Refused>>,
    pub(super) written: Cell<u64>,
    /// Bytes of an answer wait for the peer to take others.
    behind: Cell<bool>,
    /// Bytes that went either way since the place was last told of progress.
    moved: Cell<usize>,
}

impl Link {
    pub(super) fn new(stream: Box<dyn Stream>, place: Arc<Place>) -> Self {
        Self {
            stream: RefCell::new(stream),
            received: RefCell::default(),
            place,
            feed: Cell::new(Feed::Head(HeadScan::default(), 0)),
            ahead: Cell::new(0),
            over: Cell::new(false),
            phase: Cell::new(Phase::Silent),
            turned: Cell::new(true),
            again: Cell::new(false),
            keep: Cell::new(true),
            unread: Cell::new(false),
            answered: Cell::new(false),
            refused: Cell::new(None),
            written: Cell::new(0),
            behind: Cell::new(false),
            moved: Cell::new(0),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(super) fn turn(&self, phase: Phase) {
        self.phase.set(phase);
        self.turned.set(true);
        self.place.turn(phase);
    }

    pub(super) fn take_turned(&self) -> bool {
        self.turned.take()
    }

    /// The dispatcher is to be polled once more.
    pub(super) fn go_on(&self) {
        self.again.set(true);
    }

    pub(super) fn take_again(&self) -> bool {
        self.again.take()
    }

    pub(super) fn refuse(&self, refused: Refused) {
        self.refused.set(Some(refused));
    }

    /// All of an answer is with the kernel.
    pub(super) fn finish(&self) {
        if !self.answered.take() {
            return;
        }
        self.feed.set(Feed::Head(HeadScan::default(), 0));
        match self.keep.get() {
            true => self.turn(Phase::Idle),
            false => self.turn(Phase::Closing),
        }
        self.go_on();
    }

    /// Reads what is there, at most [`SERVER_READ_BYTES`]. `Ok(0)` is the end.
    pub(super) fn fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; SERVER_READ_BYTES];
        let mut part = ReadBuf::new(&mut bytes);
        let mut stream = self.stream.borrow_mut();
        std::task::ready!(Pin::new(&mut **stream).poll_read(cx, &mut part))?;
        let part = part.filled();
        if part.is_empty() {
            self.over.set(true);
        }
        self.received.borrow_mut().extend_from_slice(part);
        self.note_moved(part.len());
        Poll::Ready(Ok(part.len()))
    }

    /// A peer that moves a transfer on does not keep the server waiting; one that sends byte by byte does.
    fn note_moved(&self, bytes: usize) {
        let moved = self.moved.get().saturating_add(bytes);
        let is_progress = moved >= SERVER_PROGRESS_BYTES;
        self.moved.set(if is_progress { 0 } else { moved });
        if is_progress && matches!(self.phase(), Phase::Body | Phase::Answering) {
            self.place.progress();
        }
    }

    /// Reads and forgets.
    pub(super) fn discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = self.fill(cx);
        *self.received.borrow_mut() = BytesMut::new();
        read
    }

    /// Hands over at most `most` of the received bytes.
    pub(super) fn hand(&self, buf: &mut ReadBuf<'_>, most: usize) -> usize {
        let mut received = self.received.borrow_mut();
        let count = most.min(received.len()).min(buf.remaining());
        buf.put_slice(received.get(..count).unwrap_or_default());
        received.advance(count);
        if received.is_empty() {
            *received = BytesMut::new();
        }
        count
    }

    pub(super) fn write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        let tried = Pin::new(&mut **stream).poll_write(cx, bytes);
        self.behind.set(tried.is_pending());
        let written = std::task::ready!(tried)?;
        self.written.set(self.written.get().saturating_add(written as u64));
        self.note_moved(written);
        Poll::Ready(Ok(written))
    }

    pub(super) fn flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut **self.stream.borrow_mut()).poll_flush(cx);
        self.behind.set(tried.is_pending());
        tried
    }

    /// Whether the peer keeps the server waiting. It does not while an answer is still being made and all of it so far was
    /// taken.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.get()
    }

    pub(super) fn shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self.stream.borrow_mut()).poll_shutdown(cx)
    }
}
