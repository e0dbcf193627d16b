use serde::{Deserialize, Serialize};
use tessera_runtime::store::{Batch, StoreError};
use tessera_token::key::SecretKey;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, Event, EventHash, FeedNonce, Heartbeat};

use crate::records::{octets, MovedDevice, RevokedRow};
use crate::tables::{numbered, pair, Tables};

const HEAD: &str = "trust_head";

/// The newest event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    #[serde(with = "octets")]
    pub(crate) hash: [u8; 32],
    /// Where the line begins since the last restoration: numbers below were given out on a line that was left.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) start: u64,
    /// The first event behind the beginning names this hash.
    #[serde(with = "octets", default = "none", skip_serializing_if = "is_none")]
    pub(crate) start_hash: [u8; 32],
}

/// Left out at rest: a record from before these fields has the same bytes.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_none(hash: &[u8; 32]) -> bool {
    *hash == none()
}

const fn none() -> [u8; 32] {
    [0; 32]
}

impl Head {
    pub(crate) fn read(tables: &Tables) -> Result<Self, StoreError> {
        Ok(tables.meta.get_record(HEAD)?.unwrap_or_default())
    }

    /// The batch is good only while this is the head.
    pub(crate) fn expect(&self, tables: &Tables, batch: &mut Batch) {
        match self.seq {
            0 => batch.expect_absent(&tables.meta, HEAD),
            _ => batch.expect_record(&tables.meta, HEAD, self),
        }
    }

    pub(crate) fn write(&self, tables: &Tables, batch: &mut Batch) {
        batch.put_record(&tables.meta, HEAD, self);
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
        batch.put(&tables.trust_events, event.seq.to_be_bytes(), signed);
        keep(tables, batch, change);
    }
    Ok(new)
}

/// Tenants, groups, keys and devices are in their own tables already; what else a snapshot needs is kept here.
fn keep(tables: &Tables, batch: &mut Batch, change: &Change) {
    match change {
        Change::Device(device) => {
            let row = MovedDevice { epoch: device.epoch, at: device.at.get() };
            batch.put_record(
                &tables.moved_devices,
                pair(&device.tenant, device.device.as_str()),
                &row,
            );
        }
        Change::Token(token) => {
            let row = RevokedRow {
                tenant: token.tenant.as_str().to_owned(),
                device: token.device.as_str().to_owned(),
            };
            let key = numbered(token.expires.get(), token.token.as_bytes());
            batch.put_record(&tables.revoked_tokens, key, &row);
        }
        Change::Tenant(_) | Change::Key(_) | Change::Group(_) | Change::DeviceKey(_) => {}
    }
}
