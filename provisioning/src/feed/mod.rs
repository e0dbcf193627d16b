//! Answers to the readers of the trust feed: events behind a place, their heartbeat, and for accounts of some tenants a
//! [`view`] of the events and a snapshot of these tenants ([`bound`]).

use std::time::Duration;

use tessera_token::limits::EVENTS_PER_ANSWER;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{BoundFeed, EventHash, Feed, FeedNonce};

use crate::limits::POLL_SECONDS;
use crate::operators::{Operator, Tenants};
use crate::records::SignedEvent;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{number, one};
use crate::trust::actor::Claimed;
use crate::trust::ledger::Head;
use crate::trust::restored::Place;

pub(crate) mod bound;
mod view;

/// The answer to a reader that asks for events.
pub(crate) enum News {
    Feed(Feed),
    /// That of a reader of some tenants.
    Bound(BoundFeed),
    /// The asked place was compacted away or was never reached: take the snapshot.
    Gone,
    /// The reader stands on another past, or beyond: it knows what this service has lost.
    Beyond,
}

/// The question of a reader.
pub(crate) struct Asked {
    pub(crate) after: u64,
    /// Seconds to wait for the first event.
    pub(crate) wait: u64,
    /// The hash of the event `after`, when the reader tells it.
    pub(crate) head: Option<EventHash>,
    /// The nonce that the heartbeat answers.
    pub(crate) nonce: Option<FeedNonce>,
}

/// The events behind the place that is asked for, of the tenants of the account.
pub(crate) async fn events(
    service: &Service,
    by: &Operator,
    asked: &Asked,
) -> Result<News, Refused> {
    if is_beyond(service, by, asked.after, asked.head).await? {
        return Ok(News::Beyond);
    }
    match by.tenants.set()? {
        Some(tenants) => view::events(service, &by.share(), &tenants, asked).await,
        None => all_events(service, asked).await,
    }
}

async fn all_events(service: &Service, asked: &Asked) -> Result<News, Refused> {
    let Asked { after, wait, .. } = *asked;
    if wait > 0 && Head::read(&service.tables).await?.seq == after {
        let _seat = service.waiters.seat().ok_or(RefusalCode::LimitReached)?;
        service.metrics.pollers.set(&[], count(service.waiters.waiting()));
        let wait = Duration::from_secs(wait.min(POLL_SECONDS));
        service.waiters.newer_than(after, wait, &service.stop).await;
    }
    // A row is durable before it can be read: no reader acts on an event that a crash takes back.
    let head = Head::read(&service.tables).await?;
    let left = after < head.start;
    if left || after > head.seq || after.saturating_add(1) < oldest(service).await? {
        return Ok(News::Gone);
    }
    let after = one(after);
    let rows = service.tables.trust_events.scan(&[], Some(&after), EVENTS_PER_ANSWER).await?;
    Ok(News::Feed(Feed {
        // One that came in this moment lies beyond the heartbeat.
        events: rows
            .into_iter()
            .take_while(|(key, _)| number(key, 0).is_ok_and(|number| number <= head.seq))
            .map(|(_, SignedEvent(event))| event)
            .collect(),
        heartbeat: heartbeat(service, &head, asked)?,
    }))
}

/// The heartbeat of this head for the reader that asks.
fn heartbeat(service: &Service, head: &Head, asked: &Asked) -> Result<Vec<u8>, Refused> {
    Ok(match &asked.nonce {
        Some(nonce) => head.answer(nonce, &service.root, service.now())?,
        None => head.heartbeat(&service.root, service.now())?,
    })
}

/// Whether a reader that knows the event `after` by this hash knows what this service has lost; that is noted. The
/// word of an account of some tenants moves nothing, since a jump concerns all: it shows what the root key signed.
pub(crate) async fn is_beyond(
    service: &Service,
    by: &Operator,
    after: u64,
    hash: Option<EventHash>,
) -> Result<bool, Refused> {
    let Some(hash) = hash else { return Ok(false) };
    let head = Head::read(&service.tables).await?;
    if Place::of(&service.tables, &head, after, hash).await? != Place::Elsewhere {
        return Ok(false);
    }
    if by.tenants == Tenants::All {
        let (by, at) = (by.name.clone(), service.clock.monotonic());
        service.trust.send(Claimed { by, seq: after, at }).await?;
    }
    Ok(true)
}

/// Whether the reader shows by the hash that it has the event of our line that it names.
pub(crate) async fn has(service: &Service, asked: &Asked) -> Result<bool, Refused> {
    let Some(hash) = asked.head else { return Ok(false) };
    let head = Head::read(&service.tables).await?;
    // Events of a line that was left say nothing about the present one.
    let is_of_line = asked.after >= head.start && asked.after > 0;
    Ok(is_of_line && Place::of(&service.tables, &head, asked.after, hash).await? == Place::Here)
}

async fn oldest(service: &Service) -> Result<u64, Refused> {
    let first = service.tables.trust_events.scan(&[], None, 1).await?;
    Ok(first.first().map_or(Ok(0), |(key, _)| number(key, 0))?)
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
