//! The service that the workers hand their sockets to.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_server::GracefulShutdownSignal;
use actix_service::{Service, ServiceFactory};

use super::book::Book;
use super::drive::{drive, Serve};
use super::link::Stream;
use super::place::Peer;
use super::{Making, ServerLimits};

/// How the peer of a socket is told.
type Tell<T> = fn(&T) -> (Peer, Option<SocketAddr>);

/// What one worker needs for one listener.
pub(super) struct Acceptor {
    pub(super) serve: Making,
    pub(super) book: Arc<Book>,
    pub(super) limits: ServerLimits,
    pub(super) stopping: GracefulShutdownSignal,
}

impl Acceptor {
    /// The same for sockets of one kind.
    pub(super) fn over<T>(self, tell: Tell<T>) -> Accepting<T> {
        Accepting { parts: std::cell::RefCell::new(Some(self)), tell, socket: PhantomData }
    }
}

/// Makes an [`Accepted`] once.
pub(super) struct Accepting<T> {
    parts: std::cell::RefCell<Option<Acceptor>>,
    tell: Tell<T>,
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
        let (parts, tell) = (self.parts.take(), self.tell);
        Box::pin(async move {
            let Acceptor { serve, book, limits, stopping } = parts.ok_or(())?;
            let serve = serve.await?;
            let told = Arc::clone(&book);
            tokio::task::spawn_local(async move {
                stopping.notified().await;
                told.stop();
            });
            tokio::task::spawn_local(Arc::clone(&book).give_turns());
            Ok(Accepted { serve, book, limits: Rc::new(limits), tell })
        })
    }
}

/// Gives each socket a place and its driver.
pub(super) struct Accepted<T> {
    serve: Serve,
    book: Arc<Book>,
    limits: Rc<ServerLimits>,
    tell: Tell<T>,
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
        let (serve, limits) = (Rc::clone(&self.serve), Rc::clone(&self.limits));
        let book = Arc::clone(&self.book);
        Box::pin(async move {
            match book.place(peer, limits.head).await {
                Some(place) => drive(Box::new(socket), place, addr, serve, limits).await,
                None => book.ended("no_place"),
            }
            Ok(())
        })
    }
}
