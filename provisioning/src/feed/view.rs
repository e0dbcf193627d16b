//! The feed as the reader of some tenants sees it: the events that concern them, and a signed view that vouches for
//! everything that is left out.

use std::time::Duration;

use tessera_runtime::limits::STORE_SCAN_ROWS;
use tessera_token::limits::EVENTS_PER_ANSWER;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{BoundFeed, Event, EventHash, Feed, TenantSet, View};

use super::{heartbeat, Asked, News};
use crate::limits::{POLL_SECONDS, VIEW_LOOK};
use crate::records::SignedEvent;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::one;
use crate::trust::ledger::Head;

/// The part of the line that was looked at.
struct Looked {
    after: u64,
    after_head: EventHash,
    seq: u64,
    head: EventHash,
    included: Vec<Vec<u8>>,
    rows: usize,
}

/// How a look ended.
#[derive(PartialEq, Eq)]
enum Outcome {
    /// At the end of the line.
    End,
    /// At a limit: there may be more.
    More,
    /// A row is missing, or belongs to another line: nothing can be vouched for.
    Gap,
}

impl Looked {
    fn at(after: u64) -> Self {
        let head = EventHash::default();
        Self { after, after_head: head, seq: after, head, included: Vec::new(), rows: 0 }
    }

    /// Goes on from where it stands. The signatures are our own, in our own store.
    async fn on(&mut self, service: &Service, tenants: &TenantSet) -> Result<Outcome, Refused> {
        loop {
            let left = VIEW_LOOK.saturating_sub(self.rows).min(STORE_SCAN_ROWS);
            if left == 0 {
                return Ok(Outcome::More);
            }
            let after = one(self.seq);
            let rows = service.tables.trust_events.scan(&[], Some(&after), left).await?;
            if rows.is_empty() {
                return Ok(Outcome::End);
            }
            self.rows += rows.len();
            for (_, SignedEvent(bytes)) in rows {
                if self.included.len() >= EVENTS_PER_ANSWER {
                    return Ok(Outcome::More);
                }
                let event = Event::unverified(&bytes).map_err(|_| RefusalCode::Internal)?;
                if self.seq == self.after {
                    self.after_head = event.previous;
                    self.head = event.previous;
                }
                if Some(event.seq) != self.seq.checked_add(1) || event.previous != self.head {
                    return Ok(Outcome::Gap);
                }
                (self.seq, self.head) = (event.seq, EventHash::of(&bytes));
                if tenants.contains(event.change.tenant()) {
                    self.included.push(bytes);
                }
            }
        }
    }

    /// The signed view; empty when the line did not go on.
    fn view(&self, service: &Service, tenants: &TenantSet) -> Result<Vec<u8>, Refused> {
        if self.seq == self.after {
            return Ok(Vec::new());
        }
        let view = View {
            tenants: tenants.id(),
            after: self.after,
            after_head: self.after_head,
            seq: self.seq,
            head: self.head,
            time: service.now(),
            included: self.included.iter().map(|event| EventHash::of(event)).collect(),
        };
        let events = if self.included.is_empty() { "none" } else { "some" };
        service.metrics.views.inc(&[events]);
        Ok(view.sign(&service.root)?)
    }
}

/// The events of these tenants behind the place that is asked for. A reader that waits is woken by its own alone, and told
/// of the others when its wait is over.
pub(super) async fn events(
    service: &Service,
    share: &str,
    tenants: &TenantSet,
    asked: &Asked,
) -> Result<News, Refused> {
    // It listens before it looks, so that nothing gets in between.
    let bell = match asked.wait {
        0 => None,
        _ => Some(service.bells.listen(share, tenants).ok_or_else(|| {
            service.metrics.limits_hit.inc(&["pollers_bound"]);
            RefusalCode::LimitReached
        })?),
    };
    let mut looked = Looked::at(asked.after);
    let mut outcome = looked.on(service, tenants).await?;
    if let Some(bell) = bell.filter(|_| outcome == Outcome::End && looked.included.is_empty()) {
        let head = Head::read(&service.tables).await?;
        // On another line there is nothing to wait for.
        if asked.after >= head.start && asked.after <= head.seq {
            bell.rung(Duration::from_secs(asked.wait.min(POLL_SECONDS)), &service.stop).await;
        }
        outcome = looked.on(service, tenants).await?;
    }
    let mut head = Head::read(&service.tables).await?;
    // The heartbeat names what was looked at to its end: a later head would say that something is missing.
    while outcome == Outcome::End && looked.seq < head.seq {
        let before = looked.seq;
        outcome = looked.on(service, tenants).await?;
        head = Head::read(&service.tables).await?;
        if looked.seq == before {
            break;
        }
    }
    let left = asked.after < head.start || asked.after > head.seq;
    let swept = outcome == Outcome::End && looked.seq < head.seq;
    if left || swept || outcome == Outcome::Gap {
        return Ok(News::Gone);
    }
    let view = looked.view(service, tenants)?;
    let heartbeat = heartbeat(service, &head, asked)?;
    Ok(News::Bound(BoundFeed { view, feed: Feed { events: looked.included, heartbeat } }))
}
