use tessera_runtime::sql::Batch;
use tessera_runtime::store::StoreError;
use tessera_token::key::SecretKey;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, Event, EventHash, FeedNonce, Heartbeat};

pub(crate) use crate::records::heads::TrustHead as Head;
pub(crate) use crate::records::heads::TRUST_HEAD as HEAD;
use crate::records::{MovedDevice, RevokedRow, SignedEvent};
use crate::tables::{one, pair, Tables};

impl Head {
    pub(crate) async fn read(tables: &Tables) -> Result<Self, StoreError> {
        Ok(tables.marks.get(HEAD).await?.unwrap_or_default())
    }

    /// The batch is good only while this is the head; it must write the next one.
    pub(crate) fn expect(&self, tables: &Tables, batch: &mut Batch) {
        tables.marks.expect_same(batch, HEAD, Some(self).filter(|head| **head != Self::default()));
    }

    pub(crate) fn write(&self, tables: &Tables, batch: &mut Batch) {
        tables.marks.put(batch, HEAD, self);
    }

    pub(crate) fn heartbeat(
        &self,
        root: &SecretKey,
        now: UnixSeconds,
    ) -> Result<Vec<u8>, RefusalCode> {
        self.beat(now).sign(root)
    }

    /// The heartbeat that answers a reader's nonce.
    pub(crate) fn answer(
        &self,
        nonce: &FeedNonce,
        root: &SecretKey,
        now: UnixSeconds,
    ) -> Result<Vec<u8>, RefusalCode> {
        self.beat(now).answer(nonce, root)
    }

    fn beat(&self, now: UnixSeconds) -> Heartbeat {
        Heartbeat { seq: self.seq, head: EventHash::from_bytes(self.hash), time: now }
    }
}

/// Adds the events of `changes` behind `head` to the batch, and the state that snapshots are made of.
pub(crate) fn append(
    tables: &Tables,
    batch: &mut Batch,
    head: Head,
    changes: &[Change],
    root: &SecretKey,
    now: UnixSeconds,
) -> Result<Head, RefusalCode> {
    let new = chain(tables, batch, head, changes, root, now)?;
    head.expect(tables, batch);
    new.write(tables, batch);
    Ok(new)
}

/// The events of `changes` behind `head`; the caller writes the head.
pub(crate) fn chain(
    tables: &Tables,
    batch: &mut Batch,
    head: Head,
    changes: &[Change],
    root: &SecretKey,
    now: UnixSeconds,
) -> Result<Head, RefusalCode> {
    let mut new = head;
    for change in changes {
        let event = Event {
            seq: new.seq + 1,
            previous: EventHash::from_bytes(new.hash),
            time: now,
            change: change.clone(),
        };
        let signed = event.sign(root)?;
        new = Head { seq: event.seq, hash: *EventHash::of(&signed).as_bytes(), ..new };
        batch.add(&tables.trust_events, one(event.seq), &SignedEvent(signed));
        keep(tables, batch, change);
    }
    Ok(new)
}

/// Tenants, groups, keys and devices are in their own tables already; what else a snapshot needs is kept here.
fn keep(tables: &Tables, batch: &mut Batch, change: &Change) {
    match change {
        Change::Device(device) => {
            let row = MovedDevice { epoch: device.epoch, at: device.at.get() };
            let key = pair(&device.tenant, device.device.as_str());
            batch.put(&tables.moved_devices, key, &row);
        }
        Change::Token(token) => {
            let row = RevokedRow {
                tenant: token.tenant.as_str().to_owned(),
                device: token.device.as_str().to_owned(),
            };
            let key = vec![token.expires.get().into(), token.token.as_bytes().into()];
            batch.put(&tables.revoked_tokens, key, &row);
        }
        Change::Tenant(_) | Change::Key(_) | Change::Group(_) | Change::DeviceKey(_) => {}
        Change::Rule(_) | Change::Restraint(_) => {}
    }
}
