//! Data that a reader shows of the part that a restored service has lost. Everything in it is signed by the root key, and it
//! is only ever taken to refuse more: epochs are raised, devices and tokens revoked, keys cut. A holder of a feed token
//! can show what was said and make nothing up.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use tessera_runtime::limits::STORE_SCAN_ROWS;
use tessera_runtime::sql::{Batch, Key, Value};
use tessera_token::chain::{IssuerKey, KeyState, TenantTrust};
use tessera_token::ids::TenantId;
use tessera_token::limits::TOKEN_LIFE_SECONDS;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Change, DeviceEpoch, GroupEpoch, RevokedToken, Shown, TenantSet};

use crate::audit::{Actor, Entry};
use crate::limits::FINDINGS;
use crate::operators::Operator;
pub(crate) use crate::records::findings::Finding;
use crate::records::findings::FindingRow;
use crate::records::keys::State;
use crate::records::{DeviceRecord, GroupRecord, TenantRecord};
use crate::refused::Refused;
use crate::registry::devices::Moved;
use crate::registry::groups;
use crate::rotation::compromise;
use crate::service::Service;
use crate::tables::{one, pair, text};
use crate::trust::line::epoch;
use crate::trust::restored::{epoch_floor, next_epoch};
use crate::trust::{actor, restored};
use crate::write::{until_committed, Attempt};

mod restrictions;
mod wide;

/// Jumps when that is due, then takes in what was shown, then lifts what this process may have moved too low.
/// The evidence of an account of some tenants lifts these alone.
pub(crate) async fn take(service: &Service, by: &Operator, shown: Shown) -> Result<(), Refused> {
    let (by, of) = (&by.actor(), by.tenants.set()?);
    jump(service, by, of.as_ref(), &shown).await?;
    // A count reads them all: once for each piece of evidence, of which there is one at a time.
    let listed = service.tables.findings.count().await?;
    service.listed.store(usize::try_from(listed).unwrap_or(usize::MAX), Ordering::Relaxed);
    for (_, change) in newest(shown.changes) {
        adopt(service, by, change).await?;
    }
    super::lift::run(service).await
}

async fn jump(
    service: &Service,
    by: &Actor,
    of: Option<&TenantSet>,
    shown: &Shown,
) -> Result<(), Refused> {
    until_committed(async || {
        let mut batch = Batch::new();
        let entry = service.entry(by, "trust.restored", "", "service");
        let entry = entry.detail(format!("a reader stands at event {}", shown.seq));
        service.note(&mut batch, &entry);
        let message = actor::Shown {
            by: by.name.clone(),
            seq: shown.seq,
            head: shown.head,
            epoch: shown.changes.iter().map(epoch).max().unwrap_or(0),
            marks: shown.marks.clone(),
            of: of.cloned(),
            batch,
        };
        let tried = service.trust.send(message).await??;
        Ok(tried.map(|jumped| {
            if let Some(jumped) = jumped {
                service.noted(&entry);
                service.metrics.restorations.inc(&[jumped.why.as_str()]);
            }
        }))
    })
    .await
}

/// The last word about each subject.
fn newest(changes: Vec<Change>) -> BTreeMap<(u8, String, Vec<u8>), Change> {
    let place = |change: &Change| match change {
        Change::Tenant(t) => (0, t.tenant.to_string(), Vec::new()),
        Change::Group(g) => (1, g.tenant.to_string(), g.number.to_be_bytes().to_vec()),
        Change::Device(d) => (2, d.tenant.to_string(), d.device.as_str().into()),
        Change::Token(t) => (3, t.tenant.to_string(), t.token.as_bytes().to_vec()),
        Change::Key(k) => (4, k.tenant.to_string(), k.key.as_bytes().to_vec()),
        Change::DeviceKey(k) => (5, k.tenant.to_string(), k.device.as_str().into()),
        Change::Rule(r) => (6, r.tenant.to_string(), r.id.as_str().into()),
        Change::Restraint(r) => (7, r.tenant.to_string(), r.device.as_str().into()),
    };
    changes.into_iter().map(|change| (place(&change), change)).collect()
}

async fn adopt(service: &Service, by: &Actor, change: Change) -> Result<(), Refused> {
    until_committed(async || match &change {
        Change::Tenant(tenant) => adopt_tenant(service, by, tenant).await,
        Change::Group(group) => adopt_group(service, by, group).await,
        Change::Device(device) => adopt_device(service, by, device).await,
        Change::Token(token) => adopt_token(service, by, token).await,
        Change::Key(key) => adopt_key(service, by, key).await,
        // The device itself tells that it enrolled, when it comes again.
        Change::DeviceKey(_) => Ok(Attempt::Committed(())),
        Change::Rule(rule) => restrictions::rule(service, by, rule).await,
        Change::Restraint(restraint) => restrictions::restraint(service, by, restraint).await,
    })
    .await
}

async fn adopt_tenant(
    service: &Service,
    by: &Actor,
    shown: &TenantTrust,
) -> Result<Attempt<()>, Refused> {
    let name = shown.tenant.as_str();
    let table = &service.tables.tenants;
    let mut batch = Batch::new();
    let Some(old) = table.get(one(name)).await? else {
        let found = finding(service, "tenant", &shown.tenant, name, shown.epoch, "unknown");
        return put_on_list(service, batch, &found).await;
    };
    if old.epoch >= shown.epoch {
        return Ok(Attempt::Committed(()));
    }
    let suspended = old.suspended || shown.suspended;
    let new = TenantRecord { epoch: shown.epoch, suspended, ..old.clone() };
    batch.expect(table, one(name), &old);
    batch.put(table, one(name), &new);
    let done = if suspended { "revoked" } else { "raised" };
    let found = finding(service, "tenant", &shown.tenant, name, new.epoch, done);
    publish(service, by, Change::Tenant(new.trust(&shown.tenant)), batch, &found).await
}

async fn adopt_group(
    service: &Service,
    by: &Actor,
    shown: &GroupEpoch,
) -> Result<Attempt<()>, Refused> {
    if shown.epoch == 0 {
        return Ok(Attempt::Committed(()));
    }
    let (table, name) = (&service.tables.groups, shown.group.as_str());
    let key = pair(&shown.tenant, name);
    let old = table.get(key.clone()).await?.filter(|old| old.number == shown.number);
    let mut batch = Batch::new();
    let Some(old) = old else {
        let found = finding(service, "group", &shown.tenant, name, shown.epoch, "unknown");
        return put_on_list(service, batch, &found).await;
    };
    if old.epoch >= shown.epoch {
        return Ok(Attempt::Committed(()));
    }
    let new = GroupRecord { epoch: shown.epoch, ..old.clone() };
    batch.expect(table, key.clone(), &old);
    batch.put(table, key, &new);
    let found = finding(service, "group", &shown.tenant, name, new.epoch, "raised");
    publish(service, by, groups::told(&shown.tenant, &shown.group, &new), batch, &found).await
}

/// It was revoked in the lost part. The feed does not tell whether it was reinstated since: it is revoked, and an
/// operator reinstates it.
async fn adopt_device(
    service: &Service,
    by: &Actor,
    shown: &DeviceEpoch,
) -> Result<Attempt<()>, Refused> {
    // A clock that is ahead ends no revocation.
    if service.time.removal().since(shown.at) > TOKEN_LIFE_SECONDS {
        return Ok(Attempt::Committed(()));
    }
    let (table, name) = (&service.tables.devices, shown.device.as_str());
    let Some(old) = table.get(pair(&shown.tenant, name)).await? else {
        return wide::adopt_unknown(service, by, shown).await;
    };
    // A record that is above it is not enough: a device that enrolled anew under the name is no news to verifiers.
    if wide::is_told(service, shown, &old).await? {
        return Ok(Attempt::Committed(()));
    }
    // Above the floor, so that a token which the lost part gave out after a reinstatement ends too.
    let epoch = next_epoch(&service.tables, shown.epoch.max(old.epoch)).await?;
    let new = DeviceRecord { epoch, revoked: true, refresh_from: Some(epoch), ..old.clone() };
    let found = finding(service, "device", &shown.tenant, name, epoch, "revoked");
    let moved = Moved { tenant: &shown.tenant, device: &shown.device, old: &old, new: &new };
    wide::publish(service, by, &moved, &found).await
}

async fn adopt_token(
    service: &Service,
    by: &Actor,
    shown: &RevokedToken,
) -> Result<Attempt<()>, Refused> {
    let key = vec![shown.expires.get().into(), shown.token.as_bytes().into()];
    let known = service.tables.revoked_tokens.contains(key).await?;
    if known || shown.expires <= service.time.removal() {
        return Ok(Attempt::Committed(()));
    }
    let found = finding(service, "token", &shown.tenant, shown.device.as_str(), 0, "revoked");
    match publish(service, by, Change::Token(shown.clone()), Batch::new(), &found).await {
        Err(refused) if refused.code == RefusalCode::CapacityReached => {
            wide::end_device(service, by, shown, &found).await
        }
        tried => tried,
    }
}

async fn adopt_key(
    service: &Service,
    by: &Actor,
    shown: &IssuerKey,
) -> Result<Attempt<()>, Refused> {
    let id = shown.key.key_id();
    let key = pair(&shown.tenant, id.as_bytes());
    let known = service.tables.keys.get(key).await?;
    let name = id.to_string();
    let Some(known) = known.filter(|known| known.public().is_ok_and(|key| key == shown.key)) else {
        // Its tokens are good at readers that know it; new ones refuse them, and their devices refresh.
        let found = finding(service, "key", &shown.tenant, &name, 0, "unknown");
        return put_on_list(service, Batch::new(), &found).await;
    };
    let cut = shown.state == KeyState::Compromised && known.state != State::Compromised;
    if cut {
        compromise(service, by, &shown.tenant, id).await?;
        let found = finding(service, "key", &shown.tenant, &name, 0, "cut");
        return put_on_list(service, Batch::new(), &found).await;
    }
    Ok(Attempt::Committed(()))
}

/// The findings behind this place, one more than `limit` at most.
pub(crate) async fn list(
    service: &Service,
    after: Option<[String; 3]>,
    limit: usize,
) -> Result<Vec<Finding>, Refused> {
    let after: Option<Key> = after.map(|parts| parts.map(Value::from).into());
    let rows = service.tables.findings.scan(&[], after.as_deref(), limit + 1).await?;
    let found = rows.into_iter().map(|(key, FindingRow { epoch, done, at })| {
        let part = |place| text(&key, place).map(str::to_owned);
        let (tenant, kind, subject) = (part(0)?, part(1)?, part(2)?);
        Ok(Finding { kind, tenant, subject, epoch, done, at })
    });
    found.collect()
}

/// Lets go of the list of what was found and of the restorations behind it: an operator has looked at them.
pub(crate) async fn forget(service: &Service, by: &Actor) -> Result<(), Refused> {
    loop {
        let rows = service.tables.findings.scan(&[], None, STORE_SCAN_ROWS).await?;
        let mut batch = Batch::new();
        let is_empty = rows.is_empty();
        rows.into_iter().for_each(|(key, _)| batch.delete(&service.tables.findings, key));
        if is_empty {
            restored::looked_at(&service.tables, &mut batch);
            let entry = service.entry(by, "trust.restored-looked-at", "", "service");
            service.write(batch, entry).await?;
            service.metrics.restored.set(&[], 0);
            return Ok(());
        }
        service.database.commit(batch).await?;
    }
}

fn finding(
    service: &Service,
    kind: &str,
    tenant: &TenantId,
    subject: &str,
    epoch: u64,
    done: &str,
) -> Finding {
    Finding {
        kind: kind.to_owned(),
        tenant: tenant.as_str().to_owned(),
        subject: subject.to_owned(),
        epoch,
        done: done.to_owned(),
        at: service.now().get(),
    }
}

async fn publish(
    service: &Service,
    by: &Actor,
    change: Change,
    mut batch: Batch,
    found: &Finding,
) -> Result<Attempt<()>, Refused> {
    put(service, &mut batch, found);
    let tried = service.publish(vec![change], batch, entry(service, by, found)).await?;
    if tried == Attempt::Committed(()) {
        told(service, found);
    }
    Ok(tried)
}

fn entry(service: &Service, by: &Actor, found: &Finding) -> Entry {
    let action = format!("trust.adopt-{}", found.kind);
    let entry = service.entry(by, &action, &found.tenant, &found.subject);
    entry.detail(format!("{}, epoch {}", found.done, found.epoch))
}

/// Lists what cannot be taken in, once.
async fn put_on_list(
    service: &Service,
    mut batch: Batch,
    found: &Finding,
) -> Result<Attempt<()>, Refused> {
    let is_listed = service.tables.findings.contains(key_of(found)).await?;
    if is_listed || epoch_floor(&service.tables).await? == 0 {
        return Ok(Attempt::Committed(()));
    }
    put(service, &mut batch, found);
    service.database.commit(batch).await?;
    told(service, found);
    Ok(Attempt::Committed(()))
}

fn put(service: &Service, batch: &mut Batch, found: &Finding) {
    match service.listed.load(Ordering::Relaxed) < FINDINGS {
        true => {
            let Finding { epoch, done, at, .. } = found.clone();
            let row = FindingRow { epoch, done, at };
            batch.put(&service.tables.findings, key_of(found), &row);
        }
        false => service.metrics.findings.inc(&["not_listed"]),
    }
}

fn key_of(found: &Finding) -> Key {
    vec![(&found.tenant).into(), (&found.kind).into(), (&found.subject).into()]
}

fn told(service: &Service, found: &Finding) {
    let Finding { kind, tenant, subject, epoch, done, .. } = found;
    service.listed.fetch_add(1, Ordering::Relaxed);
    service.metrics.findings.inc(&[done]);
    tracing::warn!(kind, tenant, subject, epoch, done, "a reader knew more than this service");
}
