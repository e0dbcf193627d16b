//! A body of lines (NDJSON), read as it comes: each line is bounded in bytes and in the time that it may take.

use std::future::{poll_fn, Future};
use std::pin::Pin;

use actix_web::body::{BodyStream, MessageBody};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::web::{self, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use tessera_runtime::http::server::media_type;
use tessera_runtime::http::NDJSON;
use tokio::time::timeout;

use super::gate::behind;
use super::problem::Problem;
use crate::limits::{IMPORT_GATHER, IMPORT_LINE_BYTES, IMPORT_LINE_TIME};
use crate::refused::Refused;

/// The lines of a body.
pub(crate) struct Lines {
    body: Pin<Box<BodyStream<web::Payload>>>,
    received: BytesMut,
    /// Bytes of `received` that hold no end of a line.
    looked: usize,
    /// Inside a line that is too long: the rest of it is not kept.
    skips: bool,
    is_over: bool,
}

/// The next of a body.
pub(crate) enum Next {
    /// A line without its end.
    Line(Vec<u8>),
    /// A line that is longer than [`IMPORT_LINE_BYTES`].
    TooLong,
    /// No line is here yet: what was gathered so far should not wait for it.
    Later,
    End,
}

/// The reason for which a body ends before its end.
#[derive(Clone, Copy)]
pub(crate) enum Broken {
    /// A line took longer than [`IMPORT_LINE_TIME`].
    Late,
    /// The connection, or the form of the body.
    Off,
}

impl FromRequest for Lines {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_ours = media_type(request).is_some_and(|kind| kind == NDJSON);
        let payload = web::Payload::from_request(request, payload);
        let read = async move {
            if !is_ours {
                let refused = Refused::malformed("send application/x-ndjson: a JSON object a line");
                return Err(Problem::from(refused).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
            }
            let payload = payload.await.map_err(|_| Refused::malformed("the body broke off"))?;
            let body = Box::pin(BodyStream::new(payload));
            let received = BytesMut::new();
            Ok(Self { body, received, looked: 0, skips: false, is_over: false })
        };
        Box::pin(behind(request, read))
    }
}

impl Lines {
    /// The next line. `waits`: lines before it wait too, so it is waited for [`IMPORT_GATHER`] only.
    ///
    /// # Errors
    /// [`Broken`].
    pub(crate) async fn next(&mut self, waits: bool) -> Result<Next, Broken> {
        let time = if waits { IMPORT_GATHER } else { IMPORT_LINE_TIME };
        match (timeout(time, self.wait()).await, waits) {
            (Ok(next), _) => next,
            (Err(_), true) => Ok(Next::Later),
            (Err(_), false) => Err(Broken::Late),
        }
    }

    /// Cancel-safe: bytes that came stay.
    async fn wait(&mut self) -> Result<Next, Broken> {
        loop {
            if let Some(next) = self.here() {
                return Ok(next);
            }
            if self.is_over {
                return Ok(self.rest());
            }
            self.more().await?;
        }
    }

    /// A line that is here already; empty ones are none.
    fn here(&mut self) -> Option<Next> {
        let unseen = self.received.get(self.looked..).unwrap_or_default();
        let Some(end) = unseen.iter().position(|byte| *byte == b'\n') else {
            self.looked = self.received.len();
            if self.looked > IMPORT_LINE_BYTES {
                self.received.clear();
                (self.looked, self.skips) = (0, true);
            }
            return None;
        };
        let line = self.received.split_to(self.looked + end + 1);
        self.looked = 0;
        Some(self.line(line.get(..line.len() - 1).unwrap_or_default()))
    }

    fn line(&mut self, line: &[u8]) -> Next {
        match std::mem::take(&mut self.skips) || line.len() > IMPORT_LINE_BYTES {
            true => Next::TooLong,
            false => Next::Line(line.to_vec()),
        }
    }

    /// The last line needs no end.
    fn rest(&mut self) -> Next {
        let rest = std::mem::take(&mut self.received);
        self.looked = 0;
        match rest.is_empty() && !self.skips {
            true => Next::End,
            false => self.line(&rest),
        }
    }

    /// Waits for more of the body.
    async fn more(&mut self) -> Result<(), Broken> {
        match poll_fn(|cx| self.body.as_mut().poll_next(cx)).await {
            None => self.is_over = true,
            Some(Ok(part)) => self.received.extend_from_slice(&part),
            Some(Err(_)) => return Err(Broken::Off),
        }
        Ok(())
    }
}
