//! Each table of the former store, row by row.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use tessera_runtime::sql::{Batch, Database, Key, Record, Table};
use tessera_runtime::store::{Store, StoreError};
use tessera_token::encoding::hex;
use tessera_token::hash::TokenHash;

use super::shapes;
use crate::limits::FORMER_ROWS;
use crate::records::audit::{Chained, Entry};
use crate::records::findings::FindingRow;
use crate::records::heads::{AuditHead, Lived, Restoration, TrustHead};
use crate::records::keys::KeyRecord;
use crate::records::operators::{OperatorRecord, Tenants};
use crate::records::{
    AnsweredRequest, Attributes, ClaimRecord, ClaimUse, DeviceRecord, GroupRecord, IssuedRecord,
    MovedDevice, RevokedRow, RoleProgress, RoleRecord, SignedEvent, TenantRecord,
};
use crate::tables::{one, pair, Tables};

/// A former store, and the database that gets its rows.
struct Mover<'a> {
    from: &'a Store,
    to: &'a Database,
    batch: Batch,
    waiting: usize,
    moved: usize,
}

/// Moves all rows; gives how many there were.
pub(super) fn all(
    from: &Store,
    to: &Database,
    tables: &Tables,
    now: u64,
) -> Result<usize, StoreError> {
    let mut mover = Mover { from, to, batch: Batch::new(), waiting: 0, moved: 0 };
    registry(&mut mover, tables)?;
    tokens(&mut mover, tables, now)?;
    trust(&mut mover, tables)?;
    audit(&mut mover, tables)?;
    accounts(&mut mover, tables)?;
    // Last: they say that there is a service.
    marks(&mut mover, tables)?;
    mover.write()?;
    Ok(mover.moved)
}

impl Mover<'_> {
    /// Each row of a table as the record and key that `with` makes of it.
    fn each<T: DeserializeOwned, R: Record>(
        &mut self,
        name: &'static str,
        table: &Table<R>,
        with: impl Fn(&[u8], T) -> Option<(Key, R)>,
    ) -> Result<(), StoreError> {
        let former = self.from.table(name)?;
        for row in former.records::<T>(&[]) {
            let (key, row) = row?;
            let (key, record) = with(&key, row).ok_or_else(|| damaged(name))?;
            self.put(table, key, &record)?;
        }
        Ok(())
    }

    fn put<R: Record>(&mut self, table: &Table<R>, key: Key, record: &R) -> Result<(), StoreError> {
        self.batch.put(table, key, record);
        self.waiting += 1;
        if self.waiting >= FORMER_ROWS {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.moved += self.waiting;
        self.waiting = 0;
        self.to.commit_blocking(std::mem::take(&mut self.batch))
    }
}

fn registry(mover: &mut Mover<'_>, tables: &Tables) -> Result<(), StoreError> {
    mover.each("tenants", &tables.tenants, |key, row: shapes::Tenant| {
        let shapes::Tenant { epoch, suspended, bearer, next_group, created, .. } = row;
        let (confirmation, keys_published) = (row.confirmation, row.keys_published);
        let staleness = row.staleness;
        let record = TenantRecord {
            epoch,
            suspended,
            bearer,
            next_group,
            created,
            confirmation,
            keys_published,
            staleness,
        };
        Some((one(text(key)?), record))
    })?;
    mover.each("roles", &tables.roles, |key, row: shapes::Role| {
        let shapes::Role { class, publish, subscribe, token_seconds } = row;
        Some((
            names(key)?,
            RoleRecord {
                class,
                publish,
                subscribe,
                token_seconds,
                progress: RoleProgress::default(),
                refresh_tokens: false,
            },
        ))
    })?;
    mover.each("groups", &tables.groups, |key, row: shapes::Group| {
        let shapes::Group { number, epoch, created } = row;
        Some((
            names(key)?,
            GroupRecord { number, epoch, created, suspended: None, reenrol: None, announced: None },
        ))
    })?;
    mover.each("claims", &tables.claims, |key, row: shapes::Claim| {
        let shapes::Claim { role, group, device, created, expires, by, used } = row;
        let used = used.map(|used| ClaimUse {
            device: used.device,
            thumbprint: used.thumbprint,
            at: used.at,
        });
        let (tenant, hash) = split(key)?;
        let attributes = Attributes::default();
        let record = ClaimRecord {
            role,
            group,
            device,
            created,
            expires,
            by,
            attributes,
            used,
            counted: None,
            pattern: None,
        };
        Some((pair(text(tenant)?, <[u8; 32]>::try_from(hash).ok()?), record))
    })?;
    mover.each("devices", &tables.devices, |key, row: shapes::Device| {
        let shapes::Device { role, group, key: public, epoch, revoked, enrolled, claim } = row;
        let record = DeviceRecord {
            role,
            group,
            key: public,
            epoch,
            revoked,
            enrolled,
            claim,
            attributes: Attributes::default(),
            refresh_from: None,
            suspended: None,
            thumbprint: None,
        };
        Some((names(key)?, record))
    })
}

fn tokens(mover: &mut Mover<'_>, tables: &Tables, now: u64) -> Result<(), StoreError> {
    // Those of the last minutes: the others stay in the former store only.
    let mut answers: HashMap<[u8; 33], AnsweredRequest> = HashMap::new();
    for row in mover.from.table("refreshes")?.records::<shapes::Refreshes>(&[]) {
        for answer in row?.1.answers.into_iter().filter(|answer| answer.until >= now) {
            let shapes::Answer { nonce, iat, bearer, until, token, scope, kid, .. } = answer;
            let hash = *TokenHash::of(&token).as_bytes();
            let answer = AnsweredRequest {
                nonce,
                asked_at: iat,
                time: iat,
                bearer,
                until,
                token,
                scope,
                kid,
            };
            answers.insert(hash, answer);
        }
    }
    mover.each("issued", &tables.issued, |key, row: shapes::Issued| {
        let shapes::Issued { device, serial, issued, expires, key_id } = row;
        let (tenant, hash) = split(key)?;
        let (tenant, hash) = (text(tenant)?.to_owned(), <[u8; 33]>::try_from(hash).ok()?);
        let answer = answers.get(&hash).cloned();
        let record =
            IssuedRecord { tenant, device, hash, issued, expires, key_id, epochs: None, answer };
        Some((one(serial), record))
    })?;
    mover.each("revoked_tokens", &tables.revoked_tokens, |key, row: shapes::Revoked| {
        let (expires, hash) = numbered(key)?;
        let record = RevokedRow { tenant: row.tenant, device: row.device };
        Some((vec![expires.into(), <[u8; 33]>::try_from(hash).ok()?.into()], record))
    })
}

fn trust(mover: &mut Mover<'_>, tables: &Tables) -> Result<(), StoreError> {
    mover.each("keys", &tables.keys, |key, row: shapes::IssuerKey| {
        let shapes::IssuerKey { public, state, created, not_before, not_after, since } = row;
        let record = KeyRecord {
            public,
            state,
            created,
            not_before,
            not_after,
            since,
            lived: None,
            module: None,
        };
        let (tenant, id) = split(key)?;
        Some((pair(text(tenant)?, <[u8; 8]>::try_from(id).ok()?), record))
    })?;
    mover.each("moved_devices", &tables.moved_devices, |key, row: shapes::Moved| {
        Some((names(key)?, MovedDevice { epoch: row.epoch, at: row.at }))
    })?;
    for row in mover.from.table("trust_events")?.rows(&[], None) {
        let (key, signed) = row?;
        let (seq, _) = numbered(&key).ok_or_else(|| damaged("trust_events"))?;
        mover.put(&tables.trust_events, one(seq), &SignedEvent(signed))?;
    }
    mover.each("findings", &tables.findings, |_, row: shapes::Finding| {
        let shapes::Finding { kind, tenant, subject, epoch, done, at } = row;
        let key = vec![tenant.into(), kind.into(), subject.into()];
        Some((key, FindingRow { epoch, done, at }))
    })
}

fn audit(mover: &mut Mover<'_>, tables: &Tables) -> Result<(), StoreError> {
    mover.each("audit", &tables.audit, |key, row: shapes::Chained| {
        let shapes::Chained { entry, previous, hash } = row;
        Some((one(numbered(key)?.0), Chained { entry: entry_of(entry), previous, hash }))
    })?;
    mover.each("audit_pending", &tables.audit_waiting, |key, row: shapes::Entry| {
        let (millis, counter) = numbered(key)?;
        let counter = u64::from_be_bytes(<[u8; 8]>::try_from(counter).ok()?);
        Some((vec![millis.into(), counter.into()], entry_of(row)))
    })
}

fn entry_of(entry: shapes::Entry) -> Entry {
    let shapes::Entry { at, actor, action, tenant, subject, detail } = entry;
    Entry { at, actor, action, tenant, subject, detail, more: None }
}

fn accounts(mover: &mut Mover<'_>, tables: &Tables) -> Result<(), StoreError> {
    mover.each("operators", &tables.operators, |key, row: shapes::Account| {
        let shapes::Account { name, roles, tenants, created } = row;
        let tenants = match tenants {
            shapes::Tenants::All => Tenants::All,
            shapes::Tenants::These(these) => Tenants::These(these),
        };
        let record = OperatorRecord { name, roles, tenants, created, is_old_form: true };
        Some((one(<[u8; 32]>::try_from(key).ok()?), record))
    })
}

/// Counters and marks. The names of accounts, which stood among them, are unique in their own table now.
fn marks(mover: &mut Mover<'_>, tables: &Tables) -> Result<(), StoreError> {
    let former = mover.from.table("meta")?;
    for row in former.rows(&[], None) {
        let (key, value) = row?;
        let name = text(&key).ok_or_else(|| damaged("meta"))?;
        let (batch, marks) = (&mut mover.batch, &tables.marks);
        match name {
            "founded" => marks.put(batch, name, &hex::encode(&value)),
            "trust_head" => {
                let shapes::Head { seq, hash, start, start_hash } = former.decode(&value)?;
                marks.put(batch, name, &TrustHead { seq, hash, start, start_hash, root: 0 });
            }
            "audit_head" => {
                let shapes::Head { seq, hash, .. } = former.decode(&value)?;
                marks.put(batch, name, &AuditHead { seq, hash });
            }
            "lived" => {
                let shapes::Lived { began, lived, former } = former.decode(&value)?;
                marks.put(batch, name, &Lived { began, lived, former });
            }
            "restorations" => {
                let list: Vec<Restoration> = former.decode(&value)?;
                marks.put(batch, name, &list);
            }
            name if name.starts_with("operator ") => {}
            name => marks.put(batch, name, &former.decode::<u64>(&value)?),
        }
        mover.waiting += 1;
    }
    Ok(())
}

fn damaged(table: &'static str) -> StoreError {
    StoreError::Damaged { table, why: "a key that is none of the former version".to_owned() }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A tenant, and the part of the key behind the zero byte.
fn split(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let zero = key.iter().position(|byte| *byte == 0)?;
    Some((key.get(..zero)?, key.get(zero + 1..)?))
}

/// A tenant and a name.
fn names(key: &[u8]) -> Option<Key> {
    let (tenant, name) = split(key)?;
    Some(pair(text(tenant)?, text(name)?))
}

/// The number at the start of a key, and the rest.
fn numbered(key: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = key.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}
