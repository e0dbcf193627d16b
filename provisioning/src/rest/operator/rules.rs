//! Rules of a tenant.

use actix_web::web::Path;
use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use tessera_rules::dry_run::Report;
use tessera_rules::rule::file::RuleFile;
use tessera_rules::rule::Rule;
use tessera_token::encoding::hex;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;

use crate::records::rules::{RuleCount, RuleRecord};
use crate::refused::Refused;
use crate::rest::auth::{By, Security, Viewer};
use crate::rest::endpoint::Endpoint;
use crate::rest::input::{id, App, Json, PageQuery, Query};
use crate::rest::{list_of, Answer};
use crate::rules;
use crate::service::Service;

/// The endpoints of this resource.
pub(crate) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/tenants/{tenant}/rules", list)
            .summary("List the rules of a tenant")
            .paged()
            .done("Rules"),
        Endpoint::get("/v1/tenants/{tenant}/rules/{rule}", show)
            .summary("Show one rule")
            .done("CountedRule")
            .refuses(&[RefusalCode::NotFound]),
        Endpoint::put("/v1/tenants/{tenant}/rules/{rule}", put)
            .summary(
                "Put a rule or a greater version of it. It is enforced only after an hour in \
                shadow or a test, or at once with a reason; a wide one waits for a second operator",
            )
            .body("NewRule")
            .done("Rule")
            .refuses(&[
                RefusalCode::GroupUnknown,
                RefusalCode::PreconditionFailed,
                RefusalCode::RuleNotTried,
                RefusalCode::CapacityReached,
            ]),
        Endpoint::post("/v1/tenants/{tenant}/rules/{rule}/approve", approve)
            .summary("Let a rule that waits for a second operator come into force")
            .done("Rule")
            .refuses(&[RefusalCode::NotFound, RefusalCode::OperatorNotAllowed]),
        Endpoint::post("/v1/tenants/{tenant}/rules/{rule}/tested", tested)
            .summary("Keep the outcome of a test of a rule against recorded observations")
            .body("RuleTest")
            .empty(204, "Kept for seven days, and in the audit log"),
        Endpoint::delete("/v1/tenants/{tenant}/rules/{rule}", remove)
            .summary("Take a rule away, at every broker")
            .deletes()
            .refuses(&[RefusalCode::NotFound]),
    ]
}

/// A rule of another version of the language is null: put it anew.
#[derive(Serialize)]
struct RuleView {
    id: String,
    rule: Option<RuleFile>,
    substance: Option<String>,
    tried_since: Option<u64>,
    changed: u64,
    by: String,
    /// The form that waits for a second operator.
    waiting: Option<RuleFile>,
    waiting_by: Option<String>,
}

impl RuleView {
    fn new(id: String, record: RuleRecord) -> Self {
        let rule = rules::read(&record.body).ok();
        let (waiting, waiting_by) = record.next.unzip();
        let waiting = waiting.and_then(|body| rules::read(&body).ok());
        Self {
            id,
            substance: rule.as_ref().map(|rule| hex::encode(rule.substance())),
            rule: rule.map(|rule| RuleFile::from(rule.draft())),
            tried_since: record.tried_since,
            changed: record.changed,
            by: record.made_by,
            waiting: waiting.map(|rule| RuleFile::from(rule.draft())),
            waiting_by,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRule {
    rule: RuleFile,
    /// Why it is enforced at once, untried.
    #[serde(default)]
    now: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tested {
    rule: RuleFile,
    events: u64,
    devices: u64,
    devices_matched: u64,
}

/// The rule of a body, whose name is that of the path.
fn of(file: RuleFile, name: &str) -> Result<Rule, Refused> {
    let malformed = |why: String| Refused::malformed(format!("rule: {why}"));
    let draft = file
        .into_draft(|_| Err("give seconds since 1970".to_owned()))
        .map_err(|error| malformed(error.to_string()))?;
    if draft.id != name {
        return Err(malformed(format!("its id is {}, and the path says {name}", draft.id)));
    }
    Rule::new(draft).map_err(|error| malformed(format!("{error} ({})", error.code())))
}

pub(crate) async fn list(
    _by: By<Viewer>,
    app: App,
    path: Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let show = |(id, record)| RuleView::new(id, record);
    list_of(&app, &path, &app.tables.rules, &query, show).await
}

fn answer(id: String, record: RuleRecord) -> HttpResponse {
    HttpResponse::Ok().json(RuleView::new(id, record))
}

/// A rule with its counts.
#[derive(Serialize)]
struct Counted {
    #[serde(flatten)]
    rule: RuleView,
    asked: u64,
    matched: u64,
    verifiers: Vec<Value>,
}

/// The counts of a rule at one verifier.
fn counted(verifier: &str, count: &RuleCount) -> Value {
    let [asked, matched, broke] = count.all();
    let state = match (&count.code, count.suspended) {
        (Some(_), _) => "not_applied",
        (None, true) => "suspended",
        (None, false) => "applied",
    };
    json!({
        "verifier": verifier, "state": state, "code": count.code, "version": count.version,
        "asked": asked, "matched": matched, "broke": broke, "told": count.touched,
    })
}

pub(crate) async fn show(_by: By<Viewer>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, rule) = path.into_inner();
    let tenant: TenantId = id(&tenant)?;
    let record = rules::known(&app, &tenant, &rule).await?;
    let told = rules::counts::of(&app, &tenant, &rule).await?;
    let verifiers: Vec<Value> = told.iter().map(|(name, count)| counted(name, count)).collect();
    let rule_of = rules::read(&record.body).map_or(0, |rule| rule.draft().version);
    let of_version = || told.iter().filter(|(_, count)| count.version == rule_of);
    let total = |at: usize| -> u64 {
        let counts = of_version().filter_map(|(_, count)| count.all().get(at).copied());
        counts.fold(0, u64::saturating_add)
    };
    let (asked, matched) = (total(0), total(1));
    let counted = Counted { rule: RuleView::new(rule, record), asked, matched, verifiers };
    Ok(HttpResponse::Ok().json(counted))
}

pub(crate) async fn put(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    Json(NewRule { rule, now }): Json<NewRule>,
) -> Answer {
    let (tenant, name) = path.into_inner();
    let (by, tenant): (_, TenantId) = (by.operator().actor(), id(&tenant)?);
    let rule = of(rule, &name)?;
    let done = async move { rules::put(&app, &by, &tenant, &rule, now.as_deref()).await };
    Ok(answer(name, Service::to_its_end(done).await?))
}

pub(crate) async fn approve(by: By<Security>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, rule) = path.into_inner();
    let (by, tenant): (_, TenantId) = (by.operator().actor(), id(&tenant)?);
    let name = rule.clone();
    let done = async move { rules::approve(&app, &by, &tenant, &name).await };
    Ok(answer(rule, Service::to_its_end(done).await?))
}

pub(crate) async fn tested(
    by: By<Security>,
    app: App,
    path: Path<(String, String)>,
    Json(tested): Json<Tested>,
) -> Answer {
    let (tenant, name) = path.into_inner();
    let (by, tenant): (_, TenantId) = (by.operator().actor(), id(&tenant)?);
    let Tested { rule, events, devices, devices_matched } = tested;
    if events == 0 || devices == 0 || devices_matched > devices {
        let why = "a test has events and devices, and meets no more devices than there are";
        return Err(Refused::malformed(why).into());
    }
    let rule = of(rule, &name)?;
    let report = Report { events, devices, devices_matched, ..Report::default() };
    let done = async move { rules::tests_of::keep(&app, &by, &tenant, &rule, &report).await };
    Service::to_its_end(done).await?;
    Ok(HttpResponse::NoContent().finish())
}

pub(crate) async fn remove(by: By<Security>, app: App, path: Path<(String, String)>) -> Answer {
    let (tenant, rule) = path.into_inner();
    let (by, tenant): (_, TenantId) = (by.operator().actor(), id(&tenant)?);
    let done = async move { rules::remove(&app, &by, &tenant, &rule).await };
    Service::to_its_end(done).await?;
    Ok(HttpResponse::NoContent().finish())
}
