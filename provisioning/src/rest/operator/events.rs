//! The stream of events for operators (server-sent events): entries of the audit log as they are made.
//!
//! The number of an entry is the id of its event: a reader that comes back goes on behind the last one that it has seen, so
//! none is left out. The rights of the account are asked for again before each part.

use std::time::Duration;

use actix_web::http::header::{HeaderName, CACHE_CONTROL};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use tessera_token::refusal::RefusalCode;

use super::audit::{number_of, texts, EntryView};
use crate::audit::actor::ChainPending;
use crate::audit::{self, Found, Wanted};
use crate::limits::{
    EVENT_STREAM_AGAIN_MILLIS, EVENT_STREAM_LOOK, EVENT_STREAM_PAGE, EVENT_STREAM_PING,
    EVENT_STREAM_TIME,
};
use crate::operators::Operator;
use crate::refused::Refused;
use crate::rest::auth::{Among, Needs, Security};
use crate::rest::flow::{Flow, Out};
use crate::rest::input::{App, Query};
use crate::rest::Answer;
use crate::turns::Turn;

const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells nginx not to gather parts of the answer.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// Behind this entry; without it, behind the newest one.
    after: Option<String>,
    /// Seconds after which the answer ends; 0 ends it at the newest entry.
    seconds: Option<u64>,
    tenant: Option<String>,
    actor: Option<String>,
    action: Option<String>,
    subject: Option<String>,
}

pub(crate) async fn stream(
    by: Among<Security>,
    app: App,
    request: HttpRequest,
    Query(query): Query<EventsQuery>,
) -> Answer {
    let EventsQuery { after, seconds, tenant, actor, action, subject } = query;
    texts([&tenant, &actor, &action, &subject])?;
    let last = match request.headers().get(LAST_EVENT_ID) {
        Some(last) => Some(last.to_str().map_err(|_| Refused::malformed("Last-Event-ID"))?),
        None => after.as_deref(),
    };
    let last = last.map(number_of).transpose()?;
    let operator = by.operator();
    let turn = app.streams.take(&operator.share()).map_err(|_| {
        let why = "the account has too many streams of events: close one";
        Refused::because(RefusalCode::LimitReached, why)
    })?;
    app.audit.send(ChainPending).await.map_err(Refused::from)??;
    let head = audit::Head::read(&app.tables).await?.seq;
    let seen = last.unwrap_or(head);
    if seen > head {
        // The service was restored from a backup: entries that the reader takes for known would be left out.
        let why = format!("there is no entry {seen}: the log ends at {head}");
        return Err(Refused::because(RefusalCode::NotFound, why).into());
    }
    let most = EVENT_STREAM_TIME.as_secs();
    let time = Duration::from_secs(seconds.unwrap_or(most).min(most));
    let wanted = Wanted { tenant, actor, action, subject, ..Wanted::default() };
    let (operator, app) = (operator.clone(), app.clone());
    let work = |out: Out| Stream { app, operator, wanted, seen, out, _turn: turn }.run(time);
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(UNBUFFERED)
        .content_type(EVENT_STREAM)
        .body(Flow::of(work)))
}

/// A running stream.
struct Stream {
    app: App,
    operator: Operator,
    wanted: Wanted,
    /// The entry up to which the reader has all.
    seen: u64,
    out: Out,
    _turn: Turn,
}

impl Stream {
    async fn run(mut self, time: Duration) {
        let until = self.app.clock.monotonic() + time;
        let mut chained = self.app.chained.subscribe();
        self.out.send(format!("retry: {EVENT_STREAM_AGAIN_MILLIS}\n\n").into_bytes()).await;
        let mut told = self.app.clock.monotonic();
        loop {
            let part = match self.part().await {
                Ok((part, is_last)) if is_last => part,
                Ok((part, _)) => {
                    self.out.send(part).await;
                    continue;
                }
                Err(refused) => return self.end(refused.code).await,
            };
            let now = self.app.clock.monotonic();
            // A reader behind a proxy is told that the stream lives, and where it stands.
            if !part.is_empty() || now.saturating_sub(told) >= EVENT_STREAM_PING {
                let place = format!("id: {}\n: here\n\n", self.seen).into_bytes();
                self.out.send([part, place].concat()).await;
                told = now;
            }
            if now >= until || self.app.stop.is_stopping() {
                return;
            }
            let look = EVENT_STREAM_LOOK.min(until.saturating_sub(now));
            tokio::select! {
                _ = chained.changed() => {}
                // Other processes of the same database make entries too.
                () = tokio::time::sleep(look) => {}
                () = self.app.stop.stopping() => {}
            }
        }
    }

    /// The next events, and whether there is none behind them now.
    async fn part(&mut self) -> Result<(Vec<u8>, bool), Refused> {
        let warrant = self.operator.warrant(Security::ONE_OF, None);
        warrant.check(&self.app).await?;
        let (tables, tenants) = (&self.app.tables, &self.operator.tenants);
        let (after, most) = (Some(self.seen), EVENT_STREAM_PAGE);
        let Found { page, seen } = audit::list(tables, tenants, &self.wanted, after, most).await?;
        let mut part = Vec::new();
        for row in page.items {
            let number = row.0;
            let data = serde_json::to_string(&EntryView::new(row));
            let data = data.map_err(|_| RefusalCode::Internal)?;
            part.extend(format!("id: {number}\ndata: {data}\n\n").into_bytes());
        }
        self.seen = seen;
        Ok((part, page.next.is_none()))
    }

    /// The reader is told why there is nothing more; a browser does not come back by itself after this.
    async fn end(self, code: RefusalCode) {
        let data = serde_json::json!({ "code": code.as_str() });
        self.out.send(format!("event: end\ndata: {data}\n\n").into_bytes()).await;
    }
}
