//! From events of the trust feed to tokens on the list.
//!
//! A token that was being issued while its group or tenant was revoked may be written a moment after the event was
//! followed. Each event is therefore followed a second time when it is [`TRL_SETTLES_SECONDS`] old.

use std::ops::ControlFlow;

use tessera_runtime::sql::{Key, Value};
use tessera_token::chain::KeyState;
use tessera_token::limits::TOKEN_LIFE_SECONDS;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Change, Event};

use super::Update;
use crate::limits::{
    TRL_DEVICES_IN_A_STEP, TRL_EVENTS_IN_A_STEP, TRL_SETTLES_SECONDS, TRL_STEPS, TRL_TOKENS,
    TRL_TOKENS_IN_A_STEP,
};
use crate::records::trl::{Followed, ListedToken};
use crate::records::{IssuedRecord, SignedEvent};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{number, one, text};
use crate::write::Attempt;

/// How far events were followed as they came.
const FIRST: &str = "trl_followed";
/// How far those were followed again that have settled.
const SETTLED: &str = "trl_settled";

/// Follows what there is, a bounded part of it at a time. Says whether the list is up to date.
///
/// # Errors
/// Of the store.
pub(crate) async fn run(service: &Service) -> Result<bool, Refused> {
    for _ in 0..TRL_STEPS {
        if step(service, FIRST, u64::MAX).await? == Step::Done {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Follows once more what has settled since: called by the sweep.
///
/// # Errors
/// Of the store.
pub(crate) async fn settle(service: &Service) -> Result<(), Refused> {
    run(service).await?;
    let before = service.now().minus(TRL_SETTLES_SECONDS).get();
    for _ in 0..TRL_STEPS {
        if step(service, SETTLED, before).await? == Step::Done {
            break;
        }
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Step {
    Done,
    More,
}

/// One step of a mark, over events that are not newer than `until`.
async fn step(service: &Service, mark: &str, until: u64) -> Result<Step, Refused> {
    let tables = &service.tables;
    let known: Option<Followed> = tables.marks.get(mark).await?;
    let mut followed = known.clone().unwrap_or_default();
    let after = one(followed.event);
    let rows = tables.trust_events.scan(&[], Some(&after), TRL_EVENTS_IN_A_STEP).await?;
    for (key, SignedEvent(signed)) in rows {
        let event = Event::unverified(&signed).map_err(|_| RefusalCode::Internal)?;
        if event.time.get() > until {
            break;
        }
        if let Some(ended) = Ended::by(&event) {
            let page = ended.page(service, &followed, mark == SETTLED).await?;
            let next = match &page.last {
                Some(last) => Followed {
                    event: followed.event,
                    device: Some(last.device.clone()),
                    token: last.token,
                },
                None => Followed::all_of(number(&key, 0)?),
            };
            return write(service, mark, known.as_ref(), next, &ended, page).await;
        }
        followed = Followed::all_of(number(&key, 0)?);
    }
    if known.as_ref() == Some(&followed) {
        return Ok(Step::Done);
    }
    let mut batch = tessera_runtime::sql::Batch::new();
    tables.marks.expect_same(&mut batch, mark, known.as_ref());
    tables.marks.put(&mut batch, mark, &followed);
    // Another process that took the step leaves the next one to do.
    service.write_unnoted(batch).await?;
    Ok(Step::More)
}

/// The tokens that an event has ended.
struct Ended<'a> {
    event: &'a Event,
    tenant: &'a str,
}

/// Some of them, and the place up to which they were looked for; `None` when all were.
#[derive(Default)]
struct Page {
    tokens: Vec<(u64, IssuedRecord)>,
    /// Rows that were read.
    read: usize,
    last: Option<Place>,
}

/// A place among the devices, and among the tokens of that device when there are more of it.
struct Place {
    device: String,
    token: Option<u64>,
}

impl<'a> Ended<'a> {
    /// `None` for an event that ends none.
    fn by(event: &'a Event) -> Option<Self> {
        let ends = match &event.change {
            Change::Device(_) | Change::Group(_) | Change::Token(_) => true,
            Change::Tenant(one) => one.epoch > 0,
            Change::Key(one) => one.state == KeyState::Compromised,
            Change::DeviceKey(_) | Change::Rule(_) | Change::Restraint(_) => false,
        };
        ends.then(|| Self { event, tenant: event.change.tenant().as_str() })
    }

    /// Whether this token is one of them. Rows of a former version have no epochs: those from before the event are.
    fn is_one(&self, row: &IssuedRecord) -> bool {
        let is_older = row.issued <= self.event.time.get();
        match &self.event.change {
            Change::Token(one) => row.hash == *one.token.as_bytes(),
            Change::Device(one) => row.epochs.map_or(is_older, |had| had.device < one.epoch),
            Change::Group(one) => row
                .epochs
                .map_or(is_older, |had| had.group_number == one.number && had.group < one.epoch),
            Change::Tenant(one) => row.epochs.map_or(is_older, |had| had.tenant < one.epoch),
            Change::Key(one) => row.key_id == *one.key.key_id().as_bytes(),
            Change::DeviceKey(_) | Change::Rule(_) | Change::Restraint(_) => false,
        }
    }

    /// The next tokens; `again` is the second look.
    async fn page(
        &self,
        service: &Service,
        followed: &Followed,
        again: bool,
    ) -> Result<Page, Refused> {
        let mut page = Page::default();
        let device = match &self.event.change {
            Change::Device(one) => Some(one.device.as_str()),
            Change::Token(one) => Some(one.device.as_str()),
            _ => None,
        };
        if let Some(device) = device {
            page.read_device(service, self, device, followed.token).await?;
            return Ok(page);
        }
        if let Change::Tenant(one) = &self.event.change {
            let state = service.tables.trl_tenants.get(key_of(self.tenant)).await?;
            let is_known = state.is_some_and(|state| state.epoch >= one.epoch);
            // It changed in another way than by a revocation.
            if followed.device.is_none() && is_known && !again {
                return Ok(page);
            }
        }
        if let (Some(device), Some(token)) = (&followed.device, followed.token) {
            if page.read_device(service, self, device, Some(token)).await? {
                return Ok(page);
            }
        }
        let devices = self.devices(service, followed.device.as_deref()).await?;
        let many = devices.len();
        for (at, device) in devices.into_iter().enumerate() {
            if page.read_device(service, self, &device, None).await? {
                return Ok(page);
            }
            if at + 1 == TRL_DEVICES_IN_A_STEP && at + 1 == many {
                page.last = Some(Place { device, token: None });
            }
        }
        Ok(page)
    }

    /// The next devices of the group, or of the tenant.
    async fn devices(
        &self,
        service: &Service,
        after: Option<&str>,
    ) -> Result<Vec<String>, Refused> {
        let mut columns: Vec<(&'static str, Value)> = vec![("tenant", self.tenant.into())];
        if let Change::Group(one) = &self.event.change {
            columns.push(("device_group", one.group.as_str().into()));
        }
        let after: Option<Key> = after.map(|device| vec![self.tenant.into(), device.into()]);
        let devices = &service.tables.devices;
        let rows = devices.find(&columns, after.as_deref(), TRL_DEVICES_IN_A_STEP).await?;
        rows.iter().map(|(key, _)| Ok(text(key, 1)?.to_owned())).collect()
    }
}

impl Page {
    /// Takes the tokens of one device that have not expired, from the first one behind `after`. Says whether the page is
    /// full, which then has the place.
    async fn read_device(
        &mut self,
        service: &Service,
        ended: &Ended<'_>,
        device: &str,
        after: Option<u64>,
    ) -> Result<bool, Refused> {
        let columns = [("tenant", ended.tenant.into()), ("device", device.into())];
        let room = TRL_TOKENS_IN_A_STEP.saturating_sub(self.read);
        let after = after.map(one);
        let rows = service.tables.issued.find(&columns, after.as_deref(), room).await?;
        self.read += rows.len();
        if rows.len() >= room {
            let token = rows.last().map(|(key, _)| number(key, 0)).transpose()?;
            self.last = Some(Place { device: device.to_owned(), token });
        }
        let now = service.now().get();
        for (key, row) in rows {
            if row.expires > now && ended.is_one(&row) {
                self.tokens.push((number(&key, 0)?, row));
            }
        }
        Ok(self.last.is_some())
    }
}

fn key_of(tenant: &str) -> Key {
    one(tenant)
}

/// Writes the tokens of a page that are not listed yet, and how far the mark has come.
async fn write(
    service: &Service,
    mark: &str,
    known: Option<&Followed>,
    next: Followed,
    ended: &Ended<'_>,
    page: Page,
) -> Result<Step, Refused> {
    let (tables, tenant) = (&service.tables, ended.tenant);
    let mut update = Update::begin(service, tenant).await?;
    let (mut changes, mut next) = (false, next);
    for (serial, row) in page.tokens {
        let key = vec![tenant.into(), row.hash.into()];
        if tables.trl_tokens.contains(key).await? {
            continue;
        }
        if let ControlFlow::Break(()) = room(service, &mut update) {
            // There are more than a list holds: the rest of this event is left out, and the list says so.
            next = Followed::all_of(ended.event.seq);
            break;
        }
        changes = true;
        update.state.listed += 1;
        let (expires, added) = (Some(row.expires), update.number);
        let listed =
            ListedToken { device: row.device, serial: Some(serial), expires, added, removed: None };
        update.put(service, tenant, &row.hash, &listed);
    }
    if let (Change::Tenant(one), None) = (&ended.event.change, &next.device) {
        if mark == FIRST {
            update.state.epoch = update.state.epoch.max(one.epoch);
        }
    }
    let mut batch = update.end(service, tenant, changes);
    tables.marks.expect_same(&mut batch, mark, known);
    tables.marks.put(&mut batch, mark, &next);
    match service.write_unnoted(batch).await? {
        Attempt::Committed(()) | Attempt::Conflict => Ok(Step::More),
    }
}

/// Whether one more token fits into the list of the tenant.
fn room(service: &Service, update: &mut Update) -> ControlFlow<()> {
    if update.state.listed < TRL_TOKENS {
        return ControlFlow::Continue(());
    }
    // The longest life of a token: until then one of those left out may live.
    let until = service.now().plus(TOKEN_LIFE_SECONDS).get();
    update.state.incomplete_until = update.state.incomplete_until.max(until);
    ControlFlow::Break(())
}
