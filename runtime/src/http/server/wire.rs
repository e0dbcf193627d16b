//! The socket as a dispatcher sees it: one request at a time.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{ready, Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer::Refused;
use super::link::{Feed, Link};
use super::place::Phase;
use crate::limits::{SERVER_AHEAD_BYTES, SERVER_HEAD_BYTES, SERVER_READ_BYTES};

/// The stream that a dispatcher reads from and writes to.
pub(super) struct Wire(pub(super) Rc<Link>);

impl Wire {
    pub(super) fn link(&self) -> Rc<Link> {
        Rc::clone(&self.0)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let link = &self.0;
        match link.feed.get() {
            Feed::Nothing => ahead(link, cx),
            Feed::Chunks | Feed::Body(_) if link.ahead.get() >= SERVER_AHEAD_BYTES => Poll::Pending,
            Feed::Chunks => {
                ready!(something(link, cx))?;
                let count = link.hand(buf, usize::MAX);
                link.ahead.set(link.ahead.get() + count);
                Poll::Ready(Ok(()))
            }
            Feed::Body(left) => {
                ready!(something(link, cx))?;
                let count = link.hand(buf, usize::try_from(left).unwrap_or(usize::MAX));
                link.ahead.set(link.ahead.get() + count);
                let left = left.saturating_sub(count as u64);
                link.feed.set(if left == 0 { Feed::Nothing } else { Feed::Body(left) });
                Poll::Ready(Ok(()))
            }
            Feed::Head(mut scan, had) => {
                ready!(something(link, cx))?;
                let end = {
                    let received = link.received.borrow();
                    let seen = received.get(..buf.remaining()).unwrap_or(&received);
                    scan.end(seen)
                };
                let count = link.hand(buf, end.unwrap_or(usize::MAX));
                if count > 0 && link.phase() != Phase::Head {
                    link.turn(Phase::Head);
                }
                let had = had + count;
                if had > SERVER_HEAD_BYTES {
                    link.refuse(Refused::TooLarge);
                }
                link.feed.set(end.map_or(Feed::Head(scan, had), |_| Feed::Nothing));
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// Bytes that can be handed over, or the end.
fn something(link: &Link, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    if link.received.borrow().is_empty() && !link.over.get() {
        ready!(link.fill(cx))?;
    }
    Poll::Ready(Ok(()))
}

/// A few bytes of the next request are taken, so that a connection that broke is noticed.
fn ahead(link: &Link, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while link.received.borrow().len() < SERVER_READ_BYTES && !link.over.get() {
        ready!(link.fill(cx))?;
    }
    Poll::Pending
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let link = &self.0;
        if matches!(link.phase(), Phase::Silent | Phase::Head | Phase::Idle) {
            // No request came to a handler: the parser refuses the head. The driver tells it, and ends the dispatcher
            // before that writes a line about it.
            link.refuse(Refused::of_answer(bytes));
            return Poll::Pending;
        }
        link.write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.flush(cx))?;
        self.0.finish();
        Poll::Ready(Ok(()))
    }

    /// The driver closes.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
