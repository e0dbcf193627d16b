//! Restores stored state at start: sessions without a connection and without rights, and retained messages.
//!
//! A session with a row that does not parse is dropped whole, with an error in the log; so is a session whose device
//! has been revoked since. Limits and shares do not apply here: acknowledged messages are restored and count, and new
//! ones are refused until there is room. No clock is trusted yet: a row that seems to have expired is restored too, and
//! judged again once a heartbeat and the wall clock agree ([`Hub::settle`]). The broker starts in any case that the
//! store itself opens.

use crate::routing::row;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use tessera_runtime::store::{Row as Stored, StoreError};
use tessera_token::grant::Grant;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;
use tessera_token::token_identity::TokenIdentity;

use crate::authorisation::revoked;
use crate::authorisation::ControlTopic;
use crate::hub::Hub;
use crate::message::encoding;
use crate::message::encoding::Incoming;
use crate::message::same::Same;
use crate::message::Trusted;
use crate::message::{Message, SubscriberId};
use crate::metrics::qos_label;
use crate::persistence::{all, Row, SessionRows, Step, PAGE};
use crate::routing::row::Outgoing;
use crate::routing::Delivery;
use crate::session::row::SessionRecord;
use crate::session::state_machine::{Held, Restored};
use crate::session::Session;

/// Loads everything. The store is read by this thread: no client is served yet.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn restore(hub: &Arc<Hub>) -> Result<(), StoreError> {
    let mut same = Same::default();
    restore_retained(hub, &mut same)?;
    let mut after: Option<Vec<u8>> = None;
    let mut counts = (0, 0);
    let mut replaced = Vec::new();
    loop {
        let rows = hub.persistence.tables.sessions.scan_prefix(&[], after.as_deref(), PAGE)?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        for (key, value) in rows {
            let Some(id) = number(&key).map(SubscriberId) else { continue };
            hub.next_session.fetch_max(id.0 + 1, Ordering::Relaxed);
            match restore_session(hub, id, value, &mut same)? {
                Ok(former) => {
                    counts.0 += 1;
                    replaced.extend(former);
                }
                Err(why) => {
                    counts.1 += 1;
                    give_up(hub, id, why);
                }
            }
        }
    }
    // Their readers are there by now.
    for former in replaced {
        counts.0 -= 1;
        if let Some(will) = hub.forget(&former) {
            hub.publish_will(&former, will).await;
        }
    }
    if counts != (0, 0) {
        tracing::info!(restored = counts.0, dropped = counts.1, "stored sessions restored");
    }
    Ok(())
}

/// The reason for which a session is not restored.
enum Lost {
    Damaged(&'static str),
    Over,
    Revoked(RefusalCode),
}

fn give_up(hub: &Hub, id: SubscriberId, why: Lost) {
    hub.persistence.note(Step::Forget(id));
    match why {
        Lost::Damaged(table) => {
            tracing::error!(session = id.0, table, "a stored session is damaged and was dropped");
        }
        Lost::Over => tracing::debug!(session = id.0, "a stored session has expired"),
        Lost::Revoked(code) => {
            tracing::info!(session = id.0, code = %code, "a stored session was dropped: its rights were revoked");
        }
    }
}

/// Gives the session in whose place this one had come, when a crash came before the end of the former was written.
fn restore_session(
    hub: &Arc<Hub>,
    id: SubscriberId,
    row: Vec<u8>,
    same: &mut Same,
) -> Result<Result<Option<Arc<Session>>, Lost>, StoreError> {
    let Some(record) = SessionRecord::decode(row) else { return Ok(Err(Lost::Damaged("session"))) };
    let now = hub.now();
    // One with a will is restored and ends at once: that is when the will is due at the latest.
    if record.expiry == 0 && record.will.is_none() {
        return Ok(Err(Lost::Over));
    }
    let grant = match dormant(hub, &record.identity) {
        Ok(grant) => grant,
        Err(code) => return Ok(Err(Lost::Revoked(code))),
    };
    let rows = Rows::read(hub, id)?;
    let parts = match rows.parts(&record.identity.tenant, same) {
        Ok(parts) => parts.without(id, hub),
        Err(table) => return Ok(Err(Lost::Damaged(table))),
    };
    let rows = SessionRows::new(Arc::clone(&hub.persistence), id);
    let outbox = hub.outbox(&grant, id, Some(rows));
    outbox.restore(parts.waiting, parts.last_number);
    let device = hub.observer.device(&grant);
    let mut routes = hub.routing.session(grant.tenant().clone(), Arc::clone(&outbox));
    for held in &parts.subscriptions {
        let has_route = ControlTopic::of(held.subscription.filter.as_str()).is_none();
        if has_route {
            routes.restore(&held.subscription, held.options);
        }
    }
    let session = Session::new(grant, record.client_id, device, outbox, routes);
    let former = hub.registry.enter_restored(&session);
    let restored = Restored {
        expiry: record.expiry,
        will: record.will,
        released: parts.released,
        received: parts.received,
        passed_on: parts.passed_on,
        subscriptions: parts.subscriptions,
    };
    session.restore(restored, record.left, now);
    hub.schedule(&session, now);
    Ok(Ok(former))
}

/// A grant without rights, unless it was revoked while the broker was down. Without trust data this cannot be judged
/// yet: the trust effect that brings them checks every session.
fn dormant(hub: &Hub, identity: &TokenIdentity) -> Result<Grant, RefusalCode> {
    let grant = identity.without_rights().ok_or(RefusalCode::NotReady)?;
    let validator = hub.authenticator.validator();
    match validator.trust_age().and_then(|_| revoked::revocation_of(validator, &grant)) {
        None => Ok(grant),
        Some(code) => Err(code),
    }
}

/// The rows of one session, as they are stored.
struct Rows {
    subscriptions: Vec<Stored>,
    outgoing: Vec<Stored>,
    incoming: Vec<Stored>,
}

struct Parts {
    subscriptions: Vec<Held>,
    waiting: Vec<Delivery>,
    released: Vec<u64>,
    received: Vec<(u16, Arc<Message>)>,
    passed_on: Vec<u16>,
    last_number: u64,
}

impl Rows {
    fn read(hub: &Hub, id: SubscriberId) -> Result<Self, StoreError> {
        let prefix = id.0.to_be_bytes();
        let tables = &hub.persistence.tables;
        Ok(Self {
            subscriptions: all(&tables.subscriptions, &prefix)?,
            outgoing: all(&tables.outgoing, &prefix)?,
            incoming: all(&tables.incoming, &prefix)?,
        })
    }

    fn parts(self, tenant: &TenantId, same: &mut Same) -> Result<Parts, &'static str> {
        let mut parts = Parts {
            subscriptions: Vec::new(),
            waiting: Vec::new(),
            released: Vec::new(),
            received: Vec::new(),
            passed_on: Vec::new(),
            last_number: 0,
        };
        for (key, value) in self.subscriptions {
            let held = subscription(&key, value).ok_or("session_subscription")?;
            parts.subscriptions.push(held);
        }
        for (key, value) in self.outgoing {
            parts.outgoing(&key, value, tenant, same).ok_or("session_outgoing")?;
        }
        for (key, value) in self.incoming {
            parts.incoming(&key, value, tenant, same).ok_or("session_incoming")?;
        }
        Ok(parts)
    }
}

impl Parts {
    fn incoming(
        &mut self,
        key: &[u8],
        value: Vec<u8>,
        tenant: &TenantId,
        same: &mut Same,
    ) -> Option<()> {
        let packet_id = tail(key).map(u16::from_be_bytes)?;
        match encoding::decode_incoming(value)? {
            Incoming::PassedOn => self.passed_on.push(packet_id),
            Incoming::Held(message) if &message.tenant == tenant => {
                self.received.push((packet_id, Arc::new(same.own(&message))));
            }
            Incoming::Held(_) => return None,
        }
        Some(())
    }

    /// The same without messages that may reach no client any more.
    fn without(mut self, id: SubscriberId, hub: &Hub) -> Self {
        self.waiting.retain(|delivery| {
            let comes_back = may_come_back(hub, &delivery.message);
            if !comes_back {
                let row = Row::Outgoing(id, delivery.sequence.number);
                hub.persistence.note(Step::Delete(row));
                hub.metrics.dropped.inc(&["publisher_withdrawn", qos_label(delivery.qos())]);
            }
            comes_back
        });
        self
    }

    fn outgoing(
        &mut self,
        key: &[u8],
        value: Vec<u8>,
        tenant: &TenantId,
        same: &mut Same,
    ) -> Option<()> {
        let number = u64::from_be_bytes(tail(key)?);
        self.last_number = self.last_number.max(number);
        match row::decode_outgoing(value, tenant, same)? {
            Outgoing::Released => self.released.push(number),
            Outgoing::Message(mut delivery) => {
                delivery.sequence.number = number;
                delivery.sequence.again = true;
                self.waiting.push(delivery);
            }
        }
        Some(())
    }
}

fn subscription(key: &[u8], value: Vec<u8>) -> Option<Held> {
    let number = u32::from_be_bytes(tail(key)?);
    let (subscription, options) = encoding::decode_subscription(value)?;
    Some(Held { subscription, options, number })
}

/// Retained messages whose publisher is still trusted, as far as can be said.
fn restore_retained(hub: &Hub, same: &mut Same) -> Result<(), StoreError> {
    let mut counts = (0, 0);
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = hub.persistence.tables.retained.scan_prefix(&[], after.as_deref(), PAGE)?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        for (key, value) in rows {
            let Some(row) = number(&key) else { continue };
            match restore_one(hub, row, value, same) {
                true => counts.0 += 1,
                false => {
                    counts.1 += 1;
                    hub.retained.note_row(row);
                    hub.persistence.note(Step::Delete(Row::Retained(row)));
                }
            }
        }
    }
    if counts != (0, 0) {
        tracing::info!(restored = counts.0, dropped = counts.1, "retained messages");
    }
    Ok(())
}

fn restore_one(hub: &Hub, row: u64, value: Vec<u8>, same: &mut Same) -> bool {
    let Some(message) = encoding::decode_message(value) else {
        tracing::error!(row, "a retained message is damaged and was dropped");
        return false;
    };
    let comes_back = may_come_back(hub, &message);
    if comes_back {
        hub.retained.restore(same.own(&message), row);
    }
    comes_back
}

/// Whether a message still may reach a client. Without trust data nothing can be said yet: it is asked again with every
/// delivery. After an absence in which revocations were forgotten, trust data say so themselves
/// ([`TrustState::forgotten`]).
///
/// [`TrustState::forgotten`]: tessera_agent::trust::TrustState::forgotten
fn may_come_back(hub: &Hub, message: &Message) -> bool {
    let validator = hub.authenticator.validator();
    validator.trust_age().is_none() || !message.is_revoked(Trusted::now(validator))
}

fn number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// The part of a key after the session.
fn tail<const N: usize>(key: &[u8]) -> Option<[u8; N]> {
    key.get(size_of::<u64>()..)?.try_into().ok()
}
