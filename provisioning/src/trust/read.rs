use std::time::Duration;

use tessera_token::limits::EVENTS_PER_ANSWER;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Feed;

use super::ledger::Head;
use crate::limits::POLL_SECONDS;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::number_of;

/// What a reader that asks for events gets.
pub(crate) enum News {
    Feed(Feed),
    /// The asked place was compacted away or was never reached: take the snapshot.
    Gone,
}

/// The events behind `after`, waiting at most `wait` seconds for the first.
pub(crate) async fn events(service: &Service, after: u64, wait: u64) -> Result<News, Refused> {
    if wait > 0 && Head::read(&service.tables)?.seq == after {
        let _seat = service.hub.seat().ok_or(RefusalCode::LimitReached)?;
        service.metrics.pollers.set(&[], count(service.hub.waiting()));
        let wait = Duration::from_secs(wait.min(POLL_SECONDS));
        service.hub.newer_than(after, wait, &service.stop).await;
    }
    // A reader may see an event a moment before it is durable: it must not act on one that a crash takes back.
    service.store.barrier().await?;
    let head = Head::read(&service.tables)?;
    if after > head.seq || after + 1 < oldest(service)? {
        return Ok(News::Gone);
    }
    let rows = service.tables.trust_events.scan_prefix(
        &[],
        Some(&after.to_be_bytes()),
        EVENTS_PER_ANSWER,
    )?;
    Ok(News::Feed(Feed {
        events: rows.into_iter().map(|(_, event)| event).collect(),
        heartbeat: head.heartbeat(&service.root, service.now())?,
    }))
}

fn oldest(service: &Service) -> Result<u64, Refused> {
    let first = service.tables.trust_events.scan_prefix(&[], None, 1)?;
    Ok(first.first().map_or(0, |(key, _)| number_of(key)))
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
