//! Drives one connection: no step of it is without a bound in time and bytes.

use std::future::{poll_fn, Future};
use std::net::SocketAddr;
use std::pin::{pin, Pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{ready, Poll};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::answer::Refused;
use super::book::Held;
use super::link::{Link, Stream};
use super::place::Phase;
use super::wire::Wire;
use super::ServerLimits;
use crate::limits::{
    SERVER_ANSWER_BYTES, SERVER_ANSWER_STEP, SERVER_CLOSING, SERVER_CLOSING_BYTES, SERVER_LINGER,
    SERVER_LINGER_LOOK, SERVER_WARM,
};

type Dispatcher = Pin<Box<dyn Future<Output = ()>>>;

/// Makes a dispatcher.
pub(super) type Serve = Rc<dyn Fn(Wire, Option<SocketAddr>) -> Dispatcher>;

/// How a dispatcher comes to its end.
enum End {
    /// The connection is idle: it waits on without one.
    Rests,
    /// The answer was the last.
    Last,
    /// The request came to no handler.
    Refused(Refused),
    /// The connection ends without a word.
    Over(&'static str),
}

/// The whole life of a connection.
pub(super) async fn drive(
    stream: Box<dyn Stream>,
    held: Held,
    addr: Option<SocketAddr>,
    serve: Serve,
    limits: Rc<ServerLimits>,
) {
    let place = Arc::clone(&held.0);
    let link = Rc::new(Link::new(stream, Arc::clone(&place)));
    let why = live(&link, addr, &serve, &limits).await;
    place.book().ended(why);
}

async fn live(
    link: &Rc<Link>,
    addr: Option<SocketAddr>,
    serve: &Serve,
    limits: &ServerLimits,
) -> &'static str {
    let mut time = limits.head;
    loop {
        match timeout(time, first(link)).await {
            Ok(None) => {}
            Ok(Some(why)) => return why,
            Err(_) => return "idle",
        }
        let mut dispatcher = serve(Wire(Rc::clone(link)), addr);
        let end = serving(link, &mut dispatcher, limits).await;
        drop(dispatcher);
        match end {
            End::Rests => time = limits.idle,
            End::Last => {
                close(link).await;
                return "answered";
            }
            End::Refused(refused) => {
                tell(link, refused).await;
                return refused.why();
            }
            End::Over(why) => return why,
        }
    }
}

/// Waits for bytes, and says why there are none.
async fn first(link: &Link) -> Option<&'static str> {
    poll_fn(|cx| {
        if link.place.is_lost(cx) {
            return Poll::Ready(Some("evicted"));
        }
        if link.place.is_stopping() {
            return Poll::Ready(Some("stopped"));
        }
        Poll::Ready(match ready!(link.fill(cx)) {
            Ok(0) => Some("left"),
            Ok(_) => None,
            Err(_) => Some("broken"),
        })
    })
    .await
}

async fn serving(link: &Link, dispatcher: &mut Dispatcher, limits: &ServerLimits) -> End {
    let mut timer = pin!(sleep(limits.head));
    let mut taken = 0;
    poll_fn(|cx| {
        if link.place.is_lost(cx) {
            return Poll::Ready(End::Over("evicted"));
        }
        let served = dispatcher.as_mut().poll(cx);
        if let Some(refused) = link.refused.take() {
            return Poll::Ready(End::Refused(refused));
        }
        match link.phase() {
            Phase::Closing => return Poll::Ready(End::Last),
            Phase::Idle if link.place.is_stopping() => return Poll::Ready(End::Over("stopped")),
            _ if served.is_ready() => return Poll::Ready(End::Over("left")),
            _ => {}
        }
        if link.take_again() {
            cx.waker().wake_by_ref();
        }
        if link.take_turned() {
            taken = link.written.get();
            timer.set(sleep(time_of(link.phase(), limits)));
        }
        while timer.as_mut().poll(cx).is_ready() {
            match link.phase() {
                Phase::Silent | Phase::Head => return Poll::Ready(End::Refused(Refused::Late)),
                Phase::Body => return Poll::Ready(End::Over("body_late")),
                Phase::Working => return Poll::Ready(End::Over("request_late")),
                Phase::Idle => return Poll::Ready(End::Rests),
                Phase::Closing => return Poll::Ready(End::Last),
                Phase::Answering => {
                    let now = link.written.get();
                    if link.is_behind() && now.saturating_sub(taken) < SERVER_ANSWER_BYTES {
                        return Poll::Ready(End::Over("answer_not_taken"));
                    }
                    taken = now;
                    timer.set(sleep(SERVER_ANSWER_STEP));
                }
            }
        }
        Poll::Pending
    })
    .await
}

fn time_of(phase: Phase, limits: &ServerLimits) -> Duration {
    match phase {
        Phase::Silent | Phase::Head => limits.head,
        Phase::Body | Phase::Working => limits.request,
        Phase::Answering => SERVER_ANSWER_STEP,
        Phase::Idle => SERVER_WARM,
        Phase::Closing => SERVER_CLOSING,
    }
}

/// Says why no handler saw the request.
async fn tell(link: &Link, refused: Refused) {
    link.turn(Phase::Closing);
    let bytes = refused.to_bytes(link.place.book().unix_millis());
    let mut rest = bytes.as_slice();
    let write = poll_fn(|cx| {
        while !rest.is_empty() {
            match ready!(link.write(cx, rest)) {
                Ok(0) | Err(_) => break,
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            }
        }
        Poll::Ready(())
    });
    if timeout(SERVER_CLOSING, write).await.is_ok() {
        close(link).await;
    }
}

/// Ends a connection behind its last answer. A close over unread bytes is a reset, which takes the answer from the peer,
/// so what still comes of a body is read for a while.
async fn close(link: &Link) {
    if link.unread.get() {
        let _ = timeout(SERVER_LINGER, listen(link)).await;
    }
    if !matches!(timeout(SERVER_CLOSING, poll_fn(|cx| link.shutdown(cx))).await, Ok(Ok(()))) {
        return;
    }
    // A peer that goes on sending is cut.
    let _ = timeout(SERVER_CLOSING, listen(link)).await;
}

/// Reads and forgets, a bounded number of bytes, until the peer ends. Single bytes do not wake it.
async fn listen(link: &Link) {
    let mut read = 0;
    loop {
        let over = poll_fn(|cx| {
            while read < SERVER_CLOSING_BYTES && !link.over.get() && !link.place.is_lost(cx) {
                match link.discard(cx) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(true),
                    Poll::Ready(Ok(count)) => read += count,
                    Poll::Pending if read == 0 => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(false),
                }
            }
            Poll::Ready(true)
        });
        if over.await {
            return;
        }
        sleep(SERVER_LINGER_LOOK).await;
    }
}
