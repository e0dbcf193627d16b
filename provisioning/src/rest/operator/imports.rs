//! Import of devices, and export of devices and claims, as lines of JSON, each a stream.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use tessera_runtime::http::NDJSON;
use tessera_token::encoding::{base64url, from_base64url, hex};
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::PublicKey;
use tessera_token::refusal::RefusalCode;
use tokio::sync::watch;

use super::claims::ClaimView;
use crate::limits::{
    EXPORT_ROWS, IMPORT_BATCH, IMPORT_GATHER_MOST, IMPORT_LINES, IMPORT_LINE_BYTES, IMPORT_TIME,
};
use crate::records::{Attributes, DeviceRecord};
use crate::refused::Refused;
use crate::registry::imports::{
    begin, end, take, Counts, Fault, Import, Line, Outcome, Seen, Wanted,
};
use crate::registry::standing::State;
use crate::registry::tenants::DEFAULT_GROUP;
use crate::registry::{claims, devices, tenants};
use crate::rest::auth::{By, Fleet, Needs, Viewer};
use crate::rest::flow::{Flow, Out};
use crate::rest::input::{id, json, App, Query};
use crate::rest::lines::{Broken, Lines, Next};
use crate::rest::Answer;
use crate::service::Service;
use crate::turns::Turn;

/// A device as a line of an import or an export. It holds no secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceLine {
    device: String,
    /// A COSE_Key as base64url; in an import a JWK too.
    key: Value,
    role: String,
    #[serde(default = "default_group")]
    group: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    state: StateWord,
}

fn default_group() -> String {
    DEFAULT_GROUP.to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    #[serde(default)]
    y: Option<String>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateWord {
    #[default]
    Active,
    Suspended,
    Revoked,
}

/// A public key, judged as at an enrolment.
fn key(form: Value) -> Result<PublicKey, Refused> {
    let refused = |why: &str| Refused::because(RefusalCode::ConfirmationKey, why);
    let bytes = |text: &str| from_base64url(text).ok_or_else(|| refused("key is base64url"));
    let key = match form {
        Value::String(text) => PublicKey::from_cose_key(&bytes(&text)?),
        form => {
            let form = serde_json::from_value::<Jwk>(form);
            let Jwk { kty, crv, x, y } = form.map_err(|error| refused(&error.to_string()))?;
            match (kty.as_str(), crv.as_str(), y) {
                ("OKP", "Ed25519", None) => PublicKey::from_bytes(&bytes(&x)?),
                ("EC", "P-256", Some(y)) => {
                    PublicKey::from_bytes(&[vec![4], bytes(&x)?, bytes(&y)?].concat())
                }
                _ => return Err(refused("key is an OKP key on Ed25519 or an EC key on P-256")),
            }
        }
    };
    key.map_err(|error| refused(&error.to_string()))
}

impl DeviceLine {
    fn of(device: String, record: DeviceRecord) -> Result<Self, Refused> {
        let key = PublicKey::from_known_good(&record.key).map_err(|_| RefusalCode::Internal)?;
        Ok(Self {
            device,
            key: Value::String(base64url(&key.to_cose_key())),
            state: match State::of(&record, None) {
                State::Active => StateWord::Active,
                State::Suspended => StateWord::Suspended,
                State::Revoked => StateWord::Revoked,
            },
            role: record.role,
            group: record.group,
            attributes: record.attributes.values().clone(),
        })
    }

    fn wanted(self) -> Result<Wanted, Fault> {
        let at = |field| move |refused: Refused| Fault::of(field, refused);
        let values = self.attributes.into_iter().map(|(name, value)| (name, Some(value)));
        Ok(Wanted {
            device: id(&self.device).map_err(at("device"))?,
            key: key(self.key).map_err(at("key"))?,
            role: id(&self.role).map_err(at("role"))?,
            group: id(&self.group).map_err(at("group"))?,
            attributes: Attributes::default().with(&values.collect()).map_err(at("attributes"))?,
            state: match self.state {
                StateWord::Active => State::Active,
                StateWord::Suspended => State::Suspended,
                StateWord::Revoked => State::Revoked,
            },
        })
    }
}

/// A line, and the id that it names.
fn read(bytes: &[u8]) -> (Option<String>, Result<Wanted, Fault>) {
    match json::<DeviceLine>(bytes) {
        Ok(line) => {
            let named = line.device.parse::<DeviceId>().ok();
            (named.map(|device| device.as_str().to_owned()), line.wanted())
        }
        Err(refused) => (None, Err(Fault { field: named(&refused), refused })),
    }
}

/// The member that is missing.
fn named(refused: &Refused) -> Option<&'static str> {
    let missing = |field: &&str| {
        let words = format!("missing field `{field}`");
        refused.detail.as_ref().is_some_and(|detail| detail.starts_with(&words))
    };
    ["device", "key", "role"].into_iter().find(missing)
}

/// How an import is made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    #[serde(default)]
    dry_run: bool,
}

pub(crate) async fn import(
    by: By<Fleet>,
    app: App,
    path: Path<String>,
    Query(how): Query<How>,
    lines: Lines,
) -> Answer {
    let tenant: TenantId = id(&path)?;
    tenants::known(&app, &tenant).await?;
    let turn = turn(&app, &tenant)?;
    let drawn: [u8; 8] = tessera_runtime::random::bytes(&*app.random).map_err(Refused::from)?;
    let of = Import {
        id: format!("import-{}", hex::encode(drawn)),
        by: by.operator().actor(),
        warrant: by.operator().warrant(Fleet::ONE_OF, Some(&tenant)),
        tenant,
        dry_run: how.dry_run,
    };
    begin(&app, &of).await?;
    let work = |out: Out| Run { app, of, out, _turn: turn }.run(lines);
    Ok(stream(Flow::of(work)))
}

fn turn(app: &App, tenant: &TenantId) -> Result<Turn, Refused> {
    app.bulk.take(tenant.as_str()).map_err(|_| {
        let why = "other imports and exports are running: try again when one has ended";
        Refused::because(RefusalCode::LimitReached, why)
    })
}

fn stream(flow: Flow) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type(NDJSON).body(flow)
}

/// A running import.
struct Run {
    app: App,
    of: Import,
    out: Out,
    _turn: Turn,
}

impl Run {
    /// Takes all lines, answers each, and says at last how many there were. An import whose connection breaks has no last
    /// line; its end is on record all the same.
    async fn run(self, mut lines: Lines) {
        let (told, counts) = watch::channel((Counts::default(), false));
        let scribe = actix_rt::spawn(scribe(self.app.clone(), self.of.clone(), counts));
        let ended = self.lines(&mut lines, &told).await;
        told.send_modify(|(_, whole)| *whole = ended.is_ok());
        let (counts, _) = *told.borrow();
        drop(told);
        let _ = scribe.await;
        let Counts { lines, imported, unchanged, refused } = counts;
        let mut last = json!({
            "done": ended.is_ok(), "lines": lines, "imported": imported, "unchanged": unchanged,
            "refused": refused, "dry_run": self.of.dry_run, "code": null, "detail": null,
        });
        if let (Err(why), Some(last)) = (ended, last.as_object_mut()) {
            let detail = why.detail.unwrap_or_else(|| why.code.words().to_owned());
            last.insert("code".to_owned(), json!(why.code.as_str()));
            last.insert("detail".to_owned(), json!(detail));
        }
        self.out.send(line_of(&last)).await;
    }

    async fn lines(&self, lines: &mut Lines, told: &Told) -> Result<(), Refused> {
        let began = self.app.clock.monotonic();
        let (mut seen, mut number, mut batch) = (Seen::default(), 0, Vec::new());
        let mut answered = began;
        loop {
            let next = lines.next(!batch.is_empty()).await;
            let now = self.app.clock.monotonic();
            let mut is_due = now.saturating_sub(answered) >= IMPORT_GATHER_MOST;
            match &next {
                Ok(Next::Line(bytes)) if bytes.trim_ascii().is_empty() => number += 1,
                Ok(Next::Line(bytes)) => {
                    number += 1;
                    let (device, wanted) = read(bytes);
                    batch.push((device, Line { number, wanted }));
                }
                Ok(Next::TooLong) => {
                    number += 1;
                    batch.push((None, Line { number, wanted: Err(too_long()) }));
                }
                Ok(Next::Later | Next::End) | Err(_) => is_due = true,
            }
            let over = self.over(number, began);
            if is_due || batch.len() == IMPORT_BATCH || over.is_some() {
                self.batch(&mut seen, &mut batch, told).await?;
                answered = now;
            }
            match (next, over) {
                (Ok(Next::End), _) => return Ok(()),
                (Err(broken), _) => return Err(off(broken)),
                (Ok(_), Some(over)) => return Err(over),
                (Ok(_), None) => {}
            }
        }
    }

    /// The reason for which no more lines are taken.
    fn over(&self, number: u64, began: Duration) -> Option<Refused> {
        if number >= IMPORT_LINES {
            let why =
                format!("an import has at most {IMPORT_LINES} lines: send the rest in another");
            return Some(Refused::because(RefusalCode::LimitReached, why));
        }
        let took = self.app.clock.monotonic().saturating_sub(began);
        if self.app.stop.is_stopping() || took > IMPORT_TIME {
            let why = "the service stops, or the import took too long: send the rest in another";
            return Some(Refused::because(RefusalCode::NotReady, why));
        }
        None
    }

    /// Takes the lines of a batch and answers them. A batch that was begun is done, also when the connection breaks.
    async fn batch(
        &self,
        seen: &mut Seen,
        batch: &mut Vec<(Option<String>, Line)>,
        told: &Told,
    ) -> Result<(), Refused> {
        if batch.is_empty() {
            return Ok(());
        }
        let (devices, lines): (Vec<_>, Vec<_>) = std::mem::take(batch).into_iter().unzip();
        let (app, of, told) = (self.app.clone(), self.of.clone(), told.clone());
        let mut own = std::mem::take(seen);
        let work = async move {
            let outcomes = take(&app, &of, &mut own, &lines).await?;
            told.send_modify(|(counts, _)| outcomes.iter().for_each(|one| counts.count(one)));
            Ok((own, lines, outcomes))
        };
        let (own, lines, outcomes) = Service::to_its_end(work).await?;
        *seen = own;
        let mut part = Vec::new();
        for ((device, line), outcome) in devices.iter().zip(&lines).zip(&outcomes) {
            part.extend(line_of(&answer(line.number, device.as_deref(), outcome)));
        }
        self.out.send(part).await;
        Ok(())
    }
}

/// Where the counts are told, and whether the import came to its end.
type Told = watch::Sender<(Counts, bool)>;

/// Puts the end of an import on record, when the last one that tells of it is gone.
async fn scribe(app: App, of: Import, mut counts: watch::Receiver<(Counts, bool)>) {
    while counts.changed().await.is_ok() {}
    let (counts, whole) = *counts.borrow();
    if let Err(refused) = end(&app, &of, counts, whole).await {
        tracing::error!(code = %refused.code, import = of.id, "the end of an import is not on record");
    }
}

fn too_long() -> Fault {
    let why = format!("a line is at most {IMPORT_LINE_BYTES} bytes");
    Fault { field: None, refused: Refused::malformed(why) }
}

fn off(broken: Broken) -> Refused {
    Refused::malformed(match broken {
        Broken::Late => "a line took too long",
        Broken::Off => "the body broke off",
    })
}

fn answer(number: u64, device: Option<&str>, outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Imported => json!({ "line": number, "device": device, "outcome": "imported" }),
        Outcome::Unchanged => json!({ "line": number, "device": device, "outcome": "unchanged" }),
        Outcome::Refused(Fault { field, refused }) => json!({
            "line": number,
            "device": device,
            "outcome": "refused",
            "code": refused.code.as_str(),
            "field": field,
            "detail": refused.detail.as_deref().unwrap_or(refused.code.words()),
        }),
    }
}

fn line_of(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Where an export begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begins {
    /// Behind this device.
    #[serde(default)]
    after: Option<String>,
}

/// The lines of one page, and where the next one begins.
type Part = (Vec<u8>, Option<String>);

pub(crate) async fn export(
    by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(Begins { after }): Query<Begins>,
) -> Answer {
    let tenant: TenantId = id(&path)?;
    let after = after.as_deref().map(id::<DeviceId>).transpose()?;
    let turn = turn(&app, &tenant)?;
    let first = device_rows(&app, &tenant, after.as_ref().map(DeviceId::as_str)).await?;
    let warrant = by.operator().warrant(Viewer::ONE_OF, Some(&tenant));
    let next = async move |after: String| {
        warrant.check(&app).await?;
        device_rows(&app, &tenant, Some(&after)).await
    };
    Ok(pages(turn, first, next))
}

pub(crate) async fn export_claims(by: By<Viewer>, app: App, path: Path<String>) -> Answer {
    let tenant: TenantId = id(&path)?;
    let turn = turn(&app, &tenant)?;
    let first = claim_rows(&app, &tenant, None).await?;
    let warrant = by.operator().warrant(Viewer::ONE_OF, Some(&tenant));
    let next = async move |after: String| {
        warrant.check(&app).await?;
        claim_rows(&app, &tenant, Some(&after)).await
    };
    Ok(pages(turn, first, next))
}

/// An answer of pages, each read when the peer has taken the one before.
fn pages(
    turn: Turn,
    first: Part,
    next: impl AsyncFn(String) -> Result<Part, Refused> + 'static,
) -> HttpResponse {
    stream(Flow::of(|out| async move {
        let _turn = turn;
        let (mut part, mut after) = first;
        loop {
            out.send(part).await;
            let Some(from) = after else { return };
            (part, after) = match next(from).await {
                Ok(page) => page,
                // The answer has begun: its end without an end says that it is not whole.
                Err(_) => return out.break_off().await,
            };
        }
    }))
}

async fn device_rows(app: &App, tenant: &TenantId, after: Option<&str>) -> Result<Part, Refused> {
    let page = devices::list(app, tenant, after, EXPORT_ROWS).await?;
    let lines = page.items.into_iter().map(|(device, record)| DeviceLine::of(device, record));
    Ok((rows(lines)?, page.next))
}

async fn claim_rows(app: &App, tenant: &TenantId, after: Option<&str>) -> Result<Part, Refused> {
    let (page, now) = (claims::list(app, tenant, after, EXPORT_ROWS).await?, app.now().get());
    let lines =
        page.items.into_iter().map(|(claim, record)| Ok(ClaimView::new(claim, record, now)));
    Ok((rows(lines)?, page.next))
}

fn rows<T: Serialize>(lines: impl Iterator<Item = Result<T, Refused>>) -> Result<Vec<u8>, Refused> {
    let mut part = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut part, &line?).map_err(|_| RefusalCode::Internal)?;
        part.push(b'\n');
    }
    Ok(part)
}
