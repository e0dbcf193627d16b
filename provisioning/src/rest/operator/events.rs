//! The stream of events for operators (server-sent events): entries of the audit log as they are made.
//!
//! The id of an event names its entry: a reader that comes back goes on behind the last one that it has seen, so none is left
//! out. The rights of the account are asked for again before each part.

use std::time::Duration;

use actix_web::http::header::{HeaderName, CACHE_CONTROL};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use tessera_token::refusal::RefusalCode;
use tokio::sync::watch;

use super::audit::{filtered, number_of, texts, EntryView};
use crate::audit::actor::ChainPending;
use crate::audit::{self, Chained, Found, Wanted};
use crate::limits::{
    EVENT_STREAM_AGAIN_MILLIS, EVENT_STREAM_GATHER, EVENT_STREAM_LOOK, EVENT_STREAM_PAGE,
    EVENT_STREAM_PING, EVENT_STREAM_TIME,
};
use crate::operators::Operator;
use crate::refused::Refused;
use crate::rest::auth::{Among, Needs, Security};
use crate::rest::endpoint::{schema, Endpoint};
use crate::rest::flow::{Flow, Out};
use crate::rest::input::{App, Query};
use crate::rest::Answer;
use crate::tables::one;
use crate::turns::{NoTurn, Turn};

const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells nginx not to gather parts of the answer.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    let id = "^[0-9]{1,18}(-[0-9a-f]{8})?$";
    let stream = Endpoint::get("/v1/events", stream)
        .summary(
            "Entries of the audit log as they are made, as server-sent events; a reader \
                 that comes back goes on behind Last-Event-ID",
        )
        .query(
            "after",
            "Behind this entry, a number or the id of an event; without it, behind the newest one",
            schema::pattern(id),
        )
        .header(
            "Last-Event-ID",
            "The same, as browsers send it; it goes before after",
            schema::pattern(id),
        )
        .query(
            "seconds",
            "The answer ends after so many seconds, 3600 at most; 0 ends it at the newest entry",
            schema::at_most(EVENT_STREAM_TIME.as_secs()),
        );
    let events =
        "A stream: each event has the number of an entry and the beginning of its hash as \
                  its id, and the entry as JSON as its data. An event of the type end has the code \
                  for which the stream ended";
    vec![filtered(stream)
        .sends(200, events, vec![("text/event-stream", Some(schema::text()))])
        .refuses(&[RefusalCode::LimitReached, RefusalCode::NotFound])]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// Behind this entry, a number or the id of an event; without it, behind the newest one.
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
    let last = last.map(Place::read).transpose()?;
    let operator = by.operator();
    let turn = app.streams.take(&operator.share()).map_err(|none| {
        let why = match none {
            NoTurn::OfOne => "the account, or those of its tenants together, have too many streams of events: close one",
            NoTurn::OfAll => "this service has too many streams of events: try again later",
        };
        Refused::because(RefusalCode::LimitReached, why)
    })?;
    app.audit.send(ChainPending).await.map_err(Refused::from)??;
    let seen = match last {
        Some(place) => place.check(&app).await?,
        None => audit::Head::read(&app.tables).await?.seq,
    };
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

/// A place in the log: the number of an entry, and the beginning of its hash. After a restore other entries have the numbers
/// of those that were lost: the hash tells them apart. A number alone is taken as it is.
struct Place {
    number: u64,
    mark: Option<String>,
}

impl Place {
    fn read(text: &str) -> Result<Self, Refused> {
        let (number, mark) = match text.split_once('-') {
            Some((number, mark)) => (number, Some(mark.to_owned())),
            None => (text, None),
        };
        Ok(Self { number: number_of(number)?, mark })
    }

    /// Its number, when the log has this entry.
    async fn check(self, app: &App) -> Result<u64, Refused> {
        let Self { number, mark } = self;
        if number == 0 && mark.is_none() {
            return Ok(0);
        }
        let row = app.tables.audit.get(one(number)).await?;
        let is_it = row.is_some_and(|row| mark.is_none_or(|mark| mark == row.mark()));
        match is_it {
            true => Ok(number),
            false => {
                let why = format!(
                    "the log has no such entry {number}: the service was restored from a backup"
                );
                Err(Refused::because(RefusalCode::NotFound, why))
            }
        }
    }
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
        let began = self.app.clock.monotonic();
        let (until, latest) = (began + time, began + EVENT_STREAM_TIME);
        let mut chained = self.app.chained.subscribe();
        let again = format!("retry: {EVENT_STREAM_AGAIN_MILLIS}\n").into_bytes();
        // A reader that loses the connection before the first event comes back to this place.
        let Ok(place) = self.place().await else { return self.out.break_off().await };
        self.out.send([again, place].concat()).await;
        let mut told = self.app.clock.monotonic();
        loop {
            let (part, is_last) = match self.part().await {
                Ok(part) => part,
                Err(refused) => return self.end(refused.code).await,
            };
            let now = self.app.clock.monotonic();
            // A reader behind a proxy is told that the stream lives, and where it stands.
            let is_silent = now.saturating_sub(told) >= EVENT_STREAM_PING;
            if !part.is_empty() || !is_last || is_silent {
                let Ok(place) = self.place().await else { return self.out.break_off().await };
                self.out.send([part, place].concat()).await;
                told = now;
            }
            if self.app.stop.is_stopping() || now >= latest || is_last && now >= until {
                return;
            }
            if is_last {
                self.rest(&mut chained, until.saturating_sub(now)).await;
            }
        }
    }

    /// Waits until there may be more. Entries that are made one behind the other are one part.
    async fn rest(&self, chained: &mut watch::Receiver<()>, left: Duration) {
        tokio::select! {
            _ = chained.changed() => tokio::time::sleep(EVENT_STREAM_GATHER).await,
            // Other processes of the same database make entries too.
            () = tokio::time::sleep(EVENT_STREAM_LOOK.min(left)) => {}
            () = self.app.stop.stopping() => {}
        }
    }

    /// The words that tell the place of the stream.
    async fn place(&self) -> Result<Vec<u8>, Refused> {
        let row = self.app.tables.audit.get(one(self.seen)).await?;
        let id = row.map_or_else(|| self.seen.to_string(), |row| id(self.seen, &row));
        Ok(format!("id: {id}\n: here\n\n").into_bytes())
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
            let id = id(row.0, &row.1);
            let data = serde_json::to_string(&EntryView::new(row));
            let data = data.map_err(|_| RefusalCode::Internal)?;
            part.extend(format!("id: {id}\ndata: {data}\n\n").into_bytes());
        }
        self.seen = seen;
        Ok((part, page.next.is_none()))
    }

    /// The reader is told why there is nothing more: a browser does not come back by itself then. A fault of the service is no
    /// such end: the answer breaks off, and the reader comes back.
    async fn end(self, code: RefusalCode) {
        let is_end = matches!(
            code,
            RefusalCode::OperatorUnknown
                | RefusalCode::OperatorNotAllowed
                | RefusalCode::TenantUnknown
        );
        if !is_end {
            return self.out.break_off().await;
        }
        let data = serde_json::json!({ "code": code.as_str() });
        self.out.send(format!("event: end\ndata: {data}\n\n").into_bytes()).await;
    }
}

/// The id of the event of an entry.
fn id(number: u64, row: &Chained) -> String {
    format!("{number}-{}", row.mark())
}
