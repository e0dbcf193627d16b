//! `POST /v1/trust/alerts`: a broker or gateway hands its alerts over.

use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::Value;

use super::auth::{Among, Feed};
use super::endpoint::{schema, Endpoint};
use super::input::{App, Json, Query};
use super::report;
use super::trust::{as_of, OfTenant, OF_TENANT};
use super::Answer;
use crate::alerts::{self, Numbered};
use crate::limits::ALERTS_TOLD;
use crate::service::Service;
use tessera_token::refusal::RefusalCode;

/// The endpoints of this resource.
pub(super) fn table() -> Vec<Endpoint> {
    vec![Endpoint::post("/v1/trust/alerts", take)
        .summary("Hand alerts about odd behaviour over: for brokers and gateways")
        .query("tenant", OF_TENANT, schema::tenant())
        .body("AlertReport")
        .empty(204, "In the audit log, durably; each number of a line once")
        .refuses(&[RefusalCode::LimitReached, RefusalCode::TenantUnknown])]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    /// The name of the row of numbers, 16 hexadecimal digits.
    line: String,
    items: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    number: u64,
    alert: Value,
}

pub(super) async fn take(
    by: Among<Feed>,
    app: App,
    request: HttpRequest,
    Query(query): Query<OfTenant>,
    Json(told): Json<Report>,
) -> Answer {
    report::check(&told.line, told.items.iter().map(|item| item.number), ALERTS_TOLD)?;
    let verifier = report::verifier(&request).unwrap_or_default().to_owned();
    let items: Vec<Numbered> = told
        .items
        .into_iter()
        .map(|one| Numbered { number: one.number, alert: one.alert })
        .collect();
    let by = as_of(by.operator(), query.tenant.as_deref())?;
    let (actor, tenants) = (by.actor(), by.tenants);
    let done =
        async move { alerts::take(&app, &actor, &tenants, (&verifier, &told.line), &items).await };
    Service::to_its_end(done).await?;
    Ok(HttpResponse::NoContent().finish())
}
