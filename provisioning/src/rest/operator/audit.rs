use actix_web::HttpResponse;
use serde::Serialize;
use tessera_token::encoding::base64url;
use tessera_token::head::ServiceHead;

use crate::audit::actor::ChainPending;
use crate::audit::{self, Chained};
use crate::issue::highest_serial;
use crate::limits::AUDIT_LOOK;
use crate::operators::Tenants;
use crate::records::Page;
use crate::refused::Refused;
use crate::rest::auth::{Among, By, Security};
use crate::rest::input::{App, PageQuery, Query};
use crate::rest::{page, Answer};
use crate::tables::{number_of, Tables};
use crate::trust::ledger as trust;

/// An entry with everything that its hash covers, so that the chain can be verified from the answers alone.
#[derive(Serialize)]
struct EntryView {
    seq: u64,
    at: u64,
    actor: String,
    action: String,
    tenant: String,
    subject: String,
    detail: String,
    previous: String,
    hash: String,
}

impl EntryView {
    fn new((key, row): (Vec<u8>, Chained)) -> Self {
        Self {
            seq: number_of(&key),
            at: row.entry.at,
            actor: row.entry.actor,
            action: row.entry.action,
            tenant: row.entry.tenant,
            subject: row.entry.subject,
            detail: row.entry.detail,
            previous: base64url(&row.previous),
            hash: base64url(&row.hash),
        }
    }
}

/// How far the service has come, in words and signed by the root key.
#[derive(Serialize)]
struct HeadView {
    length: u64,
    hash: String,
    trust_seq: u64,
    trust_hash: String,
    serial: u64,
    time: u64,
    /// `tessera_token::head::ServiceHead`, base64url.
    signed: String,
}

pub(crate) async fn head(_by: By<Security>, app: App) -> Answer {
    app.audit.send(ChainPending).await.map_err(Refused::from)??;
    // It must not say more than a crash would leave.
    app.store.barrier().await?;
    let (audit, trust) = (audit::Head::read(&app.tables)?, trust::Head::read(&app.tables)?);
    let head = ServiceHead {
        audit: audit.seq,
        audit_hash: audit.hash,
        trust: trust.seq,
        trust_hash: trust.hash,
        serial: highest_serial(&app.tables)?,
        time: app.now(),
    };
    Ok(HttpResponse::Ok().json(HeadView {
        length: head.audit,
        hash: base64url(&head.audit_hash),
        trust_seq: head.trust,
        trust_hash: base64url(&head.trust_hash),
        serial: head.serial,
        time: head.time.get(),
        signed: base64url(&head.sign(&app.root)?),
    }))
}

pub(crate) async fn list(by: Among<Security>, app: App, Query(query): Query<PageQuery>) -> Answer {
    app.audit.send(ChainPending).await.map_err(Refused::from)??;
    let after = query.cursor.as_deref().map(str::parse::<u64>).transpose();
    let after = after.map_err(|_| Refused::malformed("cursor"))?;
    let found = match &by.operator().tenants {
        Tenants::All => entries(&app.tables, after, query.limit())?,
        tenants => entries_of(&app.tables, tenants, after, query.limit())?,
    };
    Ok(page(found, EntryView::new))
}

type Row = (Vec<u8>, Chained);

fn entries(tables: &Tables, after: Option<u64>, limit: usize) -> Result<Page<Row>, Refused> {
    let after = after.map(u64::to_be_bytes);
    let after = after.as_ref().map(<[u8; 8]>::as_slice);
    let rows = tables.audit.scan_records::<Chained>(&[], after, limit + 1)?;
    Ok(Page::of(rows, limit, |(key, _)| number_of(key).to_string()))
}

/// Entries of these tenants alone. A page looks at so many entries that the scan stays short; it may hold none, and name
/// the next.
fn entries_of(
    tables: &Tables,
    tenants: &Tenants,
    mut after: Option<u64>,
    limit: usize,
) -> Result<Page<Row>, Refused> {
    let (mut items, mut seen) = (Vec::new(), 0);
    loop {
        let some = entries(tables, after, limit)?;
        let is_last = some.next.is_none();
        for row in some.items {
            after = Some(number_of(&row.0));
            seen += 1;
            if tenants.cover(&row.1.entry.tenant) {
                items.push(row);
                if items.len() == limit {
                    return Ok(Page { items, next: after.map(|seq| seq.to_string()) });
                }
            }
        }
        if is_last {
            return Ok(Page { items, next: None });
        }
        if seen >= AUDIT_LOOK {
            return Ok(Page { items, next: after.map(|seq| seq.to_string()) });
        }
    }
}
