use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tessera_token::encoding::base64url;

use crate::audit::actor::ChainPending;
use crate::audit::{self, Found, More, Origin, Row, Wanted};
use crate::limits::AUDIT_TEXT;
use crate::refused::Refused;
use crate::rest::auth::{Among, By, Security};
use crate::rest::endpoint::{schema, Endpoint};
use crate::rest::input::{App, Limit, Query};
use crate::rest::Answer;
use crate::signed_head;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    let list = Endpoint::get("/v1/audit", list)
        .summary(
            "The hash-chained audit log, oldest first; an entry meets all conditions that \
                 are given",
        )
        .paged_by("^[0-9]{1,18}$");
    let list = filtered(list)
        .query("since", "Not before this second since 1970", schema::at_most(u64::MAX))
        .query("until", "Not after this second since 1970", schema::at_most(u64::MAX))
        .query("last", "Only of so many newest entries", schema::at_most(u64::MAX))
        .done("Audit");
    let head = Endpoint::get("/v1/audit/head", head)
        .summary(
            "The head of the audit log, of the trust feed and of the serials, signed by \
                 the root key",
        )
        .done("ServiceHead");
    vec![list, head]
}

/// The conditions on an entry.
pub(super) fn filtered(endpoint: Endpoint) -> Endpoint {
    let text = || json!({ "type": "string", "minLength": 1, "maxLength": AUDIT_TEXT });
    endpoint
        .query("tenant", "Only entries of this tenant", text())
        .query("actor", "Only entries of this account, device or part of the service", text())
        .query("action", "Only this action, such as device.revoke", text())
        .query("subject", "Only entries about this device, role, account …", text())
}

/// An entry with everything that its hash covers, so that the chain can be verified from the answers alone.
#[derive(Serialize)]
pub(super) struct EntryView {
    seq: u64,
    at: u64,
    actor: String,
    action: String,
    tenant: String,
    subject: String,
    detail: String,
    #[serde(flatten)]
    more: Option<MoreView>,
    previous: String,
    hash: String,
}

/// Entries of earlier versions do not have these.
#[derive(Serialize)]
struct MoreView {
    how: &'static str,
    credential: String,
    network: String,
    outcome: String,
    before: String,
    after: String,
}

impl MoreView {
    fn new(More { origin, outcome, before, after }: More) -> Self {
        let Origin { how, credential, network } = origin;
        Self { how: how.as_str(), credential, network, outcome, before, after }
    }
}

impl EntryView {
    pub(super) fn new((seq, row): Row) -> Self {
        Self {
            more: row.entry.more.map(MoreView::new),
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
    let head = signed_head::of(&app).await?;
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

/// The conditions of a list, and its page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    cursor: Option<String>,
    #[serde(default)]
    limit: Limit,
    tenant: Option<String>,
    actor: Option<String>,
    action: Option<String>,
    subject: Option<String>,
    since: Option<u64>,
    until: Option<u64>,
    last: Option<u64>,
}

#[derive(Serialize)]
struct AuditAnswer {
    items: Vec<EntryView>,
    next: Option<String>,
    /// A reader that follows the log goes on behind this number.
    seen: u64,
}

pub(crate) async fn list(by: Among<Security>, app: App, Query(query): Query<AuditQuery>) -> Answer {
    let after = query.cursor.as_deref().map(number_of).transpose()?;
    let AuditQuery { limit, tenant, actor, action, subject, since, until, last, .. } = query;
    texts([&tenant, &actor, &action, &subject])?;
    app.audit.send(ChainPending).await.map_err(Refused::from)??;
    let wanted = Wanted { tenant, actor, action, subject, since, until, last };
    let tenants = &by.operator().tenants;
    let Found { page, seen } =
        audit::list(&app.tables, tenants, &wanted, after, limit.rows()).await?;
    let items = page.items.into_iter().map(EntryView::new).collect();
    Ok(HttpResponse::Ok().json(AuditAnswer { items, next: page.next, seen }))
}

/// Checks the texts of conditions.
pub(super) fn texts(all: [&Option<String>; 4]) -> Result<(), Refused> {
    let is_bad = |text: &String| text.is_empty() || text.chars().count() > AUDIT_TEXT;
    match all.into_iter().flatten().any(is_bad) {
        true => Err(Refused::malformed(format!(
            "tenant, actor, action and subject have 1 to {AUDIT_TEXT} characters"
        ))),
        false => Ok(()),
    }
}

/// Numbers of rows have 63 bits.
pub(super) fn number_of(cursor: &str) -> Result<u64, Refused> {
    let number = cursor.parse().ok().filter(|number| i64::try_from(*number).is_ok());
    number.ok_or_else(|| Refused::malformed("cursor"))
}
