use serde::Serialize;
use tessera_token::encoding::{base64url, from_base64url, hex};

use crate::operators::Tenants;
use crate::records::Page;
use crate::refused::Refused;
use crate::rest::auth::{Among, Watches};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{App, PageQuery, Query};
use crate::rest::{page, Answer};
use crate::revoke::taken::{serving, Verifier};
use crate::trust::ledger::Head;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![Endpoint::get("/v1/trust/verifiers", list)
        .summary("The verifiers that serve a tenant of the account, and the event that each has")
        .paged_by("^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?$")
        .done("Verifiers")]
}

#[derive(Serialize)]
struct VerifierView {
    verifier: String,
    kind: Option<String>,
    /// `all`, or those that the caller may see.
    tenants: serde_json::Value,
    /// The account by which it reads; `None` for a caller that may not see it.
    account: Option<String>,
    /// The number of the process.
    reader: String,
    /// `here` or `away`.
    state: &'static str,
    last_seen: u64,
    /// The newest event that it has confirmed.
    event: u64,
    /// Events of the feed behind that.
    behind: u64,
}

impl VerifierView {
    fn new(verifier: Verifier, head: u64, by: &Tenants) -> Self {
        let Verifier { key, row, is_here } = verifier;
        Self {
            verifier: key.name,
            kind: row.kind,
            account: Some(key.account).filter(|_| by.contain(&row.tenants)),
            tenants: match row.tenants {
                Tenants::All => "all".into(),
                Tenants::These(these) => {
                    these.into_iter().filter(|one| by.cover(one)).collect::<Vec<_>>().into()
                }
            },
            reader: hex::encode(key.reader),
            state: if is_here { "here" } else { "away" },
            last_seen: row.last_seen,
            event: row.event,
            behind: head.saturating_sub(row.event),
        }
    }
}

/// Readers that serve a tenant of the account.
pub(crate) async fn list(by: Among<Watches>, app: App, Query(query): Query<PageQuery>) -> Answer {
    let tenants = &by.operator().tenants;
    let after = query.cursor.as_deref().map(place_of).transpose()?;
    let head = Head::read(&app.tables).await.map_err(Refused::from)?.seq;
    let mut found = serving(&app, tenants).await?;
    found.retain(|one| after.as_ref().is_none_or(|after| place(one) > *after));
    found.truncate(query.limit() + 1);
    let found = Page::of(found, query.limit(), |one| {
        let (name, account, reader) = place(one);
        base64url(format!("{name}\0{account}\0{}", hex::encode(reader)).as_bytes())
    });
    Ok(page(found, |one| VerifierView::new(one, head, tenants)))
}

/// Behind which one a list goes on.
type Place = (String, String, [u8; 16]);

fn place(one: &Verifier) -> Place {
    (one.key.name.clone(), one.key.account.clone(), one.key.reader)
}

fn place_of(cursor: &str) -> Result<Place, Refused> {
    let parse = || {
        let text = String::from_utf8(from_base64url(cursor)?).ok()?;
        let mut parts = text.splitn(3, '\0');
        let (name, account) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let reader = hex::decode(parts.next()?)?;
        Some((name, account, reader.try_into().ok()?))
    };
    parse().ok_or_else(|| Refused::malformed("cursor"))
}
