//! The service that the workers hand their sockets to.

use std::convert::Infallible;
use std::future::{poll_fn, Future};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_server::GracefulShutdownSignal;
use actix_service::{Service, ServiceFactory};
use tokio::net::TcpStream;

use super::book::Book;
use super::drive::{drive, Serve};
use super::link::Stream;
use super::place::Peer;
use super::{Making, ServerLimits};
use crate::proxy::entrance::Entrance;

/// How the peer of a socket is told.
type Tell<T> = fn(&T) -> (Peer, Option<SocketAddr>);

/// The parts that one worker needs for one listener.
pub(super) struct Acceptor {
    pub(super) serve: Making,
    pub(super) book: Arc<Book>,
    pub(super) limits: ServerLimits,
    pub(super) stopping: GracefulShutdownSignal,
}

impl Acceptor {
    /// The same for sockets of one kind.
    pub(super) fn over<T>(self, tell: Tell<T>) -> Accepting<T> {
        let parts = std::cell::RefCell::new(Some(self));
        Accepting { parts, tell, entrance: None, socket: PhantomData }
    }

    /// The same for TCP sockets that come through an entrance.
    pub(super) fn through(self, entrance: Entrance, tell: Tell<TcpStream>) -> Accepting<TcpStream> {
        let enter: Enter<TcpStream> = Rc::new(move |socket, from, serving| {
            Box::pin(enter(entrance.clone(), socket, from, serving))
        });
        Accepting { entrance: Some(enter), ..self.over(tell) }
    }
}

/// The function that takes a socket from its accept to its end.
type Enter<T> = Rc<dyn Fn(T, Option<SocketAddr>, Serving) -> Pin<Box<dyn Future<Output = ()>>>>;

/// The parts that serve a connection once it is in.
#[derive(Clone)]
struct Serving {
    serve: Serve,
    book: Arc<Book>,
    limits: Rc<ServerLimits>,
}

/// Reads the PROXY header, finds a place for the peer that it names, and shakes hands.
async fn enter(
    entrance: Entrance,
    mut socket: TcpStream,
    from: Option<SocketAddr>,
    serving: Serving,
) {
    let Serving { serve, book, limits } = serving;
    let Some(from) = from else { return book.ended("broken") };
    let peer = match entrance.peer(&mut socket, from).await {
        Ok(peer) => peer,
        Err(rule) => return book.ended(rule),
    };
    let held = match entrance.is_proxy(peer.ip()) {
        true => Peer::Proxy,
        false => Peer::of(peer.ip()),
    };
    let Some(place) = book.place(held, limits.head).await else { return book.ended("no_place") };
    let lost = poll_fn(|cx| if place.is_lost(cx) { Poll::Ready(()) } else { Poll::Pending });
    let secured = tokio::select! {
        () = lost => Err("evicted"),
        secured = entrance.secure(socket, peer) => secured,
    };
    match secured {
        Ok(stream) => drive(Box::new(stream), place, Some(peer), serve, limits).await,
        Err(rule) => book.ended(rule),
    }
}

/// Makes an [`Accepted`] once.
pub(super) struct Accepting<T> {
    parts: std::cell::RefCell<Option<Acceptor>>,
    tell: Tell<T>,
    entrance: Option<Enter<T>>,
    socket: PhantomData<T>,
}

impl<T: Stream + 'static> ServiceFactory<T> for Accepting<T> {
    type Response = ();
    type Error = Infallible;
    type Config = ();
    type Service = Accepted<T>;
    type InitError = ();
    type Future = Pin<Box<dyn Future<Output = Result<Accepted<T>, ()>>>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let (parts, tell, entrance) = (self.parts.take(), self.tell, self.entrance.clone());
        Box::pin(async move {
            let Acceptor { serve, book, limits, stopping } = parts.ok_or(())?;
            let serve = serve.await?;
            let told = Arc::clone(&book);
            tokio::task::spawn_local(async move {
                stopping.notified().await;
                told.stop();
            });
            tokio::task::spawn_local(Arc::clone(&book).give_turns());
            let serving = Serving { serve, book, limits: Rc::new(limits) };
            Ok(Accepted { serving, tell, entrance })
        })
    }
}

/// Gives each socket a place and its driver.
pub(super) struct Accepted<T> {
    serving: Serving,
    tell: Tell<T>,
    entrance: Option<Enter<T>>,
}

impl<T: Stream + 'static> Service<T> for Accepted<T> {
    type Response = ();
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<(), Infallible>>>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, socket: T) -> Self::Future {
        let (peer, addr) = (self.tell)(&socket);
        let serving = self.serving.clone();
        if let Some(enter) = &self.entrance {
            let entered = enter(socket, addr, serving);
            return Box::pin(async move {
                entered.await;
                Ok(())
            });
        }
        let Serving { serve, book, limits } = serving;
        Box::pin(async move {
            match book.place(peer, limits.head).await {
                Some(place) => drive(Box::new(socket), place, addr, serve, limits).await,
                None => book.ended("no_place"),
            }
            Ok(())
        })
    }
}
