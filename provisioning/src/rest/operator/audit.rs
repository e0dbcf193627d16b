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
use crate::tables::{number, one, Tables};
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
    fn new((seq, row): Row) -> Self {
        Self {
            seq,
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
    let audit = audit::Head::read(&app.tables).await?;
    let trust = trust::Head::read(&app.tables).await?;
    let head = ServiceHead {
        audit: audit.seq,
        audit_hash: audit.hash,
        trust: trust.seq,
        trust_hash: trust.hash,
        serial: highest_serial(&app.tables).await?,
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
        Tenants::All => entries(&app.tables, after, query.limit()).await?,
        tenants => entries_of(&app.tables, tenants, after, query.limit()).await?,
    };
    Ok(page(found, EntryView::new))
}

type Row = (u64, Chained);

async fn entries(tables: &Tables, after: Option<u64>, limit: usize) -> Result<Page<Row>, Refused> {
    let after = after.map(one);
    let rows = tables.audit.scan(&[], after.as_deref(), limit + 1).await?;
    let rows = rows.into_iter().map(|(key, row)| Ok((number(&key, 0)?, row)));
    let rows = rows.collect::<Result<Vec<_>, Refused>>()?;
    Ok(Page::of(rows, limit, |(seq, _)| seq.to_string()))
}

/// Entries of these tenants alone. A page looks at so many entries that the scan stays short; it may hold none, and name
/// the next.
async fn entries_of(
    tables: &Tables,
    tenants: &Tenants,
    mut after: Option<u64>,
    limit: usize,
) -> Result<Page<Row>, Refused> {
    let (mut items, mut seen) = (Vec::new(), 0);
    loop {
        let some = entries(tables, after, limit).await?;
        let is_last = some.next.is_none();
        for row in some.items {
            after = Some(row.0);
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
