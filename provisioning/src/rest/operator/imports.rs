//! Imports of devices and claims as streams: a line of JSON for each, and an answer for each line.

use std::cell::Cell;
use std::time::Duration;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::{json, Map, Value};
use tessera_runtime::http::NDJSON;
use tessera_token::encoding::hex;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;
use tokio::sync::watch;

use crate::limits::{
    IMPORT_BATCH, IMPORT_FIRST_MOST, IMPORT_GATHER_MOST, IMPORT_LINES, IMPORT_LINE_BYTES,
    IMPORT_TIME,
};
use crate::operators::Operator;
use crate::refused::Refused;
use crate::registry::imports::claims::{Codes, WantedClaim};
use crate::registry::imports::devices::WantedDevice;
use crate::registry::imports::{begin, end, take, Counts, Fault, Import, Line, Outcome, Wanted};
use crate::registry::tenants;
use crate::rest::auth::{By, Fleet, Needs};
use crate::rest::endpoint::{schema, Endpoint};
use crate::rest::flow::{Flow, Out};
use crate::rest::input::{id, App, Query};
use crate::rest::lines::{Broken, Lines, Next};
use crate::rest::once::KeyOfImport;
use crate::rest::Answer;
use crate::service::Service;
use crate::turns::Turn;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    let answers = "Lines of ImportedLine, and a last one of ImportEnd. An answer without it broke \
                   off: send the lines again from the first one that was not answered. Where \
                   ImportEnd has a code, that one is next, and all before it are answered";
    let devices = Endpoint::post("/v1/tenants/{tenant}/import/devices", devices)
        .summary(
            "Import devices whose keys are known: a JSON object a line. Each line is answered by \
             a line, in order, as soon as its devices are durable; a last line has the counts. A \
             device that is there as its line says is unchanged, so the same lines may be sent \
             again",
        )
        .takes(vec![schema::lines_of("DeviceLine")])
        .sends(200, answers, vec![schema::lines_of("ImportedLine")]);
    let claims = Endpoint::post("/v1/tenants/{tenant}/import/claims", claims)
        .summary(
            "Make claims, a JSON object a line. Each line is answered by a line with its code, as \
             soon as its claim is durable; a last line has the counts. The same line under the \
             same Idempotency-Key is unchanged and has the same code, so lines whose answers were \
             lost are sent again",
        )
        .takes(vec![schema::lines_of("ClaimLine")])
        .sends(200, answers, vec![schema::lines_of("ImportedClaim")]);
    [devices, claims].map(made).into()
}

/// The query of an import.
fn made(endpoint: Endpoint) -> Endpoint {
    let first = "The number of the first line, for a list that is sent in parts";
    endpoint.query("dry_run", "Nothing is written; the answers are the same", schema::flag()).query(
        "first",
        first,
        schema::from_one(IMPORT_FIRST_MOST),
    )
}

/// How an import is made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    #[serde(default)]
    dry_run: bool,
    /// The number of the first line.
    #[serde(default = "first")]
    first: u64,
}

fn first() -> u64 {
    1
}

/// A kind of lines, read and answered.
pub(super) trait Lined: Wanted {
    /// A line, and the device that it names.
    fn read(bytes: &[u8]) -> (Option<String>, Result<Self, Fault>);

    /// Adds to the answer to a line that was taken.
    fn show(told: &Self::Told, answer: &mut Map<String, Value>);
}

pub(crate) async fn devices(
    by: By<Fleet>,
    app: App,
    path: Path<String>,
    Query(how): Query<How>,
    lines: Lines,
) -> Answer {
    import::<WantedDevice>(by.operator(), app, id(&path)?, how, lines, ()).await
}

pub(crate) async fn claims(
    by: By<Fleet>,
    app: App,
    path: Path<String>,
    Query(how): Query<How>,
    KeyOfImport(key): KeyOfImport,
    lines: Lines,
) -> Answer {
    let tenant: TenantId = id(&path)?;
    tenants::known(&app, &tenant).await?;
    let account = &by.operator().shown.account;
    let codes = Codes::of(&app, account, &tenant, (key.expose(), how.dry_run)).await?;
    import::<WantedClaim>(by.operator(), app, tenant, how, lines, codes).await
}

async fn import<W: Lined>(
    by: &Operator,
    app: App,
    tenant: TenantId,
    how: How,
    lines: Lines,
    with: W::With,
) -> Answer {
    tenants::known(&app, &tenant).await?;
    if how.first == 0 || how.first > IMPORT_FIRST_MOST {
        let why = format!("first is 1 to {IMPORT_FIRST_MOST}");
        return Err(Refused::malformed(why).into());
    }
    let turn = turn(&app, &tenant)?;
    let drawn: [u8; 8] = tessera_runtime::random::bytes(&*app.random).map_err(Refused::from)?;
    let of = Import::<W> {
        id: format!("import-{}", hex::encode(drawn)),
        by: by.actor(),
        warrant: by.warrant(Fleet::ONE_OF, Some(&tenant)),
        tenant,
        dry_run: how.dry_run,
        with,
    };
    begin(&app, &of).await?;
    let (before, next) = (how.first - 1, Cell::new(how.first));
    let work = |out: Out| Run { app, of, before, next, out, _turn: turn }.run(lines);
    Ok(stream(Flow::of(work)))
}

pub(super) fn turn(app: &App, tenant: &TenantId) -> Result<Turn, Refused> {
    app.bulk.take(tenant.as_str()).map_err(|_| {
        let why = "other imports and exports are running: try again when one has ended";
        Refused::because(RefusalCode::LimitReached, why)
    })
}

pub(super) fn stream(flow: Flow) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type(NDJSON).body(flow)
}

/// A running import.
struct Run<W: Lined> {
    app: App,
    of: Import<W>,
    /// Lines before its first one.
    before: u64,
    /// The first line that has no answer.
    next: Cell<u64>,
    out: Out,
    _turn: Turn,
}

impl<W: Lined> Run<W> {
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
            "refused": refused, "dry_run": self.of.dry_run, "next": self.next.get(), "code": null,
            "detail": null,
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
        let (mut seen, mut number, mut batch) = (W::Seen::default(), 0, Vec::new());
        let mut answered = began;
        loop {
            let next = lines.next(!batch.is_empty()).await;
            let now = self.app.clock.monotonic();
            let mut is_due = now.saturating_sub(answered) >= IMPORT_GATHER_MOST;
            match &next {
                Ok(Next::Line(bytes)) if bytes.trim_ascii().is_empty() => number += 1,
                Ok(Next::Line(bytes)) => {
                    number += 1;
                    let (device, wanted) = W::read(bytes);
                    batch.push((device, Line { number: self.before + number, wanted }));
                }
                Ok(Next::TooLong) => {
                    number += 1;
                    let line = Line { number: self.before + number, wanted: Err(too_long()) };
                    batch.push((None, line));
                }
                Ok(Next::Later | Next::End) | Err(_) => is_due = true,
            }
            let over = self.over(number, began);
            if is_due || batch.len() == IMPORT_BATCH || over.is_some() {
                self.batch(&mut seen, &mut batch, told).await?;
                answered = now;
            }
            match (next, over) {
                (Ok(Next::End), _) => {
                    self.next.set(self.before + number + 1);
                    return Ok(());
                }
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

    /// Takes the lines of a batch and answers them. A batch that was begun is done, also when the connection breaks. Lines that
    /// are durable are answered also when the rest of the batch failed.
    async fn batch(
        &self,
        seen: &mut W::Seen,
        batch: &mut Vec<(Option<String>, Line<W>)>,
        told: &Told,
    ) -> Result<(), Refused> {
        if batch.is_empty() {
            return Ok(());
        }
        let (devices, lines): (Vec<_>, Vec<_>) = std::mem::take(batch).into_iter().unzip();
        let (app, of, told) = (self.app.clone(), self.of.clone(), told.clone());
        let mut own = std::mem::take(seen);
        let work = async move {
            let (outcomes, ended) = take(&app, &of, &mut own, &lines).await;
            told.send_modify(|(counts, _)| outcomes.iter().for_each(|one| counts.count(one)));
            Ok((own, lines, outcomes, ended))
        };
        let (own, lines, outcomes, ended) = Service::to_its_end(work).await?;
        *seen = own;
        let mut part = Vec::new();
        for ((device, line), outcome) in devices.iter().zip(&lines).zip(&outcomes) {
            part.extend(line_of(&answer::<W>(line.number, device.as_deref(), outcome)));
            self.next.set(line.number + 1);
        }
        self.out.send(part).await;
        ended
    }
}

/// Where the counts are told, and whether the import came to its end.
type Told = watch::Sender<(Counts, bool)>;

/// Puts the end of an import on record, when the last one that tells of it is gone.
async fn scribe<W: Lined>(app: App, of: Import<W>, mut counts: watch::Receiver<(Counts, bool)>) {
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

fn answer<W: Lined>(number: u64, device: Option<&str>, outcome: &Outcome<W::Told>) -> Value {
    let mut answer = Map::new();
    let mut put = |name: &str, value: Value| answer.insert(name.to_owned(), value);
    put("line", json!(number));
    put("device", json!(device));
    let (word, told) = match outcome {
        Outcome::Imported(told) => ("imported", Some(told)),
        Outcome::Unchanged(told) => ("unchanged", Some(told)),
        Outcome::Refused(Fault { field, refused }) => {
            put("code", json!(refused.code.as_str()));
            put("field", json!(field));
            put("detail", json!(refused.detail.as_deref().unwrap_or(refused.code.words())));
            ("refused", None)
        }
    };
    put("outcome", json!(word));
    if let Some(told) = told {
        W::show(told, &mut answer);
    }
    answer.into()
}

fn line_of(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// The fault of a line that cannot be read; where one of these members is missing, it is that.
pub(super) fn unread(refused: Refused, needed: &[&'static str]) -> Fault {
    let missing = |field: &&&'static str| {
        let words = format!("missing field `{field}`");
        refused.detail.as_ref().is_some_and(|detail| detail.starts_with(&words))
    };
    Fault { field: needed.iter().find(missing).copied(), refused }
}
