//! `POST /v1/trust/rules`: a broker or gateway tells how often its rules held, and which it does not apply.

use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::VERIFIER_HEADER;

use super::auth::{Among, Feed};
use super::endpoint::{schema, Endpoint};
use super::input::{id, App, Json, Query};
use super::report;
use super::trust::{as_of, OfTenant, OF_TENANT};
use super::Answer;
use crate::limits::{COUNT_MOST, RULE_COUNTS_TOLD};
use crate::records::rules::RuleCount;
use crate::refused::Refused;
use crate::rules::counts::{self, Told};
use crate::service::Service;

/// The endpoints of this resource.
pub(super) fn table() -> Vec<Endpoint> {
    vec![Endpoint::post("/v1/trust/rules", take)
        .summary("Tell how often rules held, and which are not applied: for brokers and gateways")
        .query("tenant", OF_TENANT, schema::tenant())
        .body("RuleCountReport")
        .empty(204, "At the rules, durably")
        .refuses(&[RefusalCode::LimitReached, RefusalCode::TenantUnknown])]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    /// The name of the process, 16 hexadecimal digits: its counts begin at 0.
    line: String,
    rules: Vec<Counted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Counted {
    tenant: String,
    rule: String,
    version: u64,
    asked: u64,
    matched: u64,
    broke: u64,
    suspended: bool,
    #[serde(default)]
    code: Option<String>,
}

pub(super) async fn take(
    by: Among<Feed>,
    app: App,
    request: HttpRequest,
    Query(query): Query<OfTenant>,
    Json(report): Json<Report>,
) -> Answer {
    let Report { line, rules } = report;
    report::check_line(&line, rules.len(), RULE_COUNTS_TOLD)?;
    let Some(verifier) = report::verifier(&request) else {
        let why = format!("the header {VERIFIER_HEADER} names the verifier");
        return Err(Refused::malformed(why).into());
    };
    let by = as_of(by.operator(), query.tenant.as_deref())?;
    let (verifier, tenants) = (verifier.to_owned(), by.tenants);
    let told = rules.into_iter().map(|one| read(&line, one)).collect::<Result<Vec<_>, _>>()?;
    let done = async move { counts::take(&app, &tenants, &verifier, &told).await };
    Service::to_its_end(done).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn read(line: &str, one: Counted) -> Result<Told, Refused> {
    let is_code = |code: &str| {
        (1..=64).contains(&code.len())
            && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    if one.code.as_deref().is_some_and(|code| !is_code(code)) {
        return Err(Refused::malformed("code has 1 to 64 small letters"));
    }
    if [one.asked, one.matched, one.broke, one.version]
        .into_iter()
        .any(|number| number > COUNT_MOST)
    {
        return Err(Refused::malformed(format!("numbers are at most {COUNT_MOST}")));
    }
    if one.rule.is_empty() || one.rule.len() > 64 {
        return Err(Refused::malformed("rule has 1 to 64 characters"));
    }
    let of = RuleCount {
        line: line.to_owned(),
        version: one.version,
        counts: [one.asked, one.matched, one.broke],
        suspended: one.suspended,
        code: one.code,
        ..RuleCount::default()
    };
    Ok(Told { tenant: id(&one.tenant)?, rule: one.rule, of })
}
