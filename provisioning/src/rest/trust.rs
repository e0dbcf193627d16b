use std::sync::atomic::Ordering;
use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, CACHE_CONTROL};
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::ids::{TenantId, VerifierName};
use tessera_token::limits::{EVIDENCE_BYTES, ROOT_LINKS};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{
    EventHash, Evidence, FeedNonce, BROKER, GATEWAY, READER_HEADER, ROOT_SET_HEADER,
    VERIFIER_HEADER, VERIFIER_KIND_HEADER, VERIFIER_SHARED_HEADER,
};

use super::auth::{Among, By, Feed, Security};
use super::input::{App, PageQuery, Query};
use super::problem::Problem;
use super::Answer;
use crate::feed::{self, bound, Asked, News};
use crate::limits::{EVIDENCE_TIME, EVIDENCE_WAIT, POLL_SECONDS};
use crate::operators::{Operator, Tenants};
use crate::records::verifiers::{VerifierKey, VerifierRow};
use crate::records::Page;
use crate::recovery::adopt::{self, Finding};
use crate::refused::Refused;
use crate::service::Service;
use crate::trust::confirmed::is_awaited;
use crate::trust::held;
use crate::trust::ledger::Head;
use crate::trust::readers::{Admits, Customer, Noticed};
use crate::trust::restored::{restorations, Restoration};
use crate::trust::whole::TakeSnapshot;

mod table;

pub(crate) use table::table;
pub(super) use table::OF_TENANT;

const CBOR: &str = "application/cbor";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    after: u64,
    #[serde(default)]
    wait: u64,
    /// The reader's clock, in seconds.
    clock: Option<u64>,
    /// The hash of the event `after`, as base64url.
    head: Option<String>,
    /// 32 hexadecimal digits: what the heartbeat answers.
    nonce: Option<String>,
    /// The only tenant that is read.
    tenant: Option<String>,
}

impl After {
    fn asked(self) -> Result<Asked, Refused> {
        if self.wait > POLL_SECONDS {
            return Err(Refused::malformed(format!("wait must be 0 to {POLL_SECONDS}")));
        }
        let nonce = self.nonce.map(|text| text.parse::<FeedNonce>());
        let nonce = nonce.transpose();
        Ok(Asked {
            after: self.after,
            wait: self.wait,
            head: self.head.map(|text| hash(&text)).transpose()?,
            nonce: nonce.map_err(|_| Refused::malformed("nonce is 32 hexadecimal digits"))?,
        })
    }
}

fn hash(text: &str) -> Result<EventHash, Refused> {
    let bytes = from_base64url(text).and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(EventHash::from_bytes)
        .ok_or_else(|| Refused::malformed("head is a hash of 32 bytes as base64url"))
}

/// Where a reader stands that takes a snapshot.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stands {
    after: Option<u64>,
    /// The hash of the event `after`, as base64url.
    head: Option<String>,
    /// The only tenant that is read.
    tenant: Option<String>,
}

/// The tenant in whose name a broker shows something.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfTenant {
    pub(super) tenant: Option<String>,
}

/// The account, as a reader of one tenant when the request names one.
pub(super) fn as_of(by: &Operator, tenant: Option<&str>) -> Result<Operator, Refused> {
    let Some(tenant) = tenant else { return Ok(by.clone()) };
    // A tenant of others is answered without a look at whether it exists.
    if TenantId::parse(tenant).is_err() || !by.tenants.cover(tenant) {
        return Err(RefusalCode::TenantUnknown.into());
    }
    let tenants = Tenants::These([tenant.to_owned()].into());
    Ok(Operator { tenants, ..by.clone() })
}

pub(super) async fn snapshot(by: Among<Feed>, app: App, Query(stands): Query<Stands>) -> Answer {
    let by = as_of(by.operator(), stands.tenant.as_deref())?;
    let head = stands.head.map(|text| hash(&text)).transpose()?;
    if feed::is_beyond(&app, &by, stands.after.unwrap_or(0), head).await? {
        return Err(Refused::from(RefusalCode::TrustBeyond).into());
    }
    let bytes = match by.tenants.set()? {
        Some(tenants) => bound::take(&app, &by.share(), &tenants).await?,
        None => app.trust.send(TakeSnapshot).await.map_err(Refused::from)??,
    };
    Ok(cbor(Bytes::from_owner(Whole(bytes))))
}

pub(super) async fn events(
    request: HttpRequest,
    by: Among<Feed>,
    app: App,
    Query(query): Query<After>,
) -> Answer {
    let by = as_of(by.operator(), query.tenant.as_deref())?;
    let tenants = by.tenants.set()?;
    // The clock of this service is a matter of all tenants.
    if let Some(clock) = query.clock.filter(|_| tenants.is_none()) {
        app.time.reader_shows(UnixSeconds::new(clock));
    }
    let is_of_all = tenants.is_none();
    let bound = tenants.map(|tenants| Customer { share: by.share(), set: tenants.id() });
    let set = root_set(request.headers())?;
    // It is a matter of all tenants too: the word of a customer raises no alarm.
    if set > app.links.len() && is_of_all {
        tell_behind(&app, set, &by.name);
    }
    if set < app.links.len() {
        // The links stand in front of the snapshot, and nothing behind it counts without them.
        return Err(Refused::from(RefusalCode::TrustGone).into());
    }
    let admits = admits(request.headers(), bound)?;
    if let Some(admits) = &admits {
        note(&app, admits, &by.name);
    }
    let asked = query.asked()?;
    if let Some(admits) = &admits {
        confirm(&app, &by, admits, request.headers(), &asked).await?;
    }
    match feed::events(&app, &by, &asked).await? {
        News::Feed(feed) => Ok(fed(&app, admits.as_ref(), feed.to_cbor())),
        News::Bound(bound) => Ok(fed(&app, admits.as_ref(), bound.to_cbor())),
        News::Gone => Err(Refused::from(RefusalCode::TrustGone).into()),
        News::Beyond => Err(Refused::from(RefusalCode::TrustBeyond).into()),
    }
}

/// An answer of the feed, with the warning about another reader of the name.
fn fed(app: &App, admits: Option<&Admits>, bytes: Vec<u8>) -> HttpResponse {
    let mut answer = cbor(bytes);
    if admits.is_some_and(|one| app.readers.is_shared(one, app.time.monotonic())) {
        let name = HeaderName::from_static(VERIFIER_SHARED_HEADER);
        answer.headers_mut().insert(name, HeaderValue::from_static("1"));
    }
    answer
}

/// A reader has followed a link that this service does not know: it was restored from an older copy, or another service has
/// its name. Told once for each number of sets.
fn tell_behind(app: &App, set: usize, account: &str) {
    let ahead = set.min(ROOT_LINKS).saturating_sub(app.links.len());
    if app.readers_ahead.fetch_max(ahead, Ordering::Relaxed) >= ahead {
        return;
    }
    app.metrics.readers_ahead.set(&[], i64::try_from(ahead).unwrap_or(i64::MAX));
    tracing::error!(
        reader = set,
        service = app.links.len(),
        account,
        "a reader of the trust feed trusts a later root set than this service signs for, and takes nothing from it: an older copy was brought back, or two services have one root. See docs/keys.md"
    );
}

/// The number of the root set that the reader trusts; 0 of one that names none.
fn root_set(headers: &HeaderMap) -> Result<usize, Refused> {
    let Some(number) = headers.get(ROOT_SET_HEADER) else { return Ok(0) };
    let digits = number.to_str().ok().filter(|digits| {
        (1..=9).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
    });
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| {
        Refused::malformed(format!("{ROOT_SET_HEADER} is a number of 1 to 9 digits"))
    })
}

/// The verifier name of a reader that admits devices; none of one that only reads.
fn admits(headers: &HeaderMap, of: Option<Customer>) -> Result<Option<Admits>, Refused> {
    let (name, reader) = (headers.get(VERIFIER_HEADER), headers.get(READER_HEADER));
    let Some((name, reader)) = name.zip(reader) else {
        return match (name, reader) {
            (None, None) => Ok(None),
            _ => Err(malformed_reader()),
        };
    };
    let name = name.to_str().ok().and_then(|name| VerifierName::parse(name).ok());
    let digits = reader.to_str().ok().filter(|digits| {
        digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    });
    let reader = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
    let (name, reader) = name.zip(reader).ok_or_else(malformed_reader)?;
    Ok(Some(Admits { of, name, reader }))
}

fn malformed_reader() -> Refused {
    Refused::malformed(format!(
        "{VERIFIER_HEADER} is a verifier name and {READER_HEADER} 32 hexadecimal digits; send both or neither"
    ))
}

/// Keeps the event that the reader says it has stored, when the hash that it names is that of our event.
async fn confirm(
    app: &App,
    by: &Operator,
    admits: &Admits,
    headers: &HeaderMap,
    asked: &Asked,
) -> Result<(), Refused> {
    if !feed::has(app, asked).await? {
        return Ok(());
    }
    let kind = headers.get(VERIFIER_KIND_HEADER).and_then(|kind| kind.to_str().ok());
    let kind = [BROKER, GATEWAY].into_iter().find(|known| kind == Some(known));
    let key = VerifierKey {
        share: by.share(),
        account: by.name.clone(),
        name: admits.name.as_str().to_owned(),
        reader: admits.reader.to_be_bytes(),
    };
    let now = app.now().get();
    let row = VerifierRow {
        kind: kind.map(str::to_owned),
        tenants: by.tenants.clone(),
        event: asked.after,
        first_seen: now,
        last_seen: now,
    };
    if app.confirmed.polls(&key, row) && is_awaited(&app.tables, now).await? {
        let app = app.clone();
        let written = async move { Ok(app.confirmed.write(&app.database, &app.tables).await?) };
        Service::to_its_end(written).await?;
    }
    Ok(())
}

fn note(app: &App, by: &Admits, account: &str) {
    match app.readers.polls(by, app.time.monotonic()) {
        Noticed::Nothing => {}
        Noticed::Full => app.metrics.limits_hit.inc(&["verifier_names"]),
        Noticed::Shared => {
            app.metrics.names_shared.add(&[], 1);
            tracing::warn!(
                verifier = by.name.as_str(),
                account,
                "two processes read the trust feed under this verifier name: a connect proof is good once at each; give each verifier its own name (setting `verifier`)"
            );
        }
    }
}

/// Takes in data of a reader beyond this service. One at a time, one of each share: they are as large as a snapshot.
/// Those of an account of some tenants concern these alone, whatever else the root key has signed.
pub(super) async fn known(
    by: Among<Feed>,
    app: App,
    Query(query): Query<OfTenant>,
    payload: Payload,
) -> Answer {
    let by = as_of(by.operator(), query.tenant.as_deref())?;
    let tenants = &by.tenants;
    let bound = *tenants != Tenants::All;
    let seat = app.waiters.show(&by.share(), bound, EVIDENCE_WAIT).await;
    let seat = seat.map_err(|code| {
        app.metrics.limits_hit.inc(&["evidence"]);
        Refused::because(code, "evidence is looked at one piece at a time: show it again later")
    })?;
    let bytes = tokio::time::timeout(EVIDENCE_TIME, payload.to_bytes_limited(EVIDENCE_BYTES)).await;
    let bytes = match bytes {
        Ok(Ok(Ok(bytes))) => bytes,
        Ok(Err(_)) => {
            let large = Refused::malformed("the evidence is too large");
            return Err(Problem::from(large).with_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        // Not for the evidence: the reader shows it again.
        _ => {
            let broken =
                Refused::malformed("the body broke off, or came too slowly: show it again");
            return Err(Problem::from(broken).with_status(StatusCode::REQUEST_TIMEOUT));
        }
    };
    let roots = Arc::clone(&app.roots);
    let shown = held::run(seat, move || {
        Evidence::from_cbor(&bytes).and_then(|evidence| evidence.verify_by(roots.keys()))
    });
    let (shown, _seat) = shown.await?;
    let mut shown = shown.map_err(|error| Refused::malformed(error.to_string()))?;
    let head = Head::read(&app.tables).await.map_err(Refused::from)?;
    let left_out = app.roots.bound(&mut shown, head.seq, app.now());
    if left_out > 0 {
        tracing::warn!(left_out, by = by.name, "evidence of a stolen root key has numbers that no service of this line can have given out: they do not count");
    }
    shown.changes.retain(|change| tenants.cover(change.tenant().as_str()));
    adopt::take(&app, &by, shown).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Serialize)]
struct RestoredView {
    restorations: Vec<Restoration>,
    items: Vec<Finding>,
    next: Option<String>,
}

/// That this service came back from an older copy, and what readers knew beyond it.
pub(super) async fn restored(
    _by: By<Security>,
    app: App,
    Query(query): Query<PageQuery>,
) -> Answer {
    let after = query.cursor.as_deref().map(place_of).transpose()?;
    let found = adopt::list(&app, after, query.limit()).await?;
    let found = Page::of(found, query.limit(), cursor_of);
    Ok(HttpResponse::Ok().json(RestoredView {
        restorations: restorations(&app.tables).await.map_err(Refused::from)?,
        items: found.items,
        next: found.next,
    }))
}

/// Behind which finding a list goes on: tenant, kind and subject.
fn cursor_of(finding: &Finding) -> String {
    let Finding { tenant, kind, subject, .. } = finding;
    base64url([tenant.as_str(), kind, subject].join("\0").as_bytes())
}

fn place_of(cursor: &str) -> Result<[String; 3], Refused> {
    let text = from_base64url(cursor).and_then(|bytes| String::from_utf8(bytes).ok());
    let parts: Option<Vec<String>> =
        text.map(|text| text.splitn(3, '\0').map(str::to_owned).collect());
    let parts = parts.and_then(|parts| parts.try_into().ok());
    parts.ok_or_else(|| Refused::malformed("cursor"))
}

/// An operator has looked at it.
pub(super) async fn looked_at(by: By<Security>, app: App) -> Answer {
    adopt::forget(&app, &by.operator().actor()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A snapshot that many readers get at one time, without a copy for each.
struct Whole(Arc<Vec<u8>>);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn cbor(bytes: impl Into<Bytes>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type(CBOR)
        .body(bytes.into())
}
