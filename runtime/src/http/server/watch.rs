//! Sees every request and its answer, beneath the app.

use std::cell::RefCell;
use std::convert::Infallible;
use std::error::Error;
use std::future::{poll_fn, Future};
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{ready, Context, Poll};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::error::PayloadError;
use actix_http::header::CONTENT_LENGTH;
use actix_http::{ConnectionType, HttpMessage, Method, Payload, Request, Response};
use actix_service::{Service, ServiceFactory};
use actix_web::dev::AppConfig;
use bytes::Bytes;
use futures_core::Stream;
use tokio::time::timeout;

use super::link::{Feed, Link};
use super::place::Phase;
use super::Web;
use crate::limits::{SERVER_CLOSING, SERVER_LEFT_BYTES};

/// Makes a [`Watched`] of an app.
pub(super) struct Watch<S, B> {
    app: S,
    config: AppConfig,
    body: PhantomData<B>,
}

impl<S, B> Watch<S, B> {
    pub(super) fn new(app: S, config: AppConfig) -> Self {
        Self { app, config, body: PhantomData }
    }
}

impl<S, B> ServiceFactory<Request> for Watch<S, B>
where
    S: Web<B>,
    B: MessageBody + 'static,
{
    type Response = Response<Told>;
    type Error = Infallible;
    type Config = ();
    type Service = Watched<S::Service, B>;
    type InitError = ();
    type Future = Pin<Box<dyn Future<Output = Result<Self::Service, ()>>>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let making = self.app.new_service(self.config.clone());
        Box::pin(async move {
            match making.await {
                Ok(app) => Ok(Watched { app, body: PhantomData }),
                Err(error) => {
                    tracing::error!(?error, "the HTTP app was not made");
                    Err(())
                }
            }
        })
    }
}

/// An app whose requests are seen.
pub(super) struct Watched<S, B> {
    app: S,
    body: PhantomData<B>,
}

impl<S, B> Service<Request> for Watched<S, B>
where
    S: Service<Request>,
    S::Error: Into<actix_web::Error>,
    S::Response: Into<Response<B>>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = Response<Told>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Told>, Infallible>>>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // An app is always ready.
        let _ = self.app.poll_ready(cx);
        Poll::Ready(Ok(()))
    }

    fn call(&self, mut request: Request) -> Self::Future {
        let link = request.conn_data::<Rc<Link>>().cloned();
        let exchange = link.map(|link| Exchange::begin(link, &mut request));
        // HEAD is where GET is; the encoder knows what was asked, and leaves the body out.
        if request.method() == Method::HEAD {
            request.head_mut().method = Method::GET;
        }
        let answer = self.app.call(request);
        Box::pin(async move {
            let response = match answer.await {
                Ok(response) => response.into().map_into_boxed_body(),
                Err(error) => error.into().error_response().into(),
            };
            Ok(match exchange {
                Some(exchange) => exchange.answer(response).await,
                None => response.map_body(|_, body| Told { body, link: None, done: false }),
            })
        })
    }
}

type Left = Rc<RefCell<Payload>>;

/// One request and its answer.
struct Exchange {
    link: Rc<Link>,
    body: Option<Left>,
    /// Bytes of the body as its head says.
    length: Option<u64>,
    keep: bool,
}

impl Exchange {
    fn begin(link: Rc<Link>, request: &mut Request) -> Self {
        let chunked = request.chunked().unwrap_or(true);
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
        let length = if chunked { None } else { Some(length.unwrap_or(0)) };
        let (body, over) = match request.take_payload() {
            Payload::None => (None, true),
            payload => (Some(Rc::new(RefCell::new(payload))), false),
        };
        if let Some(body) = &body {
            let body = Seen { body: Rc::clone(body), link: Rc::clone(&link) };
            *request.payload() = Payload::Stream { payload: Box::pin(body) };
        }
        link.feed.set(match length {
            None => Feed::Chunks,
            Some(0) => Feed::Nothing,
            Some(length) => Feed::Body(length),
        });
        link.ahead.set(0);
        link.answered.set(false);
        link.turn(if over { Phase::Working } else { Phase::Body });
        link.go_on();
        // Bytes behind a chunked body in one read are with the dispatcher: the connection ends there.
        let keep = !chunked && request.head().connection_type() == ConnectionType::KeepAlive;
        Self { link, body, length, keep }
    }

    async fn answer(self, mut response: Response<BoxBody>) -> Response<Told> {
        let Self { link, body, length, keep } = self;
        // An answer that is made while it is sent may be made of the rest of the body.
        let streams = matches!(response.body().size(), BodySize::Stream);
        let is_read = match (body, length) {
            (None, _) => true,
            _ if streams => link.phase() != Phase::Body,
            (Some(body), Some(length)) if (1..=SERVER_LEFT_BYTES).contains(&length) => {
                timeout(SERVER_CLOSING, rest(&link, &body)).await.unwrap_or(false)
            }
            _ => link.phase() != Phase::Body,
        };
        let keep = keep && is_read && response.keep_alive() && !link.place.is_stopping();
        if !keep {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        link.keep.set(keep);
        link.unread.set(!is_read);
        link.turn(Phase::Answering);
        let is_empty = matches!(response.body().size(), BodySize::None | BodySize::Sized(0));
        link.answered.set(is_empty);
        response.map_body(|_, body| Told { body, link: Some(link), done: false })
    }
}

/// Reads the rest that a handler left of a small body, and says whether all of it came.
async fn rest(link: &Link, body: &Left) -> bool {
    poll_fn(|cx| loop {
        if link.phase() != Phase::Body {
            return Poll::Ready(true);
        }
        match ready!(take(link, body, cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) => return Poll::Ready(false),
            None => return Poll::Ready(true),
        }
    })
    .await
}

fn take(
    link: &Link,
    body: &Left,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, PayloadError>>> {
    let part = ready!(Pin::new(&mut *body.borrow_mut()).poll_next(cx));
    match &part {
        Some(Ok(bytes)) => {
            link.ahead.set(link.ahead.get().saturating_sub(bytes.len()));
            link.go_on();
        }
        Some(Err(_)) => {}
        None => {
            // The answer may have begun before the body was read.
            link.unread.set(false);
            if link.phase() == Phase::Body {
                link.turn(Phase::Working);
            }
        }
    }
    Poll::Ready(part)
}

/// A request's body whose end is noted.
struct Seen {
    body: Left,
    link: Rc<Link>,
}

impl Stream for Seen {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        take(&self.link, &self.body, cx)
    }
}

/// An answer's body whose end is noted.
pub(super) struct Told {
    body: BoxBody,
    link: Option<Rc<Link>>,
    done: bool,
}

impl MessageBody for Told {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.done {
            return Poll::Pending;
        }
        let part = ready!(self.body.as_pin_mut().poll_next(cx));
        let Some(link) = self.link.as_ref().filter(|_| part.is_none()) else {
            return Poll::Ready(part);
        };
        link.answered.set(true);
        if link.keep.get() || !matches!(self.body.size(), BodySize::Sized(_)) {
            return Poll::Ready(None);
        }
        // All of it is on its way, and the dispatcher has nothing more to say: the driver ends it there.
        self.done = true;
        Poll::Pending
    }
}
